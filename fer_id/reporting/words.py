"""Sentences from ``metrics.json`` for the top of a report. They claim no more than the intervals support."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fer_id.evaluation.groups.gaps import ALPHA, GAP, NO_GAP, TESTED, TOO_LITTLE
from fer_id.evaluation.intervals import HEADLINE, HELD
from fer_id.runs.metrics import Calibration, Column, Gap, Metrics, Subgroups
from fer_id.runs.records import Interval

GROUP_SCORES = {"accuracy": "accuracy", "macro_recall": "macro recall", "macro_f1": "macro-F1"}
_VERDICTS = (GAP, NO_GAP, TOO_LITTLE)

PROVENANCE_CAVEATS = {
    "synthetic": (
        "These are drawn faces: the numbers test the method and say nothing about real children. Drawn children "
        "express late, weakly and with interruptions by construction: that a temporal model beats one of single frames "
        "is built into the drawing, and is no evidence that it would with real children."
    ),
    "simulated": (
        "These clips were simulated from still pictures: the numbers compare methods and are no evidence "
        "about real children. Simulated children express late, weakly and with interruptions by construction, which "
        "favours temporal models."
    ),
}
CEILING = "one person against the others: "

MODE_CAVEATS = {
    "transductive": "The model was fitted with the tested children's own clips, without their labels: "
    "a new child cannot expect this.",
    "personalised": "The model learned from earlier labelled clips of the tested children and was tested on later "
    "ones: a new child cannot expect this.",
}
"""Mode -> caveat of every number of a protocol whose model saw data of the tested children."""

PROVENANCE_NAMES = {"real": "real faces", "simulated": "simulated clips", "synthetic": "synthetic (drawn) faces"}


def percent(share: float | None, digits: int = 1) -> str:
    """Format ``0.6821`` as ``68.2 %``; an undefined value is an en dash."""
    return "–" if share is None else f"{100 * share:.{digits}f}\u202f%"


def p_value(p: float | None) -> str:
    """Format a p-value as ``.031`` or ``< .001``; an en dash without a test."""
    if p is None:
        return "–"
    return "< .001" if p < 0.0005 else f"{p:.3f}".replace("0.", ".", 1)


def p_words(p: float | None) -> str:
    """Format a p-value as ``p = .031`` or ``p < .001``; a remark where there is no test."""
    if p is None or math.isnan(p):
        return "no test: fewer than two subjects"
    return f"p {p_value(p)}" if p < 0.0005 else f"p = {p_value(p)}"


def difference_words(value: float, low: float | None, high: float | None) -> str:
    """Format a difference as ``+1.2 points (−0.3 to +2.7)``."""
    return f"{with_sign(100 * value, 1)} points ({signed_extent(low, high)})"


def signed_extent(low: float | None, high: float | None, scale: float = 100, digits: int = 1) -> str:
    """Format the interval of a difference as ``−0.3 to +2.7``."""
    if low is None or high is None:
        return "no interval"
    return f"{with_sign(scale * low, digits)} to {with_sign(scale * high, digits)}"


def with_sign(value: float, digits: int) -> str:
    """Format a number with its sign, a true minus."""
    return f"{value:+.{digits}f}".replace("-", "−")


def points(share: float | None) -> str:
    """Format ``0.221`` as ``22.1 points``."""
    return "no points" if share is None else f"{100 * share:.1f} points"


def counted(number: int, noun: str) -> str:
    """Format ``1 subject``, ``12 subjects``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def units(people: bool) -> str:
    """Name the units of the statistics: subjects, or image groups in a benchmark of pictures."""
    return "subjects" if people else "image groups"


def interval_words(metrics: Metrics, name: str, digits: int = 1) -> str:
    """Return an interval as ``66.7 to 69.8 %``, or the reason why there is none."""
    return extent(metrics.interval(name), metrics.reasons.get(f"intervals.{name}"), digits)


def signed_interval(metrics: Metrics, name: str, digits: int = 3) -> str:
    """Return the interval of a score in [-1, 1] as ``+0.412 to +0.587``, or the reason why there is none."""
    if (interval := metrics.interval(name)) is None:
        return f"no interval: {metrics.reasons.get(f'intervals.{name}') or 'not computed'}"
    return signed_extent(interval.low, interval.high, 1, digits)


def extent(interval: Interval | None, why_not: str | None, digits: int = 1) -> str:
    """Return an interval of a share in the format of :func:`interval_words`, or the reason why there is none."""
    if interval is None:
        return f"no interval: {why_not or 'not computed'}"
    return f"{100 * interval.low:.{digits}f} to {percent(interval.high, digits)}"


def span(interval: Interval | None, none: str = "no interval") -> str:
    """Return an interval of a share as ``66.7–69.8``, in per cent for a narrow cell; ``none`` without an interval."""
    return f"{100 * interval.low:.1f}–{100 * interval.high:.1f}" if interval else none


def within(interval: Interval | None) -> str:
    """Return ``95 % 66.7 to 69.8 %``, or ``no interval``."""
    return f"95\u202f% {extent(interval, None)}" if interval else "no interval"


def too_few(subjects: int, tests: int, of: str = "subjects") -> str | None:
    """Return a sentence where the smallest corrected p-value of so few subjects is not significant; else None.

    ``of`` names them (:func:`units`). With S subjects, 2 of 2^S sign flips are as extreme as the clearest difference.
    """
    smallest = tests * 2.0 ** (1 - subjects)
    if smallest < ALPHA:
        return None
    corrected = f"corrected for {tests:,} tests, " if tests > 1 else ""
    return (
        f"With {counted(subjects, of[:-1])} no difference can be shown, however clear: {corrected}p is at least "
        f"{min(1.0, smallest):.2f}."
    )


def held(n_subjects: int) -> str:
    """Return a sentence on the simulated coverage of intervals over so few subjects."""
    size = max((size for size in HELD if size <= n_subjects), default=min(HELD))
    shares = [round(100 * HELD[size][score]) for score in HEADLINE]
    span = " to ".join(map(str, sorted({min(shares), max(shares)})))
    fewer = "; fewer children were not tried" if n_subjects < size else ""
    return (
        f"In simulated cohorts of {size} children, 95\u202f% intervals of these scores held the truth in {span}\u202f% "
        f"of the cohorts, those of the calibration error in {percent(HELD[size]['ece'], 0)}{fewer}. That was with a "
        "model right on seven clips of ten; nearer to all of them they hold it less often."
    )


def calibration_note(calibration: Calibration) -> str:
    """Return a note on the ECE: its bins, its interval, and the mean overconfidence."""
    note = f"{calibration.bins} equal-width bins of the raw probabilities; 0 is best"
    if interval := calibration.intervals.get("ece"):
        note += f"; 95\u202f%: {extent(interval, None)}"
    if (excess := calibration.overconfidence) is not None:
        note += f". On average {'too sure' if excess > 0 else 'not sure enough'} by {abs(100 * excess):.1f} points"
        if interval := calibration.intervals.get("overconfidence"):
            note += f" (confidence less accuracy {signed_extent(interval.low, interval.high)})"
    return note


def provenance_caveat(provenance: str) -> str:
    """Return the caveat of every number of that provenance; empty for real faces."""
    return PROVENANCE_CAVEATS.get(provenance, "")


def baselines(metrics: Metrics) -> tuple[str, float, float] | None:
    """Return the commonest class, its share of the scored clips, and the accuracy of a blind guess."""
    support = {label: row.support for label, row in metrics.per_class.items()}
    total = sum(support.values())
    if not total:
        return None
    commonest = max(support, key=lambda label: support[label])
    return commonest, support[commonest] / total, 1 / len(support)


def error_pattern(metrics: Metrics, label: str) -> str:
    """Return the most common error on clips of one class: ``most often taken for surprise (21 % of its clips)``."""
    names, row = metrics.labels, metrics.confusion_matrix[metrics.labels.index(label)]
    support = sum(row)
    if not support:
        return "no test clip of this class"
    errors = {name: count for name, count in zip(names, row, strict=True) if name != label}
    most = max(errors.values())
    if not most:
        return "never taken for another class"
    taken_for = [name for name, count in errors.items() if count == most]
    share = f"{percent(most / support, 0)} of its clips"
    if len(taken_for) > 2:
        return f"no one error prevails ({share} at most)"
    return f"most often taken for {' or '.join(taken_for)} ({share}{' each' if len(taken_for) > 1 else ''})"


def worst_classes(metrics: Metrics) -> list[str]:
    """Return the classes with the lowest recall, several where they tie; none where no class has support."""
    recalls = {label: row.recall for label, row in metrics.per_class.items() if row.recall is not None}
    lowest = min(recalls.values(), default=None)
    return [label for label, recall in recalls.items() if recall == lowest]


def listed(names: Sequence[str]) -> str:
    """Join names: ``angry and fear``, ``angry, disgust and fear``; more than three: ``angry, disgust and 3 more``."""
    parts = list(names) if len(names) <= 3 else [*names[:2], f"{len(names) - 2} more"]
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))


def worst_subject(metrics: Metrics) -> str | None:
    """Return the subject with the lowest accuracy; None where no subject has one, or all have the same."""
    judged = {name: row.accuracy for name, row in metrics.per_subject.items() if row.accuracy is not None}
    return min(judged, key=lambda name: judged[name]) if len({*judged.values()}) > 1 else None


def summary(metrics: Metrics, *, people: bool) -> list[str]:
    """Return a run's result in a few sentences; ``people``: whether a subject is a person."""
    caveat = [provenance_caveat(metrics.provenance)] if provenance_caveat(metrics.provenance) else []
    if metrics.accuracy is None:
        return [f"There is no accuracy: {metrics.reasons.get('accuracy', 'not computed')}.", *caveat]
    sentences = _headline(metrics, people=people)
    if metrics.n_missing:
        sentences.append(
            f"In {metrics.n_missing:,} of {metrics.n_clips:,} clips no face was found; with these as errors "
            f"the accuracy is {percent(metrics.accuracy_with_missing)}."
        )
    if metrics.n_no_baseline:
        sentences.append(
            f"{counted(metrics.n_no_baseline, 'clip')} with a single frame that shows a face had no own baseline, and "
            "nothing was subtracted."
        )
    if metrics.n_unlabelled:
        sentences.append(f"{metrics.n_unlabelled:,} test clips have no label and are not judged.")
    return [*sentences, *_worst(metrics, people=people), *caveat]


def _headline(metrics: Metrics, *, people: bool) -> list[str]:
    of = f" of {counted(metrics.n_subjects, 'subject')}" if people else ""
    interval = metrics.intervals["accuracy"]
    extent = ("95\u202f% interval " if interval else "") + interval_words(metrics, "accuracy")
    sentences = [
        f"The model is right on {percent(metrics.accuracy)} of {counted(metrics.n_judged, 'test clip')}{of} ({extent})."
    ]
    compared = baselines(metrics)
    if compared is None:
        return sentences
    commonest, majority, chance = compared
    constant = f"“{commonest}”, the commonest class," if majority > chance + 1e-9 else "any one class"
    sentences.append(
        f"Always answering {constant} would be right on {percent(majority)}; a blind guess on {percent(chance)}."
    )
    if (metrics.accuracy or 0.0) <= majority:
        sentences.append("So this model is no better than a constant answer.")
    elif interval and interval.low <= majority:
        sentences.append(
            "The interval reaches down to that constant answer: it is not shown that the model does better."
        )
    return sentences


def _worst(metrics: Metrics, *, people: bool) -> list[str]:
    sentences = []
    if hardest := worst_classes(metrics):
        several = len(hardest) > 1
        recognised = percent(metrics.per_class[hardest[0]].recall, 0)
        pattern = "" if several else f", {error_pattern(metrics, hardest[0])}"
        are, their = ("are", "their") if several else ("is", "its")
        sentences.append(f"Hardest {are} {listed(hardest)}: {recognised} of {their} clips are recognised{pattern}.")
    if people and metrics.n_subjects > 1 and (subject := worst_subject(metrics)) is not None:
        row = metrics.per_subject[subject]
        judged = counted(row.n_clips - row.n_missing, "clip")
        sentences.append(f"It serves subject {subject} worst: {percent(row.accuracy, 0)} of {judged}.")
    return sentences


def gap_sentences(subgroups: Subgroups | None) -> list[str]:
    """Return a sentence per column with the clearest of its verdicts and its score; none without groups."""
    return [f"{name}: {verdict_words(column)}." for name, column in (subgroups.columns if subgroups else {}).items()]


def verdict_words(column: Column) -> str:
    """Return a verdict such as ``gap: severe 22.1 points below mild in accuracy (p = .008)``."""
    score = min(TESTED, key=lambda name: _VERDICTS.index(column.gaps[name].verdict))  # accuracy where they agree
    return gap_words(column.gaps[score], score)


def gap_words(gap: Gap, score: str) -> str:
    """Return the verdict on one score, with the numbers behind it."""
    if gap.verdict == TOO_LITTLE:
        return f"{TOO_LITTLE} ({gap.reason})"
    p = p_words(gap.p_holm)
    if gap.verdict == GAP:
        return f"gap: {gap.worst} {points(gap.gap)} below {gap.best} in {GROUP_SCORES[score]} ({p})"
    return f"{NO_GAP} in {GROUP_SCORES[score]} ({points(gap.gap)}, {p})"


def small_groups(subgroups: Subgroups) -> str:
    """Return a sentence on the groups with too few subjects to enter a gap; empty where there is none."""
    least = subgroups.min_subjects
    small = [
        f"{value} ({group.n_subjects})"
        for column in subgroups.columns.values()
        for value, group in column.groups.items()
        if len(column.of) == 1 and group.n_subjects < least
    ]
    if not small:
        return ""
    return f"Shown, but compared with none, for want of {least} subjects: {', '.join(small)}."
