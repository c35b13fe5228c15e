"""May this model leave? Pure: what runs say of themselves and a policy go in, every reason to refuse comes out.

What is judged is a *procedure* where a cross-validation is the evidence, and the very weights where a run has a test
set of its own. What was not measured is a reason to refuse, and so is evidence too small to tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fer_id.release.bundle import DEMONSTRATION, Unfit
from fer_id.release.evidence import Record, only, reason_of
from fer_id.release.group_rules import gap_reasons, group_reasons, unfit_groups
from fer_id.release.policy import CHECKS, RESTRICTED, Policy
from fer_id.runs.configs import FREE_KEYS, differences

MAY_DIFFER = (
    *FREE_KEYS,
    *("name", "data.store"),
    *(
        f"protocol.{key}"
        for key in ("name", "group", "folds", "test_fraction", "validation_fraction", "only", "cross_fit")
    ),
    *("trainer.precision", "trainer.memory_format", "trainer.accelerator"),
)
"""Settings, or beginnings of them, in which a run may differ from the cross-validation that is its evidence; which
store it is, its fingerprint tells."""


LEAST_LEARNED = 0.75
"""Share of those whom the evidence judged that a run must have learned from: with fewer it is a weaker model."""


class Verdict(NamedTuple):
    """What the gate says.

    Attributes:
        reasons: why the model must not leave, all of them; empty: it may.
        unfit: groups with which it must not be used where it leaves.
    """

    reasons: list[str]
    unfit: tuple[Unfit, ...]


def judge_release(run: Record, policy: Policy, evidence: Record | None = None, found: Sequence[str] = ()) -> Verdict:
    """Judges a run by a policy.

    Args:
        run: whose weights would leave.
        policy: the bounds.
        evidence: the cross-validation whose numbers count, where the run was trained for use and has judged too few
            children itself; None: the run's own numbers count.
        found: reasons that others found, such as a store whose consent ended.
    """
    judged = evidence or run
    reasons = [
        *found,
        *_of_the_run(run, evidence),
        *(_of_the_evidence(run, evidence) if evidence else ()),
        *_of_its_answers(run, policy),
        *_of_the_setting(policy, judged.metrics.get("provenance")),
        *_of_the_numbers(judged, policy),
        *group_reasons(judged.metrics, policy),
        *gap_reasons(judged.metrics, policy),
        *_of_the_maps(judged, policy),
    ]
    return Verdict(list(dict.fromkeys(reasons)), unfit_groups(judged.metrics, policy))


def _of_the_run(run: Record, evidence: Record | None) -> Iterator[str]:
    """Whether there is one model, judged as it will be used."""
    for one in (run, *([evidence] if evidence else ())):
        if (mode := one.job.get("mode") or "inductive") != "inductive":
            yield (
                f"{one.path} was judged {mode}: something of the tested children was seen before, which nobody will "
                "have seen of the next child; judge it with protocol.mode=inductive"
            )
    if not run.done:
        yield f"{run.path} is not finished (no DONE); the same fer-id train command resumes it"
    if run.folds:
        yield (
            f"{run.path} is a cross-validation: {len(run.folds)} models, and none of them is the one to release. Name "
            "a single training of the same settings, and this one as what it can do: fer-id release RUN "
            f"evidence={evidence.path if evidence else run.path}, where RUN is a training with protocol=holdout, or "
            f"one of its own, such as {run.folds[0]}"
        )
    if not (run.job.get("clips") or {}).get("validation"):
        yield f"{run.path} has no inner validation: nothing chose its epoch, temperature and threshold of review"
    if (views := (run.config.get("trainer") or {}).get("test_views", "one")) != "one":
        yield (
            f"{run.path} was judged by the mean of several views of each clip (trainer.test_views={views}), which a "
            "bundle does not compute; train it with trainer.test_views=one"
        )


def _of_the_evidence(run: Record, evidence: Record) -> Iterator[str]:
    """Whether a cross-validation speaks of this run."""
    if not evidence.done:
        yield f"{evidence.path} is not finished (no DONE); the same fer-id train command resumes it"
    if not evidence.folds:
        yield f"{evidence.path} is a single training, of other weights; evidence is a cross-validation (protocol=loso)"
    stores = [one.store.get("fingerprint") for one in (run, evidence)]
    if None in stores or stores[0] != stores[1]:
        yield f"{evidence.path} is of another store than {run.path}, or the store was made again between the two"
    changed = differences(evidence.config, run.config)
    if other := sorted(key for key in changed if not key.startswith(MAY_DIFFER)):
        yield f"{evidence.path} was trained with other settings than {run.path}: {', '.join(other[:8])}"
    learned, everybody = len(run.learned_from() & evidence.tested()), len(evidence.tested())
    if learned < LEAST_LEARNED * everybody:
        yield (
            f"{run.path} learned from {learned} of the {everybody} subjects that {evidence.path} judged, so it is a "
            "weaker model; train it on more of them (protocol.test_fraction=0.05)"
        )
    if strange := (run.learned_from() - set(run.job.get("subjects", {}).get("source") or ())) - evidence.tested():
        yield (
            f"{evidence.path} never judged {len(strange)} of the subjects that {run.path} learned from; run all folds "
            "(protocol.only=[])"
        )


def _of_its_answers(run: Record, policy: Policy) -> Iterator[str]:
    """Whether the weights that leave have a temperature and a threshold of review; of many models nobody asks."""
    if run.folds:
        return
    if only(run.metrics, "calibration", "temperatures") is None:
        yield not_measured("its temperature", run, reason_of(run.metrics, "calibration.temperatures"))
    review = run.metrics.get("review") or {}
    if not review.get("thresholds"):
        yield not_measured("its threshold of review", run, reason_of(run.metrics, "review"))
    elif review["risk"] > policy.max_risk:
        yield (
            f"its threshold of review was chosen for a risk of {review['risk']}, expected {policy.max_risk} at most; "
            f"run fer-id evaluate {run.path} risk={policy.max_risk}"
        )


def _of_the_setting(policy: Policy, provenance: object) -> Iterator[str]:
    """Where the model would go, and whether what it was judged on allows that."""
    if policy.setting in RESTRICTED and (policy.exception == "none" or not policy.exception_record.strip()):
        yield (
            f"setting {policy.setting}: inferring emotions is forbidden there except for medical or safety reasons "
            "(AI Act, Art. 5(1)(f)); the policy records none (exception, exception_record)"
        )
    demonstration = policy.kind == DEMONSTRATION
    if provenance != "real" and not demonstration:
        yield (
            f"provenance {provenance}: it was never judged on real children, so it leaves as a demonstration or not "
            "at all (kind: demonstration, as in policy=demonstration)"
        )
    if provenance == "real" and demonstration:
        yield "provenance real: a demonstration is of drawn or simulated children; choose a policy of kind: release"


def _of_the_numbers(judged: Record, policy: Policy) -> Iterator[str]:
    """Subjects, accuracy and calibration."""
    metrics = judged.metrics
    if judged.store.get("shard_by") == "split":
        yield "it was judged on images of a benchmark, not on children; judge it on a cohort, child by child"
    elif (subjects := metrics.get("n_subjects") or 0) < policy.min_subjects:
        yield f"judged on {subjects} subjects, expected {policy.min_subjects} at least"
    interval = (metrics.get("intervals") or {}).get("accuracy")
    if interval is None or interval["low"] is None:
        yield not_measured("the interval of its accuracy", judged, reason_of(metrics, "intervals.accuracy"))
    elif interval["low"] < policy.min_accuracy:
        yield f"accuracy may be as low as {interval['low']:.3f}, expected {policy.min_accuracy} at least"
    ece = ((metrics.get("calibration") or {}).get("calibrated") or {}).get("ece")
    if ece is None:
        yield not_measured("its calibration (ECE after a temperature)", judged, "")
    elif ece > policy.max_ece:
        yield f"calibrated ECE {ece:.3f}, expected {policy.max_ece} at most"


def _of_the_maps(judged: Record, policy: Policy) -> Iterator[str]:
    """Where it looks, and whether the maps that say so can be believed."""
    said, again = judged.explanation, f"run fer-id explain {judged.path}"
    if said is None:
        yield f"where it looks was not measured; {again}"
        return
    leakage = (said.get("leakage") or {}).get("high")
    if leakage is None:
        yield f"leakage: no interval ({(said.get('leakage') or {}).get('reason') or 'not measured'}); {again}"
    elif leakage > policy.max_leakage:
        yield f"leakage may be as high as {leakage:.3f}, expected {policy.max_leakage} at most"
    checks = said.get("checks") or {}
    for name in policy.required_checks:
        passed = (checks.get(CHECKS[name]) or {}).get("passed")
        if CHECKS[name] not in checks:
            yield f"check {name}: not made; {again}"
        elif passed is None:
            yield f"check {name}: undecided, insufficient evidence; {again} checks=<more clips>"
    for failed in said.get("failed") or ():
        yield f"check {failed}: failed, so the maps cannot be believed"


def not_measured(what: str, run: Record, reason: str) -> str:
    """A line for what is absent."""
    return f"{what}: {reason}" if reason else f"{what}: not measured; run fer-id evaluate {run.path}"
