"""``explain/index.html``: what a run's maps say, whether they can be believed, and the clips themselves."""

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
from fer_id.run_shapes import read_record
from fer_id.runs import RunDir

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


def sentences(said: Mapping[str, Any]) -> list[str]:
    """What a busy person should take away."""
    lines = []
    leakage = said["leakage"]
    if leakage["value"] is None:
        reasons = "; ".join(f"{reason}: {count}" for reason, count in said["left_out"].items())
        lines.append(f"Regions are unknown for all {counted(said['n_clips'], 'clip')} ({reasons}); maps are drawn.")
    else:
        lines.append(_leakage_words(said))
        values = {name: region["value"] for name, region in said["regions"].items() if region["value"] is not None}
        ratios = [
            f"{name} ({values[name]:.1f} times its area)" for name in sorted(values, key=lambda name: -values[name])
        ]
        if ratios:
            lines.append(f"It looks most at {listed(ratios[:3])}.")
        if said["left_out"]:
            lines.append(
                "Left out of the numbers on regions: "
                + "; ".join(f"{counted(count, 'clip')}, {reason}" for reason, count in said["left_out"].items())
                + "."
            )
    for name in said["failed"]:
        lines.append(f"These maps cannot be believed: {DECISIVE[name]} (check: {name}).")
    if said["undecided"]:
        lines.append(f"Not decided by these clips and subjects: {listed(said['undecided'])}.")
    if not said["checks"]:
        lines.append("The maps were not checked; do not draw conclusions from them before fer-id explain has.")
    elif not said["failed"] and not said["undecided"]:
        lines.append("The maps passed all checks: they follow the weights, survive noise, and mark what matters.")
    return lines


def read_sentences(run: RunDir) -> list[str]:
    """:func:`sentences` of what was found of a run; empty where nobody looked."""
    found = read_explanation(run)
    return [] if found is None else sentences(found)


def read_explanation(run: RunDir) -> dict[str, Any] | None:
    """Return ``explain/explain.json``; None where nobody looked.

    Raises:
        RunError: it is damaged.
    """
    path = run.path / "explain" / "explain.json"
    return read_record(Explanation, path, f"`fer-id explain {run.path}` makes it again") if path.is_file() else None


def _leakage_words(said: Mapping[str, Any]) -> str:
    one, other = said["leakage"], said["by_method"].get(RANDOM_WEIGHTS)
    within = (
        f" ({one['low']:.2f} to {one['high']:.2f})" if one["low"] is not None else f" (no interval: {one['reason']})"
    )
    if one["low"] is not None and one["low"] > 1:
        verdict = "more than an even map gives"
    elif one["high"] is not None and one["high"] < 1:
        verdict = "less than an even map gives"
    else:
        verdict = "not shown to differ from an even map"
    random = other is not None and other["value"] is not None
    beside = f" With weights drawn anew the same model has {other['value']:.2f}." if random and other else ""
    return (
        f"Leakage {one['value']:.2f}{within}: attribution on hairline and background relative to their area, {verdict}."
        f"{beside}"
    )


def write_explanation(run: RunDir, said: Mapping[str, Any], gallery: Sequence[Shown]) -> Path:
    """Writes the page, readable by its owner only since it may show people, and its figures."""
    folder = run.path / "explain"
    pictures = {name: data_uri(svg(figure)) for name, figure in draw(said).items()}
    page = folder / "index.html"
    page.touch(mode=0o600)
    kinds = list(dict.fromkeys(one.kind for one in gallery))
    strips = {kind: [(one, _uri(one)) for one in gallery if one.kind == kind] for kind in kinds}
    return write_page(
        page,
        "explain.html.j2",
        title=run_name(run),
        provenance=said["provenance"],
        said=said,
        regions=REGIONS,
        sentences=sentences(said),
        mark=mark(said),
        pictures=pictures,
        strips=strips,
        checks=_check_rows(said["checks"]),
        methods=METHOD_NAMES,
    )


def class_table(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row per predicted class, for tables and W&B."""
    return [
        {
            "class": name,
            "clips": one["n_clips"],
            "leakage": one["leakage"]["value"],
            "low": one["leakage"]["low"],
            "high": one["leakage"]["high"],
            "where FACS expects it": one["expected"]["value"],
            **{region: one["regions"][region]["value"] for region in REGIONS},
        }
        for name, one in said["by_class"].items()
    ]


def _check_rows(checks: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Decisive checks first, then what is only told."""
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


def _uri(one: Shown) -> str:
    return "data:image/png;base64," + base64.b64encode(png(one.picture)).decode()
