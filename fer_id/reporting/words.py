"""Numbers as sentences: what a busy person reads first.

Everything is derived from ``metrics.json``; nothing is claimed that its intervals do not carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fer_id.evaluation.intervals import HEADLINE, HELD

Metrics = dict[str, Any]

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
"""What goes with every number of a protocol that shows something of those who are tested."""

PROVENANCE_NAMES = {"real": "real faces", "simulated": "simulated clips", "synthetic": "synthetic (drawn) faces"}

# Up to this many clips per subject (median), a subject is a group of near-identical pictures rather than a person.
_PICTURES_PER_GROUP = 2


def percent(share: float | None, digits: int = 1) -> str:
    """``0.6821`` -> ``68.2 %``; an undefined value is an en dash."""
    return "–" if share is None else f"{100 * share:.{digits}f}\u202f%"


def counted(number: int, noun: str) -> str:
    """``1 subject``, ``12 subjects``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def interval_words(metrics: Metrics, name: str, digits: int = 1) -> str:
    """``66.7 to 69.8 %``, or why there is no interval."""
    return extent(metrics["intervals"].get(name), metrics["reasons"].get(f"intervals.{name}"), digits)


def extent(interval: Metrics | None, why_not: str | None, digits: int = 1) -> str:
    """An interval of a share, or why there is none, as :func:`interval_words` says it."""
    if interval is None:
        return f"no interval: {why_not or 'not computed'}"
    return f"{100 * interval['low']:.{digits}f} to {percent(interval['high'], digits)}"


def held(n_subjects: int) -> str:
    """How often intervals over so few subjects hold the truth, in a sentence."""
    size = max((size for size in HELD if size <= n_subjects), default=min(HELD))
    shares = [round(100 * HELD[size][score]) for score in HEADLINE]
    told = f"{min(shares)} to {max(shares)}" if min(shares) < max(shares) else f"{shares[0]}"
    fewer = "; fewer children were not tried" if n_subjects < size else ""
    return (
        f"In simulated cohorts of {size} children, 95\u202f% intervals of these scores held the truth in {told}\u202f% "
        f"of the cohorts, those of the calibration error in {percent(HELD[size]['ece'], 0)}{fewer}. That was with a "
        "model right on seven clips of ten; nearer to all of them they hold it less often."
    )


def calibration_note(calibration: Metrics) -> str:
    """What stands beside the ECE: its bins, its interval, and whether the model is too sure on average."""
    said = f"{calibration['bins']} equal-width bins of the raw probabilities; 0 is best"
    within = calibration.get("intervals") or {}
    if interval := within.get("ece"):
        said += f"; 95\u202f%: {extent(interval, None)}"
    if (excess := calibration.get("overconfidence")) is not None:
        said += f". On average {'too sure' if excess > 0 else 'not sure enough'} by {abs(100 * excess):.1f} points"
        if interval := within.get("overconfidence"):
            said += f" (confidence less accuracy {100 * interval['low']:+.1f} to {100 * interval['high']:+.1f})"
    return said


def provenance_caveat(provenance: str) -> str:
    """The sentence that goes with every number of that provenance; empty for real faces."""
    return PROVENANCE_CAVEATS.get(provenance, "")


def subjects_are_people(metrics: Metrics, store: dict[str, Any]) -> bool:
    """Whether a subject is a person, rather than a group of near-identical pictures of a benchmark.

    The store's card knows (``shard_by``); without it, a subject of one or two clips is taken for such a group.
    """
    if store.get("shard_by") is not None:
        return bool(store["shard_by"] == "subject_id")
    sizes = sorted(row["n_clips"] for row in metrics["per_subject"].values())
    return bool(sizes) and sizes[len(sizes) // 2] > _PICTURES_PER_GROUP


def baselines(metrics: Metrics) -> tuple[str, float, float] | None:
    """The commonest class, its share of the judged clips, and the share a blind guess gets right."""
    support = {label: row["support"] for label, row in metrics["per_class"].items()}
    total = sum(support.values())
    if not total:
        return None
    commonest = max(support, key=lambda label: support[label])
    return commonest, support[commonest] / total, 1 / len(support)


def error_pattern(metrics: Metrics, label: str) -> str:
    """The most common error with clips of one class: ``most often taken for surprise (21 % of its clips)``."""
    names = metrics["labels"]
    row = metrics["confusion_matrix"][names.index(label)]
    support = sum(row)
    if not support:
        return "no test clip of this class"
    errors = {name: count for name, count in zip(names, row, strict=True) if name != label}
    most = max(errors.values())
    if not most:
        return "never taken for another class"
    taken_for = [name for name, count in errors.items() if count == most]
    share = percent(most / support, 0)
    if len(taken_for) > 2:
        return f"no one error prevails ({share} of its clips at most)"
    return (
        f"most often taken for {' or '.join(taken_for)} ({share} of its clips{' each' if len(taken_for) > 1 else ''})"
    )


def worst_classes(metrics: Metrics) -> list[str]:
    """The classes with the lowest recall, several where they tie; none when none has support."""
    recalls = {label: row["recall"] for label, row in metrics["per_class"].items() if row["recall"] is not None}
    lowest = min(recalls.values(), default=None)
    return [label for label, recall in recalls.items() if recall == lowest]


def listed(names: Sequence[str]) -> str:
    """``angry``, ``angry and fear``, ``angry, disgust and fear``; of more than three ``angry, disgust and 3 more``."""
    shown = list(names) if len(names) <= 3 else [*names[:2], f"{len(names) - 2} more"]
    return " and ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))


def worst_subject(metrics: Metrics) -> str | None:
    """The subject with the lowest accuracy; None when nobody was judged."""
    judged = {name: row["accuracy"] for name, row in metrics["per_subject"].items() if row["accuracy"] is not None}
    return min(judged, key=lambda name: judged[name]) if judged else None


def summary(metrics: Metrics, *, people: bool) -> list[str]:
    """A run in a few sentences.

    Args:
        people: whether a subject is a person (:func:`subjects_are_people`).
    """
    if metrics["accuracy"] is None:
        return [f"There is no accuracy: {metrics['reasons'].get('accuracy', 'not computed')}.", *_caveat(metrics)]
    return [
        *_headline(metrics, people=people),
        *_coverage(metrics),
        *_worst(metrics, people=people),
        *_caveat(metrics),
    ]


def _headline(metrics: Metrics, *, people: bool) -> list[str]:
    n_judged = metrics["n_clips"] - metrics["n_missing"]
    of = f" of {counted(metrics['n_subjects'], 'subject')}" if people else ""
    interval = metrics["intervals"]["accuracy"]
    extent = (
        f"95\u202f% interval {interval_words(metrics, 'accuracy')}" if interval else interval_words(metrics, "accuracy")
    )
    sentences = [
        f"The model is right on {percent(metrics['accuracy'])} of {counted(n_judged, 'test clip')}{of} ({extent})."
    ]
    compared = baselines(metrics)
    if compared is None:
        return sentences
    commonest, majority, chance = compared
    sentences.append(
        f"Always answering “{commonest}”, the commonest class, would be right on {percent(majority)}; "
        f"a blind guess on {percent(chance)}."
    )
    if metrics["accuracy"] <= majority:
        sentences.append("So this model is no better than a constant answer.")
    elif interval and interval["low"] <= majority:
        sentences.append(
            "The interval reaches down to that constant answer: it is not shown that the model does better."
        )
    return sentences


def _coverage(metrics: Metrics) -> list[str]:
    sentences = []
    if metrics["n_missing"]:
        sentences.append(
            f"In {metrics['n_missing']:,} of {metrics['n_clips']:,} clips no face was found; with these as errors "
            f"the accuracy is {percent(metrics['accuracy_with_missing'])}."
        )
    if metrics["n_unlabelled"]:
        sentences.append(f"{metrics['n_unlabelled']:,} test clips have no label and are not judged.")
    return sentences


def _worst(metrics: Metrics, *, people: bool) -> list[str]:
    sentences = []
    if hardest := worst_classes(metrics):
        recognised = percent(metrics["per_class"][hardest[0]]["recall"], 0)
        sentences.append(
            f"Hardest are {listed(hardest)}: {recognised} of their clips are recognised."
            if len(hardest) > 1
            else f"Hardest is {hardest[0]}: {recognised} of its clips are recognised, "
            f"{error_pattern(metrics, hardest[0])}."
        )
    subject = worst_subject(metrics) if people and metrics["n_subjects"] > 1 else None
    if subject is not None:
        row = metrics["per_subject"][subject]
        n_judged = row["n_clips"] - row["n_missing"]
        sentences.append(
            f"It serves subject {subject} worst: {percent(row['accuracy'], 0)} of {counted(n_judged, 'clip')}."
        )
    return sentences


def _caveat(metrics: Metrics) -> list[str]:
    caveat = provenance_caveat(metrics["provenance"])
    return [caveat] if caveat else []
