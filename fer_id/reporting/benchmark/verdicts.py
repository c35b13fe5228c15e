"""Sentences on a benchmark's results, limited to what its tests support."""

import math
from collections.abc import Mapping

from fer_id.evaluation.controls import CHOSEN, MEAN, REFITTED, REVERSED, SHUFFLED, WHOLE
from fer_id.evaluation.seeds import Contrast
from fer_id.reporting.result_shapes import ControlScores
from fer_id.reporting.words import counted, listed, p_value, percent

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
    return f"p {p_value(p)}" if p < 0.0005 else f"p = {p_value(p)}"


def points(value: float, low: float | None, high: float | None) -> str:
    """Format a difference as ``+1.2 points (−0.3 to +2.7)``."""
    extent = "no interval"
    if low is not None and high is not None:
        extent = f"{with_sign(100 * low, 1)} to {with_sign(100 * high, 1)}"
    return f"{with_sign(100 * value, 1)} points ({extent})"


def with_sign(value: float, digits: int) -> str:
    """Format a number with its sign, a true minus."""
    return f"{value:+.{digits}f}".replace("-", "−")


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

    ``accuracy`` is of every model; ``contrasts`` of every other model holds model minus reference, and p corrected for
    the family.
    """
    highest = max(accuracy.values())
    best = [name for name, value in accuracy.items() if value == highest]
    have = "has" if len(best) == 1 else "have"
    first = f"{listed(best)} {have} the highest accuracy of {len(accuracy)} models, {percent(highest)}"
    if reference not in best:
        first = f"{reference} does not win: {first} against {percent(accuracy[reference])}"
    differences = {name: contrast.value for name, (contrast, p) in contrasts.items() if p < ALPHA}
    sentences = [f"{first}."]
    relations = {
        "is shown to be more accurate than": [name for name, value in differences.items() if value < 0],
        "is shown to be less accurate than": [name for name, value in differences.items() if value > 0],
        "is not shown to differ from": [name for name in contrasts if name not in differences],
    }
    for relation, names in relations.items():
        if names:
            sentences.append(f"{reference} {relation} {listed(names) if len(names) <= 3 else ', '.join(names)}.")
    return [*sentences, "Shown: paired by subject, corrected for the number of models (Holm), p below .05."]


def time_verdict(controls: ControlScores) -> tuple[str, list[str]]:
    """Return whether a temporal head is worth having, and the tests behind the answer.

    It is where the whole clip beats both the mean of the frames and the chosen frame. Whether the order of the frames
    matters is another question, which the shuffled frames answer.

    Returns:
        The answer; a sentence for each test, and one on the refitted classifier.
    """
    head, against = HEAD_NAMES.get(controls.head, controls.head), controls.against_whole_clip
    tested = {name: row for name, row in against.items() if row.p_holm is not None and row.p_holm < ALPHA}
    significant = {name: row.difference for name, row in tested.items()}
    won = [name for name, difference in significant.items() if difference > 0]
    lost = [name for name in _WITHOUT_TIME if significant.get(name, 0.0) < 0]
    undecided = [name for name in _WITHOUT_TIME if name not in won]
    if lost:
        answer = f"The {head} does not earn its place here: it does worse than the {' and the '.join(lost)}."
    elif undecided:
        answer = (
            f"It is not shown that the {head} earns its place here: whole clips are not shown to tell it more than the "
            f"{' or the '.join(undecided)}."
        )
    elif controls.head in ORDER_FREE:
        answer = f"The {head} earns its place here, weighing frames; it cannot see their order."
    elif SHUFFLED in won:
        answer = f"The {head} earns its place here, and the order of the frames is part of what it knows."
    else:
        answer = (
            f"The {head} earns its place here, but it is not shown that the order of the frames matters: a head that "
            "cannot see it might do as well."
        )
    accuracy = {name: percent(score.value) for name, score in controls.accuracy.items()}
    tests = [
        f"Whole clip {accuracy[WHOLE]}, {name} {accuracy[name]}: "
        f"{points(row.difference, row.low, row.high)}, {p_words(row.p_holm)}."
        for name, row in against.items()
        if not (controls.head in ORDER_FREE and name in (SHUFFLED, REVERSED))
    ]
    refitted = f"With its classifier fitted as long as the mean's, the whole clip gives {accuracy[REFITTED]}."
    return answer, [*tests, refitted]
