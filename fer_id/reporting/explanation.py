"""Page of an explained run (``explain/index.html``): attribution by region, checks of the maps, and example clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from fer_id.evaluation.evaluate import subjects_are_people
from fer_id.explain.regions import OUTSIDE, REGIONS
from fer_id.explain.verdicts import DECISIVE, RANDOM_WEIGHTS
from fer_id.reporting import style, words
from fer_id.reporting.gallery import Shown, png
from fer_id.reporting.jobs import run_name
from fer_id.reporting.page import data_uri, write_page
from fer_id.reporting.result_shapes import Explanation
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
        lines.append(f"Not decided by these clips: {listed(undecided)}.")
    if not report["checks"]:
        lines.append("The maps were not checked; do not draw conclusions from them before fer-id explain has.")
    elif not failed and not undecided:
        lines.append("The maps passed all checks: they follow the weights, survive noise, and mark what matters.")
    return lines


def read_sentences(run: RunDir) -> list[str]:
    """Return :func:`sentences` of a run's explanation; empty without one."""
    report = read_explanation(run)
    return [] if report is None else sentences(report.model_dump(exclude_unset=True))


def read_explanation(run: RunDir) -> Explanation | None:
    """Return ``explain/explain.json``; None without an explanation. Raises RunError where the file is damaged."""
    path = run.path / "explain" / "explain.json"
    again = f"`fer-id explain {run.path}` makes it again"
    return read_record(Explanation, path, again) if path.is_file() else None


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


def write_explanation(run: RunDir, report: Mapping[str, Any], gallery: Sequence[Shown]) -> dict[str, Figure]:
    """Write the page, readable by its owner only since it may show people; return its figures."""
    figures = draw(report)
    page = run.path / "explain" / "index.html"
    page.touch(mode=0o600)
    people = subjects_are_people(run.metrics(), run.job().store)
    units = words.units(people)
    strips: dict[str, list[tuple[Shown, str]]] = {}
    for clip in gallery:
        strips.setdefault(clip.kind, []).append((clip, data_uri(png(clip.picture), "image/png")))
    ordered = sorted(report["checks"], key=lambda name: _ORDER.get(name, len(_ORDER)))
    anew = "Weights drawn anew from the classifier to the {}: likeness"
    write_page(
        page,
        "explain.html.j2",
        title=run_name(run),
        provenance=report["provenance"],
        said=report,
        of=f"{counted(report['n_clips'], 'test clip')} of {counted(report['n_subjects'], units[:-1])}",
        people=people,
        units=units,
        regions=REGIONS,
        sentences=sentences(report),
        mark=mark(report),
        pictures=style.embedded(figures),
        strips=strips,
        checks={name: CHECK_NAMES.get(name, anew.format(name.removeprefix("random "))) for name in ordered},
        decisive=DECISIVE,
        methods=METHOD_NAMES,
    )
    return figures


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


def mark(report: Mapping[str, Any]) -> str:
    """Return the warning that must accompany the maps; empty where they passed, or were checked without a verdict."""
    if report["failed"]:
        return f"these maps failed: {', '.join(report['failed'])}"
    return "" if report["checks"] else "these maps were not checked"


def draw(report: Mapping[str, Any]) -> dict[str, Figure]:
    """Return the figures that have content, by name."""
    figures = {
        "regions": regions_figure(report),
        "classes": classes_figure(report),
        "frames": frames_figure(report),
        "checks": curves_figure(report),
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


@style.styled()
def regions_figure(report: Mapping[str, Any]) -> Figure | None:
    """Draw each region's attribution relative to its area, with intervals, off-face regions in another colour; None
    without an explained clip."""
    regions = report["regions"]
    if regions[REGIONS[0]]["value"] is None:
        return None
    figure = _figure(report, 7.4, 4.0, "Where the attribution falls")
    axes = figure.subplots()
    for place, name in enumerate(REGIONS):
        region, value = regions[name], regions[name]["value"] or 0.0
        axes.barh(place, value, color=style.VERMILION if name in OUTSIDE else style.BLUE, height=0.62, alpha=0.85)
        style.draw_extent(axes, region["low"], region["high"], place, color=style.INK, linewidth=1.4)
        text = f"{100 * region['share']:.0f}\u202f% on {100 * region['area']:.0f}\u202f% of the picture"
        end = (max(value, region["high"] or 0.0), place)
        axes.annotate(text, end, (5, 0), textcoords="offset points", va="center", fontsize=7.5)
    axes.axvline(1, color=style.MUTED, linewidth=1, linestyle=style.DASHED)  # of a uniform map
    style.name_rows(axes, REGIONS, above=0.6)
    axes.margins(x=0.32)
    axes.set_xlim(left=0)
    axes.set_xlabel("attribution relative to the region's area; dashed: a map without preference; lines: 95\u202f%")
    return figure


@style.styled()
def classes_figure(report: Mapping[str, Any]) -> Figure | None:
    """Draw attribution relative to area, a row for each predicted class and a column for each region, framed where FACS
    expects the emotion; None where no class has an explained clip."""
    classes = {name: result for name, result in report["by_class"].items() if result["leakage"]["value"] is not None}
    if not classes:
        return None
    values = np.array(
        [[result["regions"][region]["value"] or 0.0 for region in REGIONS] for result in classes.values()]
    )
    figure = _figure(report, 8.6, 1.9 + 0.44 * len(classes), "By predicted class")
    axes = figure.subplots()
    # logarithmic: half as much is as far from even as twice as much
    image = axes.imshow(np.log2(values.clip(0.25, 4)), cmap="RdBu_r", vmin=-2, vmax=2, aspect="auto")
    for row, result in enumerate(classes.values()):
        for column, region in enumerate(REGIONS):
            strong = abs(np.log2(max(values[row, column], 0.25))) > 1.5
            colour = "white" if strong else style.INK
            axes.text(column, row, f"{values[row, column]:.1f}", ha="center", va="center", fontsize=8, color=colour)
            if region in result["expected"]["regions"]:
                corner = (column - 0.46, row - 0.44)
                axes.add_patch(Rectangle(corner, 0.92, 0.88, fill=False, edgecolor=style.INK, linewidth=1.2))
    axes.set_xticks(range(len(REGIONS)), REGIONS, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(classes)), [f"{name}  ({result['n_clips']:,})" for name, result in classes.items()])
    style.bare(axes)
    bar = figure.colorbar(image, ax=axes, shrink=0.9, ticks=[-2, -1, 0, 1, 2])
    bar.ax.set_yticklabels(["≤ ¼", "½", "1", "2", "≥ 4"])
    bar.outline.set_visible(False)
    axes.set_xlabel(
        "attribution relative to area; in brackets: number of clips; framed: where FACS expects the emotion to show"
    )
    return figure


@style.styled()
def frames_figure(report: Mapping[str, Any]) -> Figure | None:
    """Draw the mean share of each frame of a clip, and the fall of the logit without it."""
    if not report["by_frame"]:
        return None
    importance, occlusion = (np.array(report["by_frame"][name], float) for name in ("importance", "occlusion"))
    figure = _figure(report, 7.4, 2.9, "When: the mean over clips")
    left = figure.subplots()
    moments = np.arange(1, len(importance) + 1)
    left.bar(moments, importance, color=style.BLUE, width=0.7, alpha=0.85, label="share of the Grad-CAM")
    left.axhline(1 / len(importance), color=style.MUTED, linewidth=1, linestyle=style.DASHED, label="an even share")
    style.percent_axis(left, "y", grid=False)
    left.set_xlabel("frame")
    left.set_xticks(moments)
    right = left.twinx()
    right.spines["right"].set_visible(True)
    label = "fall of the logit without it"
    right.plot(moments, occlusion, color=style.VERMILION, marker="o", markersize=3.5, label=label)
    low, high = min(0.0, float(np.nanmin(occlusion))), max(0.05, float(np.nanmax(occlusion)))
    right.set_ylim(1.1 * low, 1.1 * high)  # so that noise around zero does not look like a trend
    right.set_ylabel("logit")
    (bars, names), (line, name) = left.get_legend_handles_labels(), right.get_legend_handles_labels()
    left.legend(bars + line, names + name, loc="upper left", ncol=3, bbox_to_anchor=(0, 1.16))
    return figure


@style.styled()
def curves_figure(report: Mapping[str, Any]) -> Figure | None:
    """Draw the probability of the class while cells are blurred, or restored, in the order of the map and at random."""
    curves = report.get("curves") or {}
    if not curves:
        return None
    figure = _figure(report, 7.4, 2.9, "Deletion and insertion")
    for axes, name, colour in zip(figure.subplots(1, 2), ("deletion", "insertion"), style.CYCLE, strict=False):
        share = np.linspace(0, 1, len(curves[name]))
        axes.plot(share, curves[name], color=colour, label="in the order of the map")
        chance = curves["at random"][:: 1 if name == "deletion" else -1]
        axes.plot(share, chance, color=style.MUTED, linestyle=style.DASHED, label="at random")
        style.percent_axis(axes, "x", grid=False)
        axes.set(ylim=(0, 1), ylabel="probability of the class")
        axes.set_xlabel("of the picture blurred" if name == "deletion" else "of the picture shown")
        axes.legend(loc="best")
    return figure


def _figure(report: Mapping[str, Any], width: float, height: float, title: str) -> Figure:
    """Return an empty figure, marked where the maps failed a check, so that it cannot be shown without the warning."""
    figure = style.new_figure(width, height + 0.1, title, report["provenance"])
    if warning := mark(report):
        figure.text(0.5, 0.995, warning, ha="center", va="top", fontsize=8, color=style.VERMILION, fontweight="bold")
    return figure
