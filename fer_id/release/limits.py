"""Limits of a model's use in sentences, for the end of its card and the file LIMITS of a bundle."""

from __future__ import annotations

from collections.abc import Sequence

from fer_id.release.bundle import DEMONSTRATION, Unfit
from fer_id.release.evidence import Record
from fer_id.release.policy import Policy
from fer_id.reporting.words import MODE_CAVEATS, counted, percent, provenance_caveat

ASSISTS = (
    "It assists a person who knows the child and decides. It does not diagnose, and an expression is not a feeling."
)
LAW = (
    "In the European Union, inferring emotions in workplaces and education is forbidden except for medical or safety "
    "reasons (AI Act, Art. 5(1)(f)); elsewhere it is a high-risk use (Annex III, 1(c)), and whoever is looked at must "
    "be told (Art. 50(3))."
)


def title(name: str, provenance: object, policy: Policy | None) -> str:
    """Return the model's name, marked as a demonstration or by a provenance other than real."""
    words = []
    if policy is not None and policy.kind == DEMONSTRATION:
        words.append("DEMONSTRATION")
    if provenance != "real":
        words.append(f"{provenance} data".upper())
    return f"{name} ({', '.join(words)})" if words else name


def limits(run: Record, *, evidence: Record | None, pretrained_elsewhere: bool) -> list[str]:
    """Return the limits of a run's model, one sentence or two per line; the numbers are those of ``evidence`` where
    given."""
    judged = evidence or run
    metrics, lines = judged.metrics, [ASSISTS]
    if caveat := provenance_caveat(metrics.provenance):
        lines.append(caveat)
    if seen := MODE_CAVEATS.get(judged.job.mode):
        lines.append(seen)
    if labels := metrics.labels:
        lines.append(f"It knows {', '.join(labels)} and nothing else: whatever a face shows, one of these comes out.")
    who = "groups of pictures" if judged.job.store.of_images else "subjects"
    lines.append(
        f"It was judged on {counted(metrics.n_clips, 'clip')} of {metrics.n_subjects} {who}. "
        "Intervals resample these and hold the fitted models fixed; another site or camera may differ by more."
    )
    if evidence is not None:
        lines.append(
            f"Its numbers are those of {counted(len(evidence.folds), 'model')} trained alike, each judged on whom it "
            "had not seen. These very weights learned from all of them and were judged on nobody new."
        )
    if (coverage := metrics.coverage) is not None:
        lines.append(f"Without a face in view it gives no answer; it gave one for {percent(coverage)} of the clips.")
    if run.metrics.answers_nothing:
        lines.append(
            "No threshold on inner validation kept the risk that was asked: it answers nothing by itself, and every "
            "clip goes to a person, with its probabilities."
        )
    if pretrained_elsewhere:
        lines.append(
            "It started from other data (see there); public benchmarks show mostly neurotypical adults, and what they "
            "taught it may not hold for these children."
        )
    if run.config.get("trainer", {}).get("precision") == "bf16":
        lines.append("It was judged in bfloat16; a bundle computes in float32, so single answers may differ.")
    return [*lines, LAW]


def limits_file(name: str, policy: Policy, provenance: object, unfit: Sequence[Unfit], sentences: Sequence[str]) -> str:
    """Return the text of the file LIMITS."""
    nobody = "no group is known that it fails; groups that the card does not name were not judged"
    named = [f"  - {group}" for group in unfit or (nobody,)]
    return "\n".join(
        [
            title(name, provenance, policy),
            "",
            f"Setting: {policy.setting}. {policy.legal_basis.strip()}",
            *([f"Exception: {policy.exception} ({policy.exception_record})"] if policy.exception != "none" else []),
            "",
            "Never for:",
            *(f"  - {use}" for use in policy.forbidden_uses),
            "",
            "Not for use with:",
            *named,
            "  - pairs of groups that the card does not show: nothing is known of them",
            "",
            *(f"* {sentence}" for sentence in sentences),
            "",
        ]
    )
