"""Doubt of a model: clips flagged for review, prediction sets, aleatoric and epistemic uncertainty.

Sentences for the report, and the page of ``fer-id uncertainty``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from fer_id.evaluation.evaluate import subjects_are_people
from fer_id.files import atomic_write_bytes
from fer_id.reporting import style
from fer_id.reporting.jobs import run_name
from fer_id.reporting.page import write_page
from fer_id.reporting.words import counted, listed, percent, units
from fer_id.runs.metrics import Conformal, Metrics, Review, Uncertainty
from fer_id.runs.records import Interval
from fer_id.runs.run_dir import RunDir

FOLDER = "uncertainty"
NAMES = {"aleatoric": "ambiguous (aleatoric)", "epistemic": "unlike anything seen (epistemic)"}
_MOST_SHOWN = 12  # clips of each list


def sentences(metrics: Metrics, *, people: bool) -> list[str]:
    """Return all sentences; empty for the metrics of an older version. ``people``: whether a subject is a person."""
    lines: list[str] = []
    if metrics.review:
        lines += _review(metrics.review, metrics.reasons)
    if metrics.conformal:
        lines += _conformal(metrics.conformal, metrics.reasons, people=people)
    if metrics.uncertainty:
        lines += uncertainty_sentences(metrics.uncertainty)
    return lines if people else [line.replace("subject", "image group") for line in lines]  # also in recorded reasons


def _review(review: Review, reasons: Mapping[str, str]) -> list[str]:
    lines = []
    if review.flagged is not None:
        first = (
            "A clip goes to a person where the model is less sure than a threshold, chosen without the test clips so "
            f"that at most {percent(review.risk, 0)} of the answers are wrong (95\u202f% bound over subjects): "
            f"{percent(review.flagged)} of the test clips are flagged"
        )
        if review.risk_answered is not None:
            wrong = f"of the {percent(review.coverage)} that it answers {percent(review.risk_answered)} are wrong"
            missed = ", more than was asked for" if review.risk_answered > review.risk else ""
            first += f", and {wrong}{_extent(review.interval)}{missed}"
        lines.append(f"{first}.")
    prefix = "review.thresholds."
    why = Counter(reason for key, reason in reasons.items() if key.startswith(prefix))
    for reason, folds in why.items():
        of = f" in {counted(folds, 'fold')}" if len(review.thresholds) > 1 else ""
        lines.append(f"Everything is flagged{of}: {reason}.")
    return lines


def _extent(interval: Interval | None) -> str:
    return f" (95\u202f% interval {percent(interval.low)} to {percent(interval.high)})" if interval else ""


def _conformal(sets: Conformal, reasons: Mapping[str, str], *, people: bool) -> list[str]:
    unit = "children" if people else "pictures"
    level = percent(sets.level, 0)
    if sets.coverage is None:
        why = reasons.get("conformal.coverage", "not computed")
        return [f"Prediction sets that hold the true class in {level} of the cases: {sets.verdict} ({why})."]
    none = f", {percent(sets.empty)} none, as nothing like that was seen" if sets.empty else ""
    lines = [
        f"Prediction sets made to hold the true class in {level} of the cases, for new {unit}, hold it in "
        f"{percent(sets.coverage)}{_extent(sets.interval)} and name {sets.mean_size:.1f} classes in the mean; "
        f"{percent(sets.singletons)} name one{none}."
    ]
    known = {name: row.coverage for name, row in (sets.per_class or {}).items() if row.coverage is not None}
    if low := [name for name, value in known.items() if value < sets.level - 0.1]:
        named = listed([f"{name} ({percent(known[name], 0)})" for name in low])
        lines.append(f"They hold it less often for {named}: the promise is about all clips, not about each class.")
    return lines


def uncertainty_sentences(scores: Uncertainty) -> list[str]:
    """Return a sentence on ``uncertainty`` of ``metrics.json``, or on the scores before they are written there."""
    limits = {name: f" ({each.low:.2f} to {each.high:.2f})" for name, each in scores.intervals.items() if each}
    known = {name: value for name, value in scores.auroc_error.items() if value is not None}
    aurocs = ", ".join(f"{NAMES.get(name, name)} {value:.2f}{limits.get(name, '')}" for name, value in known.items())
    errors = f" How well each tells wrong answers from right ones (AUROC, 0.5 is chance): {aurocs}." if aurocs else ""
    return [
        f"Two kinds of doubt ({scores.method}, {scores.members} members): ambiguous, on average "
        f"{scores.aleatoric:.2f} nats, and unlike anything seen, {scores.epistemic:.2f} nats.{errors}"
    ]


def write_uncertainty(run: RunDir, table: pd.DataFrame, scores: Uncertainty, provenance: str) -> Path:
    """Write ``uncertainty.parquet``, ``uncertainty.json`` and ``index.html``; return the page's path.

    ``table`` and ``scores`` come from :mod:`fer_id.evaluation.confidence.uncertainty`.
    """
    folder = run.path / FOLDER
    people = subjects_are_people(run.metrics(), run.job().store)
    atomic_write_bytes(folder / "uncertainty.parquet", table.to_parquet(index=False))
    scores.write(folder / "uncertainty.json")
    measures = {"Most unlike anything seen": "epistemic", "Most ambiguous": "aleatoric"}
    return write_page(
        folder / "index.html",
        "uncertainty.html.j2",
        title=run_name(run),
        provenance=provenance,
        found=scores,
        names=NAMES,
        people=people,
        units=units(people),
        sentences=uncertainty_sentences(scores),
        picture=style.embedded({"doubt": doubt_figure(table, provenance)})["doubt"],
        lists={heading: _most(table, measure) for heading, measure in measures.items()},
    )


@style.styled()
def doubt_figure(table: pd.DataFrame, provenance: str) -> Figure:
    """Draw each clip as a dot by aleatoric and epistemic uncertainty, coloured by whether the prediction is right."""
    kinds = {
        "right": (table["right"].fillna(False).astype(bool), "o", style.BLUE),
        "wrong": (~table["right"].fillna(True).astype(bool), "X", style.VERMILION),
        "no label": (table["right"].isna(), "o", style.MUTED),
    }
    figure, axes = style.one_panel(5.6, 4.4, "Two kinds of doubt", provenance)
    for name, (rows, marker, colour) in kinds.items():
        if rows.any():
            x, y, label = table["aleatoric"][rows], table["epistemic"][rows], f"{name} ({int(rows.sum()):,})"
            axes.plot(x, y, marker, color=colour, markersize=4, alpha=0.6, markeredgewidth=0, label=label)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid()
    axes.set_xlabel("ambiguous: mean entropy of the members (nats)")
    axes.set_ylabel("unlike anything seen: mutual information (nats)")
    if axes.lines:
        axes.legend()
    return figure


def _most(table: pd.DataFrame, measure: str) -> list[tuple[object, ...]]:
    """Return the rows with most of a measure; ``right`` is None without a label."""
    right = table["right"].astype(object)
    return list(table.assign(right=right.where(right.notna(), None)).nlargest(_MOST_SHOWN, measure).itertuples())
