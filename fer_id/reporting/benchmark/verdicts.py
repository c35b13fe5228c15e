"""Sentences on a benchmark's results, limited to what its tests support."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fer_id.evaluation.controls import CHOSEN, MEAN, REFITTED, REVERSED, SHUFFLED, WHOLE
from fer_id.evaluation.seeds import Contrast
from fer_id.reporting.words import counted, listed, percent

ALPHA = 0.05
HEAD_NAMES = {
    "lstm": "LSTM",
    "gru": "GRU",
    "bilstm": "bidirectional LSTM",
    "attention": "attention head",
    "transformer": "transformer head",
    "last": "last frame",
}
ORDER_FREE = ("mean", "attention")
"""Heads whose output does not depend on the order of the frames."""

_WITHOUT_TIME = (MEAN, CHOSEN)


def p_words(p: float | None) -> str:
    """Format a p-value as ``p = .031`` or ``p < .001``; a remark where there is no test."""
    if p is None or math.isnan(p):
        return "no test: fewer than two subjects"
    return "p < .001" if p < 0.0005 else f"p = {p:.3f}".replace("0.", ".", 1)


def points(value: float, low: float | None, high: float | None) -> str:
    """Format a difference as ``+1.2 points (−0.3 to +2.7)``."""
    extent = "no interval" if low is None or high is None else f"{_signed(low)} to {_signed(high)}"
    return f"{_signed(value)} points ({extent})"


def too_few(subjects: int, tests: int) -> str | None:
    """Return a sentence where the smallest corrected p-value of so few subjects is not significant; else None.

    With S subjects, 2 of 2^S sign flips are as extreme as the clearest difference.
    """
    smallest = tests * 2.0 ** (1 - subjects)
    if smallest < ALPHA:
        return None
    return (
        f"With {counted(subjects, 'subject')} no difference can be shown, however clear: corrected for "
        f"{counted(tests, 'test')}, p is at least {min(1.0, smallest):.2f}."
    )


def winner(reference: str, accuracy: Mapping[str, float], contrasts: Mapping[str, tuple[Contrast, float]]) -> list[str]:
    """Return sentences on whether the reference wins, and which differences are significant.

    Args:
        reference: a model.
        accuracy: model -> accuracy, the reference among them.
        contrasts: every other model -> (model minus reference, p corrected for the family).
    """
    highest = max(accuracy.values())
    best = [name for name, value in accuracy.items() if value == highest]
    have = "has" if len(best) == 1 else "have"
    first = f"{listed(best)} {have} the highest accuracy of {len(accuracy)} models, {percent(highest)}"
    if reference not in best:
        first = f"{reference} does not win: {first} against {percent(accuracy[reference])}"
    differences = {name: contrast.value for name, (contrast, p) in contrasts.items() if p < ALPHA}
    sentences = [f"{first}."]
    for names, relation in (
        ([name for name, value in differences.items() if value < 0], "is shown to be more accurate than"),
        ([name for name, value in differences.items() if value > 0], "is shown to be less accurate than"),
        ([name for name in contrasts if name not in differences], "is not shown to differ from"),
    ):
        if names:
            sentences.append(f"{reference} {relation} {listed(names) if len(names) <= 3 else ', '.join(names)}.")
    return [*sentences, "Shown: paired by subject, corrected for the number of models (Holm), p below .05."]


def time_verdict(controls: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return whether a temporal head is worth having, and the tests behind the answer.

    It is where the whole clip beats both the mean of the frames and the chosen frame. Whether the order of the frames
    matters is another question, which the shuffled frames answer.

    Args:
        controls: content of ``controls.json``, or of several pooled.

    Returns:
        The answer; a sentence for each test, and one on the refitted classifier.
    """
    head, against = HEAD_NAMES.get(controls["head"], controls["head"]), controls["against_whole_clip"]
    won = [name for name in against if _significant(against[name]) and against[name]["difference"] > 0]
    lost = [name for name in _WITHOUT_TIME if _significant(against[name]) and against[name]["difference"] < 0]
    failed = [name for name in _WITHOUT_TIME if name not in won]
    if lost:
        answer = f"The {head} does not earn its place here: it does worse than the {' and the '.join(lost)}."
    elif failed:
        answer = (
            f"It is not shown that the {head} earns its place here: whole clips are not shown to tell it more than the "
            f"{' or the '.join(failed)}."
        )
    elif controls["head"] in ORDER_FREE:
        answer = f"The {head} earns its place here, weighing frames; it cannot see their order."
    elif SHUFFLED in won:
        answer = f"The {head} earns its place here, and the order of the frames is part of what it knows."
    else:
        answer = (
            f"The {head} earns its place here, but it is not shown that the order of the frames matters: a head that "
            "cannot see it might do as well."
        )
    whole = controls["accuracy"][WHOLE]["value"]
    tests = [
        f"Whole clip {percent(whole)}, {name} {percent(controls['accuracy'][name]['value'])}: "
        f"{points(row['difference'], row['low'], row['high'])}, {p_words(row['p_holm'])}."
        for name, row in against.items()
        if not (controls["head"] in ORDER_FREE and name in (SHUFFLED, REVERSED))
    ]
    refitted = percent(controls["accuracy"][REFITTED]["value"])
    return answer, [*tests, f"With its classifier fitted as long as the mean's, the whole clip gives {refitted}."]


def _significant(row: Mapping[str, Any]) -> bool:
    p = row["p_holm"]
    return p is not None and p < ALPHA


def _signed(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")
