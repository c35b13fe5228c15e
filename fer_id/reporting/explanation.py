"""Page of an explained run (``explain/index.html``): attribution by region, checks of the maps, and example clips."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fer_id.explain.regions import REGIONS
from fer_id.explain.verdicts import DECISIVE, RANDOM_WEIGHTS
from fer_id.reporting.explanation_figures import draw, mark
from fer_id.reporting.gallery import Shown, png
from fer_id.reporting.jobs import run_name
from fer_id.reporting.page import data_uri, write_page
from fer_id.reporting.result_shapes import Explanation
from fer_id.reporting.style import svg
from fer_id.reporting.words import counted, listed
from fer_id.runs.records import read_record
from fer_id.runs.run_dir import RunDir

CHECK_NAMES = {
    "random everything": "All weights drawn anew: likeness of the maps",
    "stability": "A little noise in the picture: likeness of the maps",
    "effect": "Blurring everything: change of the probability",
    "deletion": "Blurring what the map marks, against a random order: loss of probability",
    "insertion": "Showing what the map marks, against a random order: gain of probability",
    "agreement integrated_gradients": "Likeness to integrated gradients",
    "agreement occlusion": "Likeness to occlusion",
}
METHOD_NAMES = {
    "grad_cam": "Grad-CAM",
    "integrated_gradients": "integrated gradients",
    "occlusion": "occlusion",
    RANDOM_WEIGHTS: "Grad-CAM, weights drawn anew",
}


def sentences(report: Mapping[str, Any]) -> list[str]:
    """Return the main findings of an explanation as sentences."""
    lines = []
    leakage = report["leakage"]
    if leakage["value"] is None:
        reasons = "; ".join(f"{reason}: {count}" for reason, count in report["left_out"].items())
        lines.append(f"Regions are unknown for all {counted(report['n_clips'], 'clip')} ({reasons}); maps are drawn.")
    else:
        lines.append(_leakage_words(report))
        values = {name: region["value"] for name, region in report["regions"].items() if region["value"] is not None}
        ratios = [
            f"{name} ({values[name]:.1f} times its area)" for name in sorted(values, key=lambda name: -values[name])
        ]
        if ratios:
            lines.append(f"It looks most at {listed(ratios[:3])}.")
        if report["left_out"]:
            lines.append(
                "Left out of the numbers on regions: "
                + "; ".join(f"{counted(count, 'clip')}, {reason}" for reason, count in report["left_out"].items())
                + "."
            )
    for name in report["failed"]:
        lines.append(f"These maps cannot be believed: {DECISIVE[name]} (check: {name}).")
    if report["undecided"]:
        lines.append(f"Not decided by these clips and subjects: {listed(report['undecided'])}.")
    if not report["checks"]:
        lines.append("The maps were not checked; do not draw conclusions from them before fer-id explain has.")
    elif not report["failed"] and not report["undecided"]:
        lines.append("The maps passed all checks: they follow the weights, survive noise, and mark what matters.")
    return lines


def read_sentences(run: RunDir) -> list[str]:
    """Return :func:`sentences` of a run's explanation; empty without one."""
    report = read_explanation(run)
    return [] if report is None else sentences(report)


def read_explanation(run: RunDir) -> dict[str, Any] | None:
    """Return ``explain/explain.json``; None without an explanation.

    Raises:
        RunError: the file is damaged.
    """
    path = run.path / "explain" / "explain.json"
    again = f"`fer-id explain {run.path}` makes it again"
    return read_record(Explanation, path, again).model_dump(exclude_unset=True) if path.is_file() else None


def _leakage_words(report: Mapping[str, Any]) -> str:
    own, control = report["leakage"], report["by_method"].get(RANDOM_WEIGHTS)
    extent = (
        f" ({own['low']:.2f} to {own['high']:.2f})" if own["low"] is not None else f" (no interval: {own['reason']})"
    )
    if own["low"] is not None and own["low"] > 1:
        verdict = "more than an even map gives"
    elif own["high"] is not None and own["high"] < 1:
        verdict = "less than an even map gives"
    else:
        verdict = "not shown to differ from an even map"
    random = control is not None and control["value"] is not None
    beside = f" With weights drawn anew the same model has {control['value']:.2f}." if random and control else ""
    return (
        f"Leakage {own['value']:.2f}{extent}: attribution on hairline and background relative to their area, {verdict}."
        f"{beside}"
    )


def write_explanation(run: RunDir, report: Mapping[str, Any], gallery: Sequence[Shown]) -> Path:
    """Write the page and its figures, readable by their owner only since they may show people."""
    folder = run.path / "explain"
    pictures = {name: data_uri(svg(figure)) for name, figure in draw(report).items()}
    page = folder / "index.html"
    page.touch(mode=0o600)
    kinds = list(dict.fromkeys(clip.kind for clip in gallery))
    strips = {kind: [(clip, _uri(clip)) for clip in gallery if clip.kind == kind] for kind in kinds}
    return write_page(
        page,
        "explain.html.j2",
        title=run_name(run),
        provenance=report["provenance"],
        said=report,
        regions=REGIONS,
        sentences=sentences(report),
        mark=mark(report),
        pictures=pictures,
        strips=strips,
        checks=_check_rows(report["checks"]),
        methods=METHOD_NAMES,
    )


def class_table(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row per predicted class, for tables and W&B."""
    return [
        {
            "class": name,
            "clips": result["n_clips"],
            "leakage": result["leakage"]["value"],
            "low": result["leakage"]["low"],
            "high": result["leakage"]["high"],
            "where FACS expects it": result["expected"]["value"],
            **{region: result["regions"][region]["value"] for region in REGIONS},
        }
        for name, result in report["by_class"].items()
    ]


def _check_rows(checks: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the decisive checks first, then the informative ones."""
    order = [*(name for name in CHECK_NAMES if name in checks), *(name for name in checks if name not in CHECK_NAMES)]
    return [
        {
            "name": CHECK_NAMES.get(
                name, f"Weights drawn anew from the classifier to the {name.removeprefix('random ')}: likeness"
            ),
            "decisive": name in DECISIVE,
            **checks[name],
        }
        for name in order
    ]


def _uri(clip: Shown) -> str:
    return "data:image/png;base64," + base64.b64encode(png(clip.picture)).decode()
