"""``fer-id release RUN``: release of a run's model as a signed bundle, or a refusal with every reason.

Under a policy of kind ``pretrained`` a benchmark's run leaves as weights to start from, a RunDir without pictures.
``fer-id release verify BUNDLE`` verifies a bundle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from experiments.settings.loading import GROUPS, group_names
from fer_id.errors import ConfigError, FerIdError, RunError
from fer_id.extras import require_extra
from fer_id.runs.run_dir import RunDir
from fer_id.runs.shipped import located
from fer_id.settings import Clash, setting

if TYPE_CHECKING:
    from data_modules.base import FerDataModule
    from fer_id.consent.audit_log import AuditLog
    from fer_id.release.evidence import Record
    from fer_id.release.gate import Verdict
    from fer_id.release.policy import Policy

VERIFY = "verify"


class ReleaseRefused(FerIdError):
    """The gate refused a run; the message has every reason."""

    whole = True


@dataclass
class ReleaseConfig:
    """Configuration of a release, or of the verification of a bundle."""

    run: str = setting(
        "",
        required=True,
        help="folder of a finished single training (fer-id train or adapt, protocol=holdout "
        "protocol.test_fraction=0.05); or the word verify, and a bundle behind it",
    )
    bundle: str = setting("", help="of verify: the folder of the bundle")
    policy: str = setting(
        "research",
        help="what it must show, and where it may go: one of " + ", ".join(group_names("policy")) + "; or the path of "
        "your own .yaml, a copy of a shipped one with your bounds and your legal_basis",
    )
    evidence: str | None = setting(
        None,
        help="the cross-validation (protocol=loso) whose numbers count, of the same settings and store, where RUN was "
        "trained for use; it must have judged everybody RUN learned from",
    )
    out: str | None = setting(
        None, help="folder of the bundle, or of weights to start from; null: bundles/ and the run's name"
    )
    trusted_key: str | None = setting(None, help="of verify: fingerprint of the releaser's key, as they told it")

    def clashes(self) -> Iterator[Clash]:
        """Yield the clashes of keys of the other action."""
        if self.run == VERIFY and not self.bundle:
            yield Clash(("bundle",), "is empty; say fer-id release verify BUNDLE")
        if self.run != VERIFY and self.bundle:
            yield Clash(("bundle",), "is of verify only; a release takes one run, and out=FOLDER")
        if self.run != VERIFY and self.trusted_key:
            yield Clash(("trusted_key",), "is of verify only; a release is signed by your own key")


def release(config: ReleaseConfig) -> str:
    """Release a run, as a bundle or as weights to start from, or verify a bundle; return the result as text.

    Raises:
        ReleaseRefused: has every reason; nothing was written but a line in the audit log.
        PolicyError, RunError: the policy is faulty, or there is no such run.
        BundleError, SignatureError: the bundle to verify is not the signed one.
    """
    from fer_id.consent.keys import keys_home
    from fer_id.release.bundle import verify_bundle
    from fer_id.release.policy import PRETRAINED, read_policy

    if config.run == VERIFY:
        return f"{config.bundle}: {verify_bundle(config.bundle, config.trusted_key)}"
    policy = read_policy(policy_path(config.policy))
    weights = policy.kind == PRETRAINED
    if not weights:
        require_extra("export", "fer-id release")
    from experiments.releasing.half import half_run
    from experiments.releasing.lineage import check_lineage, site_log
    from experiments.releasing.weights import pack_run
    from fer_id.release.gate import judge_release

    (run, record), judged = _record(config.run), _record(config.evidence) if config.evidence else None
    if weights and record.job.store.of_images:  # of people the gate refuses it as it is
        run, record = _record(str(half_run(run).path))  # whose numbers are those of the weights that leave
    evidence = judged[1] if judged else None
    out = Path(config.out or f"bundles/{record.name}")
    log = site_log(keys_home())
    data, reasons = check_lineage(run, judged[0] if judged else None, logged=log is not None)
    verdict = judge_release(record, policy, evidence, reasons)
    facts = {"run": record.path, "kind": policy.kind, "setting": policy.setting}
    if verdict.reasons:
        _refuse(record, verdict.reasons, facts, log)
    if out.exists():
        raise ConfigError(f"{out} exists already; what was released is never replaced, choose another out=")
    if not weights:
        return _release_bundle(run, record, evidence, data, policy, verdict, out, facts, log)
    if log is not None:
        log.append("released", **facts, bundle=out.name)
    return "\n".join([f"released to start from, for research: {pack_run(run, record, policy, out)}", str(out)])


def _refuse(record: Record, reasons: Sequence[str], facts: Mapping[str, str], log: AuditLog | None) -> NoReturn:
    """Raise ReleaseRefused, after a line in the audit log."""
    if log is not None:
        log.append("release refused", **facts, reasons=list(reasons))
    lines = [f"{record.path} is not released: {len(reasons)} reason{'s' if len(reasons) > 1 else ''}"]
    lines += [f"  - {reason}" for reason in reasons]
    bounds = "Nothing was written. People decided on these bounds: mend the model, not the policy."
    raise ReleaseRefused("\n".join([*lines, bounds]))


def _release_bundle(
    run: RunDir,
    record: Record,
    evidence: Record | None,
    data: FerDataModule | None,
    policy: Policy,
    verdict: Verdict,
    out: Path,
    facts: Mapping[str, str],
    log: AuditLog | None,
) -> str:
    """Pack, compare, sign and write the bundle of a run that passed the gate; return the result as text."""
    from experiments.releasing.packing import pack
    from fer_id.consent.keys import keys_home
    from fer_id.release.bundle import DEMONSTRATION, write_bundle
    from fer_id.release.signing import Signer

    signer = Signer.load(keys_home(), create=True)
    packed = pack(run, record, evidence, data, policy, verdict.unfit, signer.fingerprint)
    if packed.reasons:
        _refuse(record, packed.reasons, facts, log)
    if log is not None:  # before the bundle can be passed on
        log.append("released", **facts, bundle=out.name, signed_by=signer.fingerprint)
    write_bundle(out, packed.files, signer, kind=policy.kind, name=record.name)
    status = f"DEMONSTRATION, not for use with children: {out}" if policy.kind == DEMONSTRATION else f"released: {out}"
    lines = [status, *(f"  not for use with {group}" for group in verdict.unfit)]
    if record.metrics.answers_nothing:
        lines[1:1] = ["  it answers nothing by itself: no threshold on inner validation keeps the risk that was asked"]
    return "\n".join([*lines, packed.summary, f"signed by {signer.fingerprint}", str(out)])


def _record(path: str) -> tuple[RunDir, Record]:
    """Return a run, finished or not, and its record; raise RunError where there is none."""
    from fer_id.release.evidence import read_record

    run = RunDir(located(path, changing=True))
    if not (run.path / "config.yaml").is_file():
        raise RunError(f"{path} is not a run (no config.yaml); `fer-id train` makes one")
    return run, read_record(run)


def policy_path(policy: str) -> Path:
    """Return the file of a policy: of a shipped name, or the path of a YAML file."""
    if policy in group_names("policy"):
        return GROUPS / "policy" / f"{policy}.yaml"
    if Path(policy).suffix in (".yaml", ".yml"):
        return Path(policy)
    raise ConfigError(
        f"policy={policy}: unknown. Known: {', '.join(group_names('policy'))}; or the path of a .yaml file"
    )
