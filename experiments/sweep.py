"""``fer-id sweep run FILE | resume STUDY``: the trials of a sweep file, on this machine or a cluster.

The folder of the study is the record; Ray and W&B are told, never asked. So a crash costs the epochs since the last
checkpoints, and ``resume``, or the same command again, goes on.
"""

from __future__ import annotations

import hashlib
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.config import RunsConfig, TrainConfig
from experiments.stopping import Terminated, terminable
from experiments.sweeping.ledger import INTERRUPTED, OVER, RUNNING, SETTINGS, Ledger
from experiments.sweeping.machines import require_answer
from experiments.sweeping.plan import Plan, read_plan
from experiments.sweeping.spec import Sweep, find, read_sweep
from fer_id.errors import RunError
from fer_id.files import locked
from fer_id.progress import say
from fer_id.settings import REST, WORD, Clash, setting

if TYPE_CHECKING:
    from data_modules.base import FerDataModule
    from experiments.sweeping.study import Study

RUN, RESUME = "run", "resume"


@dataclass
class RayConfig:
    """Where trials run."""

    address: str | None = setting(
        None, help="host:port of a Ray cluster whose machines all see runs.root and the stores; null: this machine"
    )


@dataclass
class SweepConfig:
    """A sweep; any key of `fer-id train` (or adapt) beside these holds for every trial, such as data.store=FOLDER."""

    action: str = setting(RUN, choices=(RUN, RESUME), help="run: FILE, or go on with it; resume: the folder of a study")
    file: str = setting(
        "",
        required=True,
        help="run: a .yaml in W&B's sweep format, or a shipped one by name; resume: the study's folder",
    )
    name: str | None = setting(None, help="folder of the study under runs.root; null: the name in the file", kind=WORD)
    run_cap: int | None = setting(
        None,
        min=1,
        max=1_000_000,
        help="configurations at most (in every outer fold); null: as the file says; a resumed study may get more",
    )
    search_seed: int = setting(0, min=0, max=2**32 - 1, help="of what random and bayes try")
    cpus: int = setting(1, min=1, max=1024, help="cores of each trial, which is also its number of threads")
    gpus: float | None = setting(
        None, min=0, max=64, help="GPUs of each trial, 0.5 for two on one; null: one where there is any"
    )
    concurrent: int | None = setting(None, min=1, max=1024, help="trials side by side; null: as many as fit")
    ray: RayConfig = field(default_factory=RayConfig)
    runs: RunsConfig = field(default_factory=RunsConfig)
    overrides: list[str] = setting([], kind=REST, help="key=value of the trials, written as they are: no overrides=")

    def clashes(self) -> Iterator[Clash]:
        """What a study was begun with cannot change."""
        if self.action == RESUME and self.overrides:
            yield Clash(
                ("overrides",),
                f"{' '.join(self.overrides)}: a study goes on with the settings it was begun with; run the file "
                "under another name= to change them",
            )


def sweep(config: SweepConfig) -> str:
    """Runs, or goes on with, the trials of a sweep; writes ``sweep.csv``, ``sweep.png`` and, of folds, ``selected``.

    Returns:
        what came out: how many trials, the best of them, and how to use it.

    Raises:
        ConfigError: problems of the file, of the settings, of the cluster.
        RunError: a study of that name of another file or version, or one in use; trials that failed, after all others
            are done.
    """
    plan = _resumed(config) if config.action == RESUME else _asked(config)
    first = plan.check()
    if config.ray.address is not None:
        require_answer(config.ray.address)
    else:
        plan.require_precision(first)  # machines of a cluster may differ: each trial refuses for itself
    data = _open(first)
    plan.folder.mkdir(parents=True, exist_ok=True)
    with locked(plan.folder, RunError):
        return _search(config, plan, _ledger(config, plan, data), data)


def _asked(config: SweepConfig) -> Plan:
    plan = read_plan(find(config.file), config.name, config.runs.root, config.overrides)
    return replace(plan, sweep=_capped(plan.sweep, config.run_cap))


def _resumed(config: SweepConfig) -> Plan:
    """The plan as the study was begun.

    Raises:
        RunError: no study, or a damaged one.
    """
    folder = Path(config.file)
    settings = Ledger.open(folder).settings()
    if missing := [name for name in ("overrides", "run_cap", "search_seed") if name not in settings]:
        raise RunError(
            f"{folder / SETTINGS}: damaged, {', '.join(missing)} is missing; run the file again under another name="
        )
    read = _capped(read_sweep(folder / "sweep.yaml"), config.run_cap or settings["run_cap"])
    return Plan(read, folder.name, str(folder.parent), tuple(settings["overrides"]))


def _capped(read: Sweep, run_cap: int | None) -> Sweep:
    return read if run_cap is None else replace(read, run_cap=run_cap)


def _open(first: TrainConfig) -> FerDataModule:
    """The data of the study, with everything checked that would stop every trial; it needs torch, so it comes last.

    Raises:
        FerIdError: of the stores, the folds, the runs to start from.
    """
    from experiments.parents import open_parent
    from experiments.parts import open_data
    from experiments.trainer import quiet

    quiet()
    data = open_data(first, None)
    for fold in data.folds:
        open_parent(first, data, fold)
    return data


def _ledger(config: SweepConfig, plan: Plan, data: FerDataModule) -> Ledger:
    """The study of that name, if it is this one; else a new one.

    Raises:
        RunError: the folder holds another study, one on another store, or other things.
    """
    folder = plan.folder
    asked = {
        "file": hashlib.sha256(plan.sweep.text.encode()).hexdigest(),
        "overrides": list(plan.overrides),
        "search_seed": config.search_seed,
    }
    if not (folder / SETTINGS).exists():
        if others := [one.name for one in folder.iterdir() if one.name not in ("sweep.yaml", ".lock")]:
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
        return Ledger.create(folder, plan.sweep.text, settings | asked | {"run_cap": plan.sweep.run_cap})
    ledger = Ledger.open(folder)
    settings = ledger.settings()
    differs = [name for name, value in asked.items() if settings.get(name) != value]
    if config.action == RUN and differs:
        raise RunError(
            f"{folder} is a study of another sweep (differs in {', '.join(differs)}); choose another name=, remove the "
            f"folder, or go on with it as it was begun: fer-id sweep resume {folder}"
        )
    if settings.get("fingerprint") != data.fingerprint:
        raise RunError(
            f"{folder} was begun with another store, or its store was made again since: its trials cannot be compared "
            "with new ones. Bring that store back, or run the file again under another name="
        )
    ledger.write(settings | {"state": RUNNING, "run_cap": plan.sweep.run_cap})
    return ledger


def _search(config: SweepConfig, plan: Plan, ledger: Ledger, data: FerDataModule) -> str:
    from experiments.sweeping.results import require_whole, told, write_results
    from experiments.sweeping.selection import select
    from experiments.sweeping.study import Study

    folded = data.protocol.name in ("kfold", "loso")
    seed = ledger.settings()["search_seed"]
    study = Study(plan, ledger, [fold.name for fold in data.folds] if folded else [None], seed=seed)
    if study.ended:
        over, failed = study.ended, [one for one in study.ended if not one.is_over]
        again = f", {len(failed)} failed and are tried again" if failed else ""
        say(f"{plan.folder}: {len(over) - len(failed)} trials are over and stay as they are{again}")
    began = time.monotonic()
    if study.has_more():
        _tune(config, study)
    spent = ledger.settings().get("seconds", 0.0) + time.monotonic() - began
    selected = select(study) if folded else None
    write_results(study, data.provenance)
    if folded:
        _tell_configurations(study)
    ledger.write(ledger.settings() | {"state": OVER, "seconds": spent})
    text = told(study, selected, data.provenance)
    require_whole(study, text)
    return text


def _tune(config: SweepConfig, study: Study) -> None:
    """The trials that are left; interrupted, the study is one that can be resumed, and says how."""
    from experiments.sweeping.machines import machines

    ledger = study.ledger
    with (
        machines(config, shared=ledger.folder / ".ray") as found,
        terminable(),  # anew: Ray has taken the signal
    ):
        from experiments.sweeping.tuning import tune_study

        say(f"{ledger.folder}: trials side by side: {found.concurrent}, threads of each: {config.cpus}")
        try:
            tune_study(study, found, cpus=config.cpus)
        except (KeyboardInterrupt, Terminated):
            ledger.write(ledger.settings() | {"state": INTERRUPTED})
            say(f"\ninterrupted after {len(study.ended)} trials; go on with: fer-id sweep resume {ledger.folder}")
            raise


def _tell_configurations(study: Study) -> None:
    """W&B has a run of each trial; a configuration that all folds trained gets one over them."""
    from experiments.online.studies import tell_configurations

    logging = study.plan.resolve(study.plan.first()).logging
    tell_configurations(study.plan.folder, mode=logging.wandb, project=logging.project, entity=logging.entity)
