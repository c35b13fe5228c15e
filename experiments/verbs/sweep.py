"""``fer-id sweep run FILE | resume STUDY``: the trials of a sweep file, on this machine or a cluster.

The study's folder is the record, and the state of Ray and W&B is never read back: a crash costs the epochs since the
last checkpoints, and ``resume``, or the same command again, continues.
"""

from __future__ import annotations

import hashlib
import shlex
import signal
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.config import TrainConfig
from experiments.interrupts import Terminated, terminable
from experiments.sweeping.ledger import INTERRUPTED, OVER, RUNNING, SETTINGS, Ledger
from experiments.sweeping.machines import RESUME, RUN, SweepConfig, require_answer
from experiments.sweeping.plan import Plan, read_plan
from experiments.sweeping.spec import find, read_sweep
from fer_id.errors import RunError
from fer_id.extras import require_extra
from fer_id.files import locked
from fer_id.progress import say

if TYPE_CHECKING:
    from data_modules.base import FerDataModule
    from experiments.sweeping.study import Study


def sweep(config: SweepConfig) -> str:
    """Run or resume the trials of a sweep; write ``sweep.csv``, ``sweep.png`` and, for folds, ``selected``; return the
    number of trials, the best of them, and how to use it.

    Raises:
        ConfigError: problems of the file, the settings or the cluster.
        RunError: the study is another file's or version's, or in use; or trials failed (after all others are done).
    """
    require_extra("sweep", "fer-id sweep")
    if config.action == RESUME:
        plan = _resumed(Path(config.file))
    else:
        plan = read_plan(find(config.file), config.name, config.runs.root, config.overrides)
    if config.run_cap is not None:
        plan = replace(plan, sweep=replace(plan.sweep, run_cap=config.run_cap))
    first = plan.check()
    if config.ray.address is not None:
        require_answer(config.ray.address)
    else:
        plan.require_precision(first)  # machines of a cluster may differ: each trial refuses for itself
    data = _open(first)
    plan.folder.mkdir(parents=True, exist_ok=True)
    with locked(plan.folder, RunError):
        return _search(config, plan, _ledger(config, plan, data), data)


def _resumed(folder: Path) -> Plan:
    """Return the plan of an existing study; raise RunError where it is missing or damaged."""
    settings = Ledger.open(folder).settings()
    if missing := [name for name in ("overrides", "run_cap", "search_seed") if name not in settings.model_fields_set]:
        raise RunError(
            f"{folder / SETTINGS}: damaged, {', '.join(missing)} is missing; run the file again under another name="
        )
    read = read_sweep(folder / "sweep.yaml")
    capped = replace(read, run_cap=settings.run_cap or read.run_cap)
    return Plan(capped, folder.name, str(folder.parent), tuple(settings.overrides))


def _open(first: TrainConfig) -> FerDataModule:
    """Open the study's data, folds and runs to start from, whose faults would stop every trial; this imports torch."""
    from experiments.training.parents import open_parent
    from experiments.training.setup import open_data
    from experiments.training.trainer import quiet

    quiet()
    data = open_data(first, None)
    for fold in data.folds:
        open_parent(first, data, fold)
    return data


def _ledger(config: SweepConfig, plan: Plan, data: FerDataModule) -> Ledger:
    """Return the ledger of an existing study of this sweep, or of a new one; raise RunError where the folder holds
    another study, one on another store, or other files."""
    folder = plan.folder
    identity = {
        "file": hashlib.sha256(plan.sweep.text.encode()).hexdigest(),
        "overrides": list(plan.overrides),
        "search_seed": config.search_seed,
    }
    if not (folder / SETTINGS).exists():
        if others := [path.name for path in folder.iterdir() if path.name not in ("sweep.yaml", ".lock")]:
            raise RunError(f"{folder} holds other runs ({', '.join(sorted(others)[:3])}); choose another name=")
        settings = {
            "command": shlex.join(["fer-id", *sys.argv[1:]]),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "versions": {name: version(name) for name in ("ray", "optuna", "torch")},
            "verb": plan.sweep.verb,
            "base": plan.base,
            "objective": {"name": plan.sweep.metric, "goal": plan.sweep.goal},
            "protocol": data.protocol.name,
            "provenance": data.provenance,
            "fingerprint": data.fingerprint,
        }
        return Ledger.create(folder, plan.sweep.text, settings | identity | {"run_cap": plan.sweep.run_cap})
    ledger = Ledger.open(folder)
    known = ledger.settings().model_dump(exclude_unset=True)
    differs = [name for name, value in identity.items() if known.get(name) != value]
    if config.action == RUN and differs:
        raise RunError(
            f"{folder} is a study of another sweep (differs in {', '.join(differs)}); choose another name=, remove the "
            f"folder, or go on with it as it was begun: fer-id sweep resume {folder}"
        )
    if known.get("fingerprint") != data.fingerprint:
        raise RunError(
            f"{folder} was begun with another store, or its store was made again since: its trials cannot be compared "
            "with new ones. Bring that store back, or run the file again under another name="
        )
    ledger.update(state=RUNNING, run_cap=plan.sweep.run_cap)
    return ledger


def _search(config: SweepConfig, plan: Plan, ledger: Ledger, data: FerDataModule) -> str:
    from experiments.online.studies import log_configurations
    from experiments.sweeping.results import require_whole, select, summary_text, write_results
    from experiments.sweeping.study import Study

    folded = data.protocol.name in ("kfold", "loso")
    folds = [fold.name for fold in data.folds] if folded else [None]
    study = Study(plan, ledger, folds, seed=ledger.settings().search_seed)
    if study.ended:
        over, failed = study.ended, [trial for trial in study.ended if not trial.is_over]
        again = f", {len(failed)} failed and are tried again" if failed else ""
        say(f"{plan.folder}: {len(over) - len(failed)} trials are over and stay as they are{again}")
    began = time.monotonic()
    if study.has_more():
        _tune(config, study)
    spent = ledger.settings().seconds + time.monotonic() - began
    selected = select(study) if folded else None
    write_results(study, data.provenance)
    if folded:  # in W&B a run over all folds for each configuration that all folds trained, beside the trials' runs
        logging = plan.resolve(plan.first()).logging
        log_configurations(plan.folder, mode=logging.wandb, project=logging.project, entity=logging.entity)
    ledger.update(state=OVER, seconds=spent)
    text = summary_text(study, selected, data.provenance)
    require_whole(study, text)
    return text


def _tune(config: SweepConfig, study: Study) -> None:
    """Run the remaining trials; an interruption marks the study as interrupted and prints how to resume it."""
    from experiments.sweeping.machines import machines

    ledger = study.ledger
    with machines(config, shared=ledger.folder / ".ray") as cluster:
        from experiments.sweeping.tuning import tune_study

        say(f"{ledger.folder}: trials side by side: {cluster.concurrent}, threads of each: {config.cpus}")
        try:
            with terminable(signal.SIGINT) as again:  # since Ray has replaced the signal handler
                tune_study(study, cluster, cpus=config.cpus, before_step=again)
        except (KeyboardInterrupt, Terminated):
            ledger.update(state=INTERRUPTED)
            say(f"\ninterrupted after {len(study.ended)} trials; go on with: fer-id sweep resume {ledger.folder}")
            raise
