"""Sentences on uncertainty: clips flagged for review, prediction sets, aleatoric and epistemic uncertainty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from fer_id.reporting.words import counted, listed, percent
from fer_id.runs.metrics import Conformal, Metrics, Review, Uncertainty


def sentences(metrics: Metrics, *, people: bool) -> list[str]:
    """Return all sentences; empty for the metrics of an older version.

    Args:
        people: True where a subject is a person.
    """
    lines: list[str] = []
    if metrics.review:
        lines += _review(metrics.review, metrics.reasons)
    if metrics.conformal:
        lines += _conformal(metrics.conformal, metrics.reasons, people=people)
    if metrics.uncertainty:
        lines += uncertainty_sentences(metrics.uncertainty)
    return lines


def _review(review: Review, reasons: Mapping[str, str]) -> list[str]:
    limit = percent(review.risk, 0)
    lines = []
    if review.flagged is not None:
        first = (
            "A clip goes to a person where the model is less sure than a threshold, chosen without the test clips so "
            f"that at most {limit} of the answers are wrong (95\u202f% bound over subjects): "
            f"{percent(review.flagged)} of the test clips are flagged"
        )
        if review.risk_answered is None:
            lines.append(f"{first}.")
        else:
            within = review.interval
            extent = f" (95\u202f% interval {percent(within.low)} to {percent(within.high)})" if within else ""
            wrong = f"of the {percent(review.coverage)} that it answers {percent(review.risk_answered)} are wrong"
            missed = ", more than was asked for" if review.risk_answered > review.risk else ""
            lines.append(f"{first}, and {wrong}{extent}{missed}.")
    prefix = "review.thresholds."
    why = Counter(reason for key, reason in reasons.items() if key.startswith(prefix))
    for reason, folds in why.items():
        of = f" in {counted(folds, 'fold')}" if len(review.thresholds) > 1 else ""
        lines.append(f"Everything is flagged{of}: {reason}.")
    return lines


def _conformal(sets: Conformal, reasons: Mapping[str, str], *, people: bool) -> list[str]:
    unit = "children" if people else "subjects"
    level = percent(sets.level, 0)
    if sets.coverage is None:
        why = reasons.get("conformal.coverage", "not computed")
        return [f"Prediction sets that hold the true class in {level} of the cases: {sets.verdict} ({why})."]
    within = sets.interval
    extent = f" (95\u202f% interval {percent(within.low)} to {percent(within.high)})" if within else ""
    none = f", {percent(sets.empty)} none, as nothing like that was seen" if sets.empty else ""
    lines = [
        f"Prediction sets made to hold the true class in {level} of the cases, for new {unit}, hold it in "
        f"{percent(sets.coverage)}{extent} and name {sets.mean_size:.1f} classes in the mean; "
        f"{percent(sets.singletons)} name one{none}."
    ]
    known = {name: row.coverage for name, row in (sets.per_class or {}).items() if row.coverage is not None}
    if low := [name for name, value in known.items() if value < sets.level - 0.1]:
        named = listed([f"{name} ({percent(known[name], 0)})" for name in low])
        lines.append(f"They hold it less often for {named}: the promise is about all clips, not about each class.")
    return lines


def uncertainty_sentences(scores: Uncertainty) -> list[str]:
    """Return a sentence on ``uncertainty`` of ``metrics.json``, or on the scores before they are written there."""
    auroc = scores.auroc_error
    known = {name: value for name, value in auroc.items() if value is not None}
    within = {name: interval for name, interval in scores.intervals.items() if interval is not None}
    limits = {name: f" ({interval.low:.2f} to {interval.high:.2f})" for name, interval in within.items()}
    aurocs = ", ".join(f"{name} {value:.2f}{limits.get(name, '')}" for name, value in known.items())
    errors = f" How well each tells wrong answers from right ones (AUROC, 0.5 is chance): {aurocs}." if aurocs else ""
    return [
        f"Two kinds of doubt ({scores.method}, {scores.members} members): ambiguous, on average "
        f"{scores.aleatoric:.2f} nats, and unlike anything seen, {scores.epistemic:.2f} nats.{errors}"
    ]
