"""Release gate: every reason to refuse a model, from the records of its runs and a policy (a pure function).

A cross-validation as evidence judges a training *procedure*; a run with a test set of its own judges these very
weights. A missing measurement is a reason to refuse, and so is insufficient evidence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fer_id.evaluation.config import MIN_SUBJECTS
from fer_id.evaluation.groups.gaps import TOO_LITTLE
from fer_id.evaluation.groups.grouping import NOT_ASKED
from fer_id.release.bundle import DEMONSTRATION, Unfit
from fer_id.release.evidence import Record, disclosed_subgroups
from fer_id.release.policy import CHECKS, PRETRAINED, RESTRICTED, Policy
from fer_id.runs.configs import FREE_KEYS, differences
from fer_id.runs.metrics import Gap, GroupScores, Metrics

MAY_DIFFER = (
    *FREE_KEYS,
    *("name", "data.store"),
    *("protocol.name", "protocol.group", "protocol.folds", "protocol.test_fraction", "protocol.validation_fraction"),
    *("protocol.only", "protocol.cross_fit", "trainer.precision", "trainer.memory_format", "trainer.accelerator"),
)
"""Prefixes of settings in which a run may differ from the cross-validation that is its evidence; the stores are
compared by their fingerprints."""

LEAST_LEARNED = 0.75
"""Share of the evidence's test subjects that a run must have learned from: with fewer subjects its model is weaker."""

PAIR = " x "


class Verdict(NamedTuple):
    """Decision of the release gate: all reasons to refuse (empty: the model may be released), and the groups with which
    the released model must not be used."""

    reasons: list[str]
    unfit: tuple[Unfit, ...]


def judge_release(run: Record, policy: Policy, evidence: Record | None = None, refusals: Sequence[str] = ()) -> Verdict:
    """Judge a run, with the weights to release, by a policy.

    ``evidence`` is the cross-validation whose numbers count, for a run that was trained for use and has too few test
    subjects of its own; without it the run's own numbers count. ``refusals`` are reasons from the caller, such as a
    store whose consent ended.
    """
    judged = evidence or run
    reasons = [
        *refusals,
        *_of_the_run(run, evidence, policy),
        *(_of_the_evidence(run, evidence) if evidence else ()),
        *_of_its_answers(run, policy),
        *_of_the_setting(policy, judged.metrics.provenance),
        *_of_the_numbers(judged, policy),
        *group_reasons(judged.metrics, policy),
        *gap_reasons(judged.metrics, policy),
        *_of_the_maps(judged, policy),
    ]
    return Verdict(list(dict.fromkeys(reasons)), unfit_groups(judged.metrics, policy))


def _of_the_run(run: Record, evidence: Record | None, policy: Policy) -> Iterator[str]:
    """Yield reasons to refuse a run that is not one finished model, tested the way it will be used."""
    for record in filter(None, (run, evidence)):
        if (mode := record.job.mode) != "inductive":
            yield (
                f"{record.path} was judged {mode}: something of the tested children was seen before, which nobody will "
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
    if not run.job.clips.get("validation"):
        yield f"{run.path} has no inner validation: nothing chose its epoch, temperature and threshold of review"
    views = (run.config.get("trainer") or {}).get("test_views", "one")
    if policy.kind == PRETRAINED:  # leaves as a run, which computes its views itself
        yield from _of_the_weights(run, evidence)
    elif views != "one":
        yield (
            f"{run.path} was judged by the mean of several views of each clip (trainer.test_views={views}), which a "
            "bundle does not compute; train it with trainer.test_views=one"
        )


def _of_the_weights(run: Record, evidence: Record | None) -> Iterator[str]:
    """Yield reasons why a run cannot leave as weights to start from."""
    if evidence is not None:
        yield f"weights to start from (kind: {PRETRAINED}) are judged by their own test pictures; leave evidence= out"
    if run.job.parents:
        yield (
            f"{run.path} started from another run ({', '.join(run.job.parents)}), which does not travel along, so that "
            "nobody could check what it learned from: train it from new weights"
        )
    if (run.config.get("model") or {}).get("weights"):
        yield (
            f"{run.path} started from a file of weights (model.weights), and nothing says what that had learned from, "
            "or on which terms it may be passed on: train it from new weights"
        )


def _of_the_evidence(run: Record, evidence: Record) -> Iterator[str]:
    """Yield reasons why a cross-validation is no evidence for this run."""
    if not evidence.done:
        yield f"{evidence.path} is not finished (no DONE); the same fer-id train command resumes it"
    if not evidence.folds:
        yield f"{evidence.path} is a single training, of other weights; evidence is a cross-validation (protocol=loso)"
    stores = [record.job.store.fingerprint for record in (run, evidence)]
    if None in stores or stores[0] != stores[1]:
        yield f"{evidence.path} is of another store than {run.path}, or the store was made again between the two"
    changed = differences(evidence.config, run.config)
    if other := sorted(key for key in changed if not key.startswith(MAY_DIFFER)):
        yield f"{evidence.path} was trained with other settings than {run.path}: {', '.join(other[:8])}"
    learned, everybody = len(run.job.learned_from & evidence.job.tested), len(evidence.job.tested)
    if learned < LEAST_LEARNED * everybody:
        yield (
            f"{run.path} learned from {learned} of the {everybody} subjects that {evidence.path} judged, so it is a "
            "weaker model; train it on more of them (protocol.test_fraction=0.05)"
        )
    if strange := run.job.learned_from - run.job.subjects_of("source") - evidence.job.tested:
        yield (
            f"{evidence.path} never judged {len(strange)} of the subjects that {run.path} learned from; run all folds "
            '("protocol.only=[]")'
        )


def _of_its_answers(run: Record, policy: Policy) -> Iterator[str]:
    """Yield reasons where a single training lacks a temperature or a threshold of review for the policy's risk."""
    if run.folds:
        return
    if run.metrics.temperature is None:
        yield _not_measured("its temperature", run, run.metrics.reason("calibration.temperatures"))
    review = run.metrics.review
    if review is None or not review.thresholds:
        yield _not_measured("its threshold of review", run, run.metrics.reason("review"))
    elif review.risk > policy.max_risk:
        yield (
            f"its threshold of review was chosen for a risk of {review.risk}, expected {policy.max_risk} at most; "
            f"run fer-id evaluate {run.path} risk={policy.max_risk}"
        )


def _of_the_setting(policy: Policy, provenance: object) -> Iterator[str]:
    """Yield reasons where the law or the provenance of the test data rules out the policy's setting or kind."""
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
    """Yield reasons where subjects, accuracy or calibration miss their bounds."""
    metrics = judged.metrics
    of_images, pretrained = judged.job.store.of_images, policy.kind == PRETRAINED
    if of_images and not pretrained:
        yield (
            "it was judged on images of a benchmark, not on children; judge it on a cohort, child by child, or let it "
            f"leave as weights to start from (kind: {PRETRAINED}, as in policy=fer2013)"
        )
    elif pretrained and not of_images:
        yield f"it was judged on clips of people, and kind: {PRETRAINED} is for pictures of a benchmark; choose another"
    elif metrics.n_subjects < policy.min_subjects:
        who = "groups of pictures" if of_images else "subjects"
        yield f"judged on {metrics.n_subjects} {who}, expected {policy.min_subjects} at least"
    interval = metrics.interval("accuracy")
    if interval is None:
        yield _not_measured("the interval of its accuracy", judged, metrics.reason("intervals.accuracy"))
    elif interval.low < policy.min_accuracy:
        yield f"accuracy may be as low as {interval.low:.3f}, expected {policy.min_accuracy} at least"
    calibrated = metrics.calibration.calibrated
    if calibrated is None:
        yield _not_measured("its calibration (ECE after a temperature)", judged, "")
    elif calibrated.ece > policy.max_ece:
        yield f"calibrated ECE {calibrated.ece:.3f}, expected {policy.max_ece} at most"


def _of_the_maps(judged: Record, policy: Policy) -> Iterator[str]:
    """Yield reasons where off-face attribution exceeds its bound, or a check of the attribution maps failed."""
    explanation, again = judged.explanation, f"run fer-id explain {judged.path}"
    if explanation is None:
        yield f"where it looks was not measured; {again}"
        return
    leakage = explanation.leakage
    if leakage.high is None:
        yield f"leakage: no interval ({leakage.reason or 'not measured'}); {again}"
    elif leakage.high > policy.max_leakage:
        yield f"leakage may be as high as {leakage.high:.3f}, expected {policy.max_leakage} at most"
    for name in policy.required_checks:
        if (check := explanation.checks.get(CHECKS[name])) is None:
            yield f"check {name}: not made; {again}"
        elif check.passed is None:
            yield f"check {name}: undecided, insufficient evidence; {again} checks=<more clips>"
    for failed in explanation.failed:
        yield f"check {failed}: failed, so the maps cannot be believed"


def _not_measured(what: str, run: Record, reason: str) -> str:
    return f"{what}: {reason or f'not measured; run fer-id evaluate {run.path}'}"


def unfit_groups(metrics: Metrics, policy: Policy) -> tuple[Unfit, ...]:
    """Return the groups whose accuracy may be below ``min_accuracy``, or whose evidence is insufficient.

    Pairs of groups with too few children are left out here; the file LIMITS mentions them once. The result is public:
    numbers stand only where the public view shows the group, and never its number of children.
    """
    unfit, public = [], disclosed_subgroups(metrics).get("columns", {})
    for column, content in metrics.columns.items():
        for group, scores in content.groups.items():
            low = _low(metrics, scores)
            if low is None and PAIR not in column:
                unfit.append(Unfit(column, group, f"{TOO_LITTLE}, too few children were judged"))
            elif low is not None and low < policy.min_accuracy:
                disclosed = group in public.get(column, {}).get("groups", {})
                value = f"as low as {low:.2f}" if disclosed else "lower"
                unfit.append(Unfit(column, group, f"its accuracy may be {value}; {policy.min_accuracy} is asked for"))
    return tuple(unfit)


def group_reasons(metrics: Metrics, policy: Policy) -> Iterator[str]:
    """Yield reasons to refuse: groups not measured, no fit group, or a group below ``min_worst_group_accuracy``."""
    if metrics.subgroups is None and policy.kind == PRETRAINED and not policy.groups:
        return  # most benchmarks name no groups
    if metrics.subgroups is None:
        yield f"subgroups: {metrics.reason('subgroups') or 'not measured; run fer-id evaluate'}"
        return
    unfit, columns, left_out = unfit_groups(metrics, policy), metrics.columns, metrics.subgroups.left_out
    for name in policy.groups:
        named = {entry.group for entry in unfit if entry.column == name}
        if name not in columns:
            yield f"groups of {name}: {left_out.get(name) or 'not measured'}"
        elif all(_low(metrics, scores) is None for scores in columns[name].groups.values()):
            yield f"groups of {name}: {TOO_LITTLE}, in no group were enough children judged"
        elif named >= set(columns[name].groups):
            yield f"groups of {name}: it is fit for none of them"
    if hidden := [name for name, why in left_out.items() if why == NOT_ASKED and name not in policy.groups]:
        yield f"groups of {', '.join(hidden)}: {NOT_ASKED}; run fer-id evaluate again without groups="
    for column, content in columns.items():
        for group, scores in content.groups.items():
            low = _low(metrics, scores)
            if low is not None and low < policy.min_worst_group_accuracy:
                floor = policy.min_worst_group_accuracy
                yield f"{column} {group}: its accuracy may be as low as {low:.3f}, expected {floor} of any group"


def gap_reasons(metrics: Metrics, policy: Policy) -> Iterator[str]:
    """Yield gaps in accuracy above the bound, significant or not: the burden of proof is the model's."""
    for column, content in metrics.columns.items():
        gap = content.gaps.get("accuracy") or Gap(verdict=TOO_LITTLE)
        if gap.gap is not None and gap.gap > policy.max_gap:
            yield (
                f"{column}: accuracy differs by {gap.gap:.3f} between {gap.worst} and {gap.best} "
                f"({gap.verdict}), expected {policy.max_gap} at most"
            )
        elif column in policy.groups and (gap.gap is None or gap.verdict == TOO_LITTLE):
            yield f"groups of {column}: nothing is shown of the gap between them ({gap.reason or TOO_LITTLE})"


def _low(metrics: Metrics, group: GroupScores) -> float | None:
    """Return the lower end of the interval of a group's accuracy; None with fewer subjects than the minimum."""
    least = max(MIN_SUBJECTS, metrics.subgroups.min_subjects if metrics.subgroups else 0)
    interval = group.intervals.get("accuracy")
    return interval.low if interval and group.n_subjects >= least else None
