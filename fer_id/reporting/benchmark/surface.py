"""Page and tables of a response surface: ``index.html``, ``surface.csv``, ``readers.csv``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from fer_id.csv_text import table_csv
from fer_id.evaluation.contrasts import SHOWN, SMALLER, RecallEstimate
from fer_id.files import atomic_write_text
from fer_id.readers.config import READERS, ReaderContrast
from fer_id.readers.surface import Cells, Point, helps
from fer_id.reporting.benchmark.page import extent
from fer_id.reporting.benchmark.surface_figures import axes_of, surface_figure
from fer_id.reporting.page import write_page
from fer_id.reporting.style import embedded
from fer_id.reporting.words import points as points_words

PROVENANCE = "simulated"
"""Every point is a simulation."""


def write_surface(
    contrasts: Sequence[ReaderContrast],
    surfaces: Mapping[str, Cells],
    recalls: Mapping[Point, Mapping[str, RecallEstimate]],
    out: Path,
    *,
    encoder: str,
    clips: Mapping[str, int],
    clusters: int,
    seeds: int,
    relevant: float,
    costs: Mapping[str, tuple[float, float]],
) -> str:
    """Write the page and the tables into ``out``; return where each contrast helps, and the path of the page.

    ``surfaces`` are the verdicts by name of the contrast, ``recalls`` the macro recall of each reader by point,
    ``clips`` the number in each split of a point, ``clusters`` that of bases or stills in test (the fewer), ``costs``
    multiply-adds and minutes.
    """
    out.mkdir(parents=True, exist_ok=True)
    atomic_write_text(out / "surface.csv", table_csv(surface_table(contrasts, surfaces)))
    atomic_write_text(out / "readers.csv", table_csv(recall_table(recalls)))
    scale = max(0.01, *(abs(verdict.estimate.value) for cells in surfaces.values() for verdict in cells.values()))
    pictures = {name: surface_figure(name, cells, scale, PROVENANCE) for name, cells in surfaces.items()}
    sentences = {name: where_it_helps(cells) for name, cells in surfaces.items()}
    index = write_page(
        out / "index.html",
        "surface.html.j2",
        contrasts=contrasts,
        surfaces=surfaces,
        sentences=sentences,
        recalls=recalls,
        readers={name: READERS[name] for name in next(iter(recalls.values()))},
        encoder=encoder,
        clips=clips,
        clusters=clusters,
        seeds=seeds,
        relevant=points_words(relevant),
        costs=costs,
        provenance=PROVENANCE,
        pictures=embedded(pictures),
    )
    lines = [f"{name}: {sentence}" for name, of in sentences.items() for sentence in of]
    return "\n".join([*lines, str(index)])


def surface_table(contrasts: Sequence[ReaderContrast], surfaces: Mapping[str, Cells]) -> pd.DataFrame:
    """Return a row per contrast and point: settings, difference with interval, p, p of Holm over the points, verdict,
    and what is detectable."""
    rows = []
    for contrast in contrasts:
        cells = surfaces[contrast.name]
        for point, verdict in cells.items():
            estimate = verdict.estimate
            row: dict[str, object] = {"contrast": contrast.name, **vars(point), **extent(estimate)}
            row |= {"p": estimate.p, "p_holm": verdict.p_holm, "verdict": verdict.answer, "bound": verdict.bound}
            row |= {"detectable": estimate.detectable(), "detectable_holm": estimate.detectable(len(cells))}
            rows.append(row | {"provenance": PROVENANCE})
    return pd.DataFrame(rows)


def recall_table(recalls: Mapping[Point, Mapping[str, RecallEstimate]]) -> pd.DataFrame:
    """Return a row per point and reader: macro recall with its interval."""
    rows = [
        {**vars(point), "reader": reader, **extent(estimate), "provenance": PROVENANCE}
        for point, of in recalls.items()
        for reader, estimate in of.items()
    ]
    return pd.DataFrame(rows)


def where_it_helps(cells: Cells) -> list[str]:
    """Return sentences on where the first reader of a contrast is shown to be better: how often, then from which peak
    on, for each rate of movements and resting face."""
    peaks, restings, strays = axes_of(cells)
    better = {point for point, verdict in cells.items() if helps(verdict)}
    worse = sum(verdict.answer == SHOWN and point not in better for point, verdict in cells.items())
    smaller = sum(verdict.answer == SMALLER for verdict in cells.values())
    sentences = [
        f"shown to be better at {len(better)} of {len(cells)} points, worse at {worse}, shown to differ by less than "
        f"is relevant at {smaller}, undecided at {len(cells) - len(better) - worse - smaller}"
    ]
    for stray in strays if better else []:
        spans = {rest: span([Point(peak, rest, stray) in better for peak in peaks], peaks) for rest in restings}
        common = set(spans.values())
        parts = [f"resting face {rest:g}: {words}" for rest, words in spans.items()]
        words = f"{common.pop()}, whatever the resting face" if len(common) == 1 else "; ".join(parts)
        sentences.append(f"other movements x {stray:g}: better {words}")
    return sentences


def span(better: Sequence[bool], peaks: Sequence[float]) -> str:
    """Return at which of the rising peaks a reader is better: at every, at none, from or up to a value, or a list."""
    values = [peak for peak, is_better in zip(peaks, better, strict=True) if is_better]
    if len(values) in (0, len(peaks)):
        return "at every peak" if values else "at no peak"
    if values == list(peaks[-len(values) :]):
        return f"from peak {values[0]:g} on"
    if values == list(peaks[: len(values)]):
        return f"up to peak {values[-1]:g}"
    return f"at peak {' and '.join(f'{value:g}' for value in values)}"
