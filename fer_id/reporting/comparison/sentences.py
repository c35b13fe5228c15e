"""Sentences on a comparison: the run chosen by inner validation, and the significant differences."""

from __future__ import annotations

from collections.abc import Sequence

from fer_id.objectives import OBJECTIVES, lower_is_better
from fer_id.reporting.benchmark.verdicts import ALPHA, p_words, points, too_few
from fer_id.reporting.comparison.compared_run import Compared
from fer_id.reporting.words import counted, percent, within

ACROSS_FOLDS = (
    "Of cross-validations that is the mean over folds, in which each test child validates other folds: a choice "
    "between them has seen the children it is judged on. A sweep chooses within each fold."
)


def candidates(compared: Sequence[Compared], reference: Compared) -> list[Compared]:
    """Return the runs that one may choose between, in their order: those tested on the clips of the reference.

    The others are tested on other children, as the trials of two folds are: their scores are not comparable.
    """
    return [run for run in compared if run is reference or run.unpaired is None]


def choice(compared: Sequence[Compared], reference: Compared, monitor: str) -> Compared | None:
    """Return the best candidate on inner validation; None where there is nothing to choose.

    Args:
        compared, reference, monitor: as in :func:`summary`.
    """
    among = candidates(compared, reference)
    return among[0] if len(among) > 1 and monitor in among[0].reached else None


def summary(compared: Sequence[Compared], reference: Compared, monitor: str) -> list[str]:
    """Return a comparison in a few sentences.

    Args:
        compared: all runs, the best on inner validation first.
        reference: the run that the others are paired with.
        monitor: column of ``OBJECTIVES`` that determines the order.
    """
    if len(compared) < 2:
        return []
    among, best = candidates(compared, reference), choice(compared, reference, monitor)
    if len(among) == 1:
        return [
            f"No other run was tested on the clips of {reference.name}, so none is chosen here: scores on other "
            "children say nothing of one another.",
            *_differences(compared, reference),
        ]
    if best is None:
        sentences = ["No run has a record of its inner validation, so none can be chosen here."]
    else:
        sentences = _chosen(
            best,
            reference,
            monitor,
            "" if len(among) == len(compared) else f", of {len(among)} on the same test clips,",
        )
    leak = [ACROSS_FOLDS] if any(run.folds > 1 for run in among) else []
    return [*sentences, *leak, *_flattering(among, best), *_differences(compared, reference)]


def _chosen(best: Compared, reference: Compared, monitor: str, among: str) -> list[str]:
    value = f"{best.reached[monitor]:.3f}" if lower_is_better(monitor) else percent(best.reached[monitor])
    sentences = [
        f"Inner validation chooses{among} {best.name} ({OBJECTIVES[monitor]} {value}); on the test clips it is right "
        f"on {percent(best.metrics.accuracy)} ({_extent(best)})."
    ]
    if best is not reference and best.paired:
        difference = best.paired.differences["accuracy_with_missing"]
        gained = points(difference.value, difference.interval.low, difference.interval.high)
        sentences.append(f"Beside {reference.name}, the reference, that is {gained}, {p_words(best.p_holm)}.")
    return sentences


def _extent(run: Compared) -> str:
    return within(run.metrics.interval("accuracy"))


def _flattering(among: Sequence[Compared], best: Compared | None) -> list[str]:
    judged = [run for run in among if run.metrics.accuracy is not None]
    highest = max(judged, key=lambda run: run.metrics.accuracy, default=best)
    if best is None or highest is None or highest is best:
        return []
    return [
        f"The highest test accuracy, {percent(highest.metrics.accuracy)}, is that of {highest.name}; as the best of "
        f"{len(judged)} on the test clips it flatters itself, and is no reason to choose it."
    ]


def _differences(compared: Sequence[Compared], reference: Compared) -> list[str]:
    tested = [run for run in compared if run.p_holm is not None]
    unpaired = sum(run.unpaired is not None for run in compared)
    sentences = []
    if tested:
        differences = [
            run.paired.differences["accuracy_with_missing"].value for run in tested if run.paired and _sure(run)
        ]
        more, less = sum(value > 0 for value in differences), sum(value < 0 for value in differences)
        sentences.append(
            f"Of {counted(len(tested), 'run')} tested against {reference.name}, {more} {_are(more)} shown to be more "
            f"accurate and {less} {_are(less)} shown to be less (p below .05, corrected for the number of tests)."
        )
        if (hopeless := too_few(reference.metrics.n_subjects, len(tested))) is not None:
            sentences.append(hopeless)
    if unpaired:
        sentences.append(f"{counted(unpaired, 'run')} cannot be paired with it; the table says why.")
    return sentences


def _sure(run: Compared) -> bool:
    return run.p_holm is not None and run.p_holm < ALPHA


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
