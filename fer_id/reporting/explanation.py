"""Page of an explained run (``explain/index.html``): attribution by region, checks of the maps, and example clips."""

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
from fer_id.reporting.style import embedded
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
_ORDER = {name: place for place, name in enumerate(CHECK_NAMES)}  # the others follow, in their order
METHOD_NAMES = {
    "grad_cam": "Grad-CAM",
    "integrated_gradients": "integrated gradients",
    "occlusion": "occlusion",
    RANDOM_WEIGHTS: "Grad-CAM, weights drawn anew",
}


def sentences(report: Mapping[str, Any]) -> list[str]:
    """Return the main findings of an explanation as sentences."""
    lines, left_out, failed, undecided = [], report["left_out"], report["failed"], report["undecided"]
    if report["leakage"]["value"] is None:
        reasons = "; ".join(f"{reason}: {count}" for reason, count in left_out.items())
        lines.append(f"Regions are unknown for all {counted(report['n_clips'], 'clip')} ({reasons}); maps are drawn.")
    else:
        lines.append(_leakage_words(report))
        values = {name: region["value"] for name, region in report["regions"].items() if region["value"] is not None}
        most = sorted(values, key=lambda name: -values[name])[:3]
        if most:
            lines.append(
                f"It looks most at {listed([f'{name} ({values[name]:.1f} times its area)' for name in most])}."
            )
        if left_out:
            reasons = "; ".join(f"{counted(count, 'clip')}, {reason}" for reason, count in left_out.items())
            lines.append(f"Left out of the numbers on regions: {reasons}.")
    lines += [f"These maps cannot be believed: {DECISIVE[name]} (check: {name})." for name in failed]
    if undecided:
        lines.append(f"Not decided by these clips and subjects: {listed(undecided)}.")
    if not report["checks"]:
        lines.append("The maps were not checked; do not draw conclusions from them before fer-id explain has.")
    elif not failed and not undecided:
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
    own, random = report["leakage"], report["by_method"].get(RANDOM_WEIGHTS) or {}
    low, high = own["low"], own["high"]
    extent = f"no interval: {own['reason']}" if low is None else f"{low:.2f} to {high:.2f}"
    if low is not None and low > 1:
        verdict = "more than an even map gives"
    elif high is not None and high < 1:
        verdict = "less than an even map gives"
    else:
        verdict = "not shown to differ from an even map"
    beside = ""
    if random.get("value") is not None:
        beside = f" With weights drawn anew the same model has {random['value']:.2f}."
    return (
        f"Leakage {own['value']:.2f} ({extent}): attribution on hairline and background relative to their area, "
        f"{verdict}.{beside}"
    )


def write_explanation(run: RunDir, report: Mapping[str, Any], gallery: Sequence[Shown]) -> Path:
    """Write the page and its figures, readable by their owner only since they may show people."""
    page = run.path / "explain" / "index.html"
    page.touch(mode=0o600)
    strips: dict[str, list[tuple[Shown, str]]] = {}
    for clip in gallery:
        strips.setdefault(clip.kind, []).append((clip, data_uri(png(clip.picture), "image/png")))
    ordered = sorted(report["checks"], key=lambda name: _ORDER.get(name, len(_ORDER)))
    anew = "Weights drawn anew from the classifier to the {}: likeness"
    return write_page(
        page,
        "explain.html.j2",
        title=run_name(run),
        provenance=report["provenance"],
        said=report,
        regions=REGIONS,
        sentences=sentences(report),
        mark=mark(report),
        pictures=embedded(draw(report)),
        strips=strips,
        checks={name: CHECK_NAMES.get(name, anew.format(name.removeprefix("random "))) for name in ordered},
        decisive=DECISIVE,
        methods=METHOD_NAMES,
    )


def class_table(report: Mapping[str, Any]) -> list[dict[str, str | float | None]]:
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
