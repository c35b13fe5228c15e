"""Page and tables of a benchmark: ``index.html``, ``readers.csv``, ``contrasts.csv``, ``benchmark.json``.

Every difference between two readers that the page calls one is a contrast fixed beforehand, with what it could detect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fer_id.csv_text import table_csv
from fer_id.evaluation.contrasts import SHOWN, SMALLER, RecallEstimate, Verdict
from fer_id.files import atomic_write_text
from fer_id.readers.config import READERS, ReaderContrast
from fer_id.readers.results import BenchmarkResults, Encoder, write_results
from fer_id.reporting.benchmark import paper
from fer_id.reporting.benchmark.figures import contrast_figure, curve_figure, recall_figure
from fer_id.reporting.page import write_page
from fer_id.reporting.style import embedded
from fer_id.reporting.words import difference_words, p_words, points

if TYPE_CHECKING:
    from fer_id.readers.low_resource import LearningCurve


def write_benchmark(
    results: BenchmarkResults, out: Path, rule: Sequence[str], costs: Mapping[str, tuple[float, float]]
) -> str:
    """Write the page and the tables into ``out``; return the verdicts as text, and the path of the page.

    ``rule`` has sentences on the conditions, ``costs`` the multiply-adds and minutes of each part.
    """
    out.mkdir(parents=True, exist_ok=True)
    encoders, judged = results.encoders, results.verdicts
    atomic_write_text(out / "readers.csv", table_csv(readers_table(encoders)))
    atomic_write_text(out / "contrasts.csv", table_csv(contrasts_table(results)))
    if results.curve is not None:
        rows = curve_table(results.curve).assign(provenance=results.provenance)
        atomic_write_text(out / "low_resource.csv", table_csv(rows))
    sentences = {each.name: verdict_sentence(each, judged[each.name], len(judged)) for each in results.contrasts}
    best = max((encoder.convergence.accuracy or 0.0 for encoder in encoders), default=0.0)
    index = write_page(
        out / "index.html",
        "benchmark.html.j2",
        **{field.name: getattr(results, field.name) for field in fields(results)},
        own=next(encoder for encoder in encoders if encoder.name == results.reference),
        rule=rule,
        costs=costs,
        sentences=sentences,
        unfinished={encoder.name: encoder.convergence.why_unfinished(best) for encoder in encoders},
        commonest=_commonest(results),
        readers={name: READERS[name] for name in encoders[0].recalls},
        paper=paper,
        p_words=p_words,
        points=lambda share: points(None if np.isnan(share) else share),
        difference_words=difference_words,
        pictures=embedded(
            {
                "recall": recall_figure(encoders, results.provenance),
                "contrasts": contrast_figure(judged, results.relevant, results.provenance) if judged else None,
                "curve": curve_figure(results.curve, results.provenance) if results.curve is not None else None,
            }
        ),
    )
    write_results(judged, out)
    return "\n".join([*(f"{name}: {sentence}" for name, sentence in sentences.items()), str(index)])


def _commonest(results: BenchmarkResults) -> float:
    """Return the share of the test stills that are of their most frequent class."""
    stills = results.encoders[0].run.predictions()
    return float(stills.loc[stills["split"] == "test", "label"].value_counts(normalize=True).iloc[0])


def verdict_sentence(contrast: ReaderContrast, verdict: Verdict, tests: int) -> str:
    """Return what a contrast shows: a difference, that there is none larger than a bound, or how little it can tell."""
    estimate, interval = verdict.estimate, verdict.estimate.interval()
    first, second = ("/".join(pair) for pair in (contrast.first, contrast.second))
    if estimate.why_not:
        return f"undecided: no interval ({estimate.why_not})"
    extent = difference_words(estimate.value, interval.low, interval.high)
    if verdict.answer == SHOWN:
        better, worse = (first, second) if estimate.value > 0 else (second, first)
        return f"shown: {better} is better than {worse}, {extent}, {p_words(verdict.p_holm)} (Holm)"
    bound = points(math.ceil(1000 * verdict.bound) / 1000)  # rounded up: the difference stays below it
    if verdict.answer == SMALLER:
        return f"shown to be smaller than {bound} in either direction: {extent}"
    detectable = points(estimate.detectable(tests))
    return (
        f"undecided, smaller than {bound} in either direction: {extent}; a true difference of {detectable} would have "
        "been found with 80 % power"
    )


def readers_table(encoders: Sequence[Encoder]) -> pd.DataFrame:
    """Return a row per encoder and reader: macro recall with its interval and the parts of its error."""
    rows = []
    for encoder in encoders:
        for reader, estimate in encoder.recalls.items():
            row: dict[str, object] = {"encoder": encoder.name, "reader": reader, "clips": len(encoder.clips.truth)}
            row |= extent(estimate) | {"trainings": estimate.trainings}
            rows.append(row | {f"recall_{place}": value for place, value in enumerate(encoder.by_class[reader])})
    return pd.DataFrame(rows)


def contrasts_table(results: BenchmarkResults) -> pd.DataFrame:
    """Return a row per contrast: difference, interval, p, verdict, and what is detectable, as planned and as found."""
    rows, plan, tests = [], results.plan, len(results.verdicts)
    for contrast in results.contrasts:
        verdict = results.verdicts[contrast.name]
        row: dict[str, object] = {"contrast": contrast.name, "question": contrast.question}
        row |= {"first": "/".join(contrast.first), "second": "/".join(contrast.second)} | extent(verdict.estimate)
        row |= {"p": verdict.estimate.p, "p_holm": verdict.p_holm, "verdict": verdict.answer, "bound": verdict.bound}
        row |= {"detectable": verdict.estimate.detectable(), "detectable_holm": verdict.estimate.detectable(tests)}
        rows.append(row | {"planned_holm": plan.errors[contrast.name].detectable(tests)})
    return pd.DataFrame(rows)


def curve_table(curve: LearningCurve) -> pd.DataFrame:
    """Return a row per reader and cohort size: macro recall with its interval, each child left out in turn; and a row
    for the reader fitted on the children of the training split."""
    rows: list[dict[str, object]] = []
    for reader, of in curve.estimates.items():
        for size, estimate in of.items():
            row: dict[str, object] = {"reader": reader, "protocol": "leave one child out", "children": size}
            rows.append(row | {"cohorts": curve.cohorts[size]} | extent(estimate))
        row = {"reader": reader, "protocol": "training split", "children": curve.learned, "cohorts": None}
        rows.append(row | extent(curve.full[reader]))
    return pd.DataFrame(rows)


def extent(estimate: RecallEstimate) -> dict[str, object]:
    """Return the columns of an estimate: value, limits of its interval, and standard error."""
    interval = estimate.interval()
    return {"value": estimate.value, "low": interval.low, "high": interval.high, "error": estimate.error}
