"""Sentences on a benchmark's results, limited to what its tests support."""

from __future__ import annotations

from collections.abc import Mapping

from fer_id.evaluation.controls import CHOSEN, MEAN, REFITTED, REVERSED, SHUFFLED, WHOLE
from fer_id.evaluation.groups.gaps import ALPHA
from fer_id.evaluation.seeds import Contrast
from fer_id.reporting.result_shapes import ControlScores
from fer_id.reporting.words import difference_words, listed, p_words, percent

HEAD_NAMES = {
    "lstm": "LSTM",
    "gru": "GRU",
    "bilstm": "bidirectional LSTM",
    "attention": "attention head",
    "transformer": "transformer head",
    "last": "last frame",
    "set": "set of frames",
    "own_set": "set minus the own baseline",
    "both_sets": "set with and without the own baseline",
    "running_set": "set minus the running own baseline",
    "own_lstm": "LSTM minus the own baseline",
    "running_lstm": "LSTM minus the running own baseline",
}
ORDER_FREE = ("mean", "attention", "set", "own_set", "both_sets")
"""Heads whose output does not depend on the order of the frames."""

_WITHOUT_TIME = (MEAN, CHOSEN)


def winner(
    reference: str, accuracy: Mapping[str, float], contrasts: Mapping[str, tuple[Contrast, float]], trainings: int
) -> list[str]:
    """Return sentences on whether the reference wins, and which differences are significant.

    ``accuracy`` is of every model; ``contrasts`` of every other model holds model minus reference, and p corrected for
    the family; ``trainings`` is the number of trainings of a model.
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
    return [
        *sentences,
        "Shown: paired by subject, corrected for the number of models (Holm), p below .05. Subjects alone are drawn in "
        f"the test: it is shown of these trainings, {trainings:,} of each model, and another training may differ.",
    ]


def time_verdict(controls: ControlScores) -> tuple[str, list[str]]:
    """Return whether a temporal head is worth having, and the tests behind the answer.

    It is where the whole clip beats both the mean of the frames and the chosen frame. Whether the order of the frames
    matters is another question, which the shuffled frames answer. The tests are a sentence each, and one on the
    refitted classifier.
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
        f"{difference_words(row.difference, row.low, row.high)}, {p_words(row.p_holm)}."
        for name, row in against.items()
        if not (controls.head in ORDER_FREE and name in (SHUFFLED, REVERSED))
    ]
    refitted = f"With its classifier fitted as long as the mean's, the whole clip gives {accuracy[REFITTED]}."
    return answer, [*tests, refitted]
