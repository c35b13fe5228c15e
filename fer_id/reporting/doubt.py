"""What a run does where it is not sure, in sentences: who goes to a person, prediction sets, kinds of doubt."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fer_id.reporting.words import Metrics, counted, listed, percent


def sentences(metrics: Metrics, *, people: bool) -> list[str]:
    """Everything there is to say; empty for the metrics of an older version.

    Args:
        people: whether a subject is a person.
    """
    said: list[str] = []
    if "review" in metrics:
        said += _review(metrics)
    if "conformal" in metrics:
        said += _conformal(metrics, people=people)
    if metrics.get("uncertainty"):
        said += uncertainty_sentences(metrics["uncertainty"])
    return said


def _review(metrics: Metrics) -> list[str]:
    review, reasons = metrics["review"], metrics["reasons"]
    asked = percent(review["risk"], 0)
    said = []
    if review["flagged"] is not None:
        first = (
            "A clip goes to a person where the model is less sure than a threshold, chosen without the test clips so "
            f"that at most {asked} of the answers are wrong (95\u202f% bound over subjects): "
            f"{percent(review['flagged'])} of the test clips are flagged"
        )
        if review["risk_answered"] is None:
            said.append(f"{first}.")
        else:
            within = review["interval"]
            extent = f" (95\u202f% interval {percent(within['low'])} to {percent(within['high'])})" if within else ""
            wrong = f"of the {percent(review['coverage'])} that it answers {percent(review['risk_answered'])} are wrong"
            missed = ", more than was asked for" if review["risk_answered"] > review["risk"] else ""
            said.append(f"{first}, and {wrong}{extent}{missed}.")
    prefix = "review.thresholds."
    why = Counter(reason for key, reason in reasons.items() if key.startswith(prefix))
    for reason, folds in why.items():
        of = f" in {counted(folds, 'fold')}" if len(review["thresholds"]) > 1 else ""
        said.append(f"Everything is flagged{of}: {reason}.")
    return said


def _conformal(metrics: Metrics, *, people: bool) -> list[str]:
    found, unit = metrics["conformal"], "children" if people else "subjects"
    level = percent(found["level"], 0)
    if found["coverage"] is None:
        why = metrics["reasons"].get("conformal.coverage", "not computed")
        return [f"Prediction sets that hold the true class in {level} of the cases: {found['verdict']} ({why})."]
    within = found["interval"]
    extent = f" (95\u202f% interval {percent(within['low'])} to {percent(within['high'])})" if within else ""
    none = f", {percent(found['empty'])} none, as nothing like that was seen" if found["empty"] else ""
    said = [
        f"Prediction sets made to hold the true class in {level} of the cases, for new {unit}, hold it in "
        f"{percent(found['coverage'])}{extent} and name {found['mean_size']:.1f} classes in the mean; "
        f"{percent(found['singletons'])} name one{none}."
    ]
    known = {name: row["coverage"] for name, row in found["per_class"].items() if row["coverage"] is not None}
    if low := [name for name, value in known.items() if value < found["level"] - 0.1]:
        named = listed([f"{name} ({percent(known[name], 0)})" for name in low])
        said.append(f"They hold it less often for {named}: the promise is about all clips, not about each class.")
    return said


def uncertainty_sentences(found: dict[str, Any]) -> list[str]:
    """Of ``uncertainty`` in ``metrics.json``, or of what is to become it."""
    auroc = found["auroc_error"]
    known = {name: value for name, value in auroc.items() if value is not None}
    within = {name: one for name, one in found["intervals"].items() if one is not None}
    limits = {name: f" ({one['low']:.2f} to {one['high']:.2f})" for name, one in within.items()}
    told = ", ".join(f"{name} {value:.2f}{limits.get(name, '')}" for name, value in known.items())
    errors = f" How well each tells wrong answers from right ones (AUROC, 0.5 is chance): {told}." if told else ""
    return [
        f"Two kinds of doubt ({found['method']}, {found['members']} members): ambiguous, on average "
        f"{found['aleatoric']:.2f} nats, and unlike anything seen, {found['epistemic']:.2f} nats.{errors}"
    ]
