"""TrainingRun: a RunDir for trainings in Python, begun from a task and data, with its callbacks and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from fer_id.callbacks.checkpoint import WholeFiles, find_start, forget_previous, resume_at
from fer_id.callbacks.record import WritePredictions, run_callbacks
from fer_id.errors import RunError
from fer_id.files import locked, sweep
from fer_id.loggers.wandb import PrivateWandbLogger
from fer_id.progress import say
from fer_id.reporting.report import write_evaluation
from fer_id.runs.ancestry import ancestry, require_unseen
from fer_id.runs.configs import Config, Tree
from fer_id.runs.description import describe_config, describe_job, describe_trainer
from fer_id.runs.job import Job
from fer_id.runs.metrics import Metrics
from fer_id.runs.run_dir import RunDir
from fer_id.runs.shipped import recorded_name


class TrainingRun(RunDir):
    """A RunDir of a training in a script or notebook, exported as ``fer_id.RunDir``.

    Writers of its files: :meth:`begin` writes ``config.yaml`` and ``job.json``; ``RunLogger`` writes ``metrics.jsonl``;
    :meth:`callbacks` write ``checkpoints/``, the Trainer's settings into ``config.yaml`` and, in ``trainer.test``,
    ``predictions.parquet``; :func:`evaluate` writes ``metrics.json``, ``figures/``, ``report.html`` and ``DONE``.

    Order, augmentation and dropout are functions of the data module's seed; new weights come from torch's generator, so
    ``pl.seed_everything(seed)`` before the model is built makes a training repeatable.
    """

    @classmethod
    def begin(
        cls, path: str | Path, *, task: pl.LightningModule, data: Any, start: RunDir | None = None
    ) -> TrainingRun:
        """Make the folder ``runs/<study>/<name>``, or resume an unfinished run of the same settings and data. A
        finished one is kept as it is, with a line: train where ``not run.done``, and a loop can be repeated.

        ``task.model`` is the nn.Module that is trained, ``data`` a data module of fer_id. ``start``, the run whose
        weights the model starts from, is recorded as the parent: a withdrawal from it reaches this run. Raises
        ConfigError where ``task`` or ``data`` is of another kind, LeakageError where ``start`` or one of its ancestors
        learned from a subject that ``data`` tests, and RunError where the folder holds a run of other settings or data,
        or a finished one of another ``start``.
        """
        run = cls(path)
        run.require_whole()
        begun = run.config() if (run.path / "config.yaml").is_file() else Config()
        config = describe_config("/".join(run.path.parts[-2:]), task, data, begun.get("trainer", {}))
        command = f"RunDir.begin({str(path)!r}, task={type(task).__name__}(...), data={type(data).__name__}(...))"
        job = describe_job(command, task, data)
        if start is not None:
            for ancestor in ancestry(start, data.fold.name):
                require_unseen(ancestor, data.subjects(data.fold.test), f"fold {data.fold.name} tests")
            job = job.model_copy(update={"parents": [recorded_name(start.path)]})
        if run.done:
            run._require_same(config, job)
            say(f"{run.path} is finished already: it is kept; remove it or choose another folder to train again")
        else:
            cls.create(path, config, job)
        return run

    def _require_same(self, config: Tree, job: Job) -> None:
        """Raise RunError unless this finished run is of these settings, data and parents."""
        self.require_consent()
        self.require_store(job.store.fingerprint)
        changed = self.changed(config)
        if _places(self.job().parents) != _places(job.parents):
            changed.append("start")
        if changed:
            raise RunError(
                f"{self.path} is a finished run of other settings (differs in {', '.join(changed[:8])}): choose "
                "another folder, or remove this one to train again"
            )

    def callbacks(self, monitor: str = "val/macro_f1") -> list[pl.Callback]:
        """Return the callbacks that make a training a run: checkpoints, record, seeding, resuming, predictions.

        ``trainer.fit`` goes on from the last whole checkpoint, where there is one; ``trainer.test(...,
        ckpt_path="best")`` takes the best epoch and writes ``predictions.parquet``. Place them after callbacks that log
        numbers, so that the rows of ``metrics.jsonl`` hold these numbers. ``monitor`` chooses the best epoch: the
        lowest of a number whose name ends in ``loss``, the highest of another.
        """
        return [
            ResumeRun(self, monitor),
            WritePredictions(self),
            *run_callbacks(self, monitor, seed=self.job().seed or 0),
        ]


def _places(parents: Sequence[str]) -> set[Path]:
    return {Path(parent).resolve() for parent in parents}


class ResumeRun(pl.Callback):
    """Callback that resumes a run from its last whole checkpoint and locks it against other processes. ``config.yaml``
    records ``monitor`` with the settings that the Trainer decides."""

    def __init__(self, run: RunDir, monitor: str) -> None:
        self.run, self.monitor = run, monitor
        self._held = ExitStack()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check consent, make writing of checkpoints atomic, and choose the checkpoint to resume from. Raises RunError
        where the run is finished or quarantined, or another process works on it, and CheckpointError where a checkpoint
        holds more than weights."""
        self.run.require_consent()
        trainer.strategy.checkpoint_io = WholeFiles()
        if stage != "fit":
            return
        if self.run.done:
            raise RunError(
                f"{self.run.path} is a finished run: leave trainer.fit out (`if not run.done`), or begin another"
            )
        last = self.run.path / "checkpoints" / "last.ckpt"
        if trainer.is_global_zero:
            self._held.enter_context(locked(self.run.path, RunError))
            sweep(self.run.path)
            resume_at(find_start(last.parent), self.run.path)
        trainer.strategy.barrier()
        if last.is_file():
            # As fit(ckpt_path=...) does: a path chosen in setup comes too late for that argument.
            trainer._checkpoint_connector.resume_start(last, weights_only=True)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the settings that the Trainer decides."""
        if trainer.is_global_zero:
            config, job = self.run.config(), self.run.job()
            config["trainer"] |= describe_trainer(trainer, self.monitor)
            self.run.write_config(config)
            changes = {"precision": config["trainer"]["precision"], "processes": trainer.world_size}
            self.run.write_job(job.model_copy(update=changes))

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let other processes work on the run again, also after an exception."""
        self._held.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._held.close()


def evaluate(run: RunDir, task: pl.LightningModule, data: Any) -> Metrics:
    """Compute the metrics of a run from its predictions; write ``metrics.json``, figures, ``report.html`` and ``DONE``.

    ``task`` and ``data`` are those of ``trainer.test``, which wrote the predictions. The W&B loggers of the task's
    trainer send the results that may leave, and are closed. Raises RunError: no predictions, other data, or consent was
    withdrawn meanwhile.
    """
    if not run.predicted:
        raise RunError(
            f'{run.path} has no predictions yet: trainer.test(task, data, ckpt_path="best") with *run.callbacks() '
            "writes them"
        )
    run.require_consent()
    run.require_store(data.fingerprint)
    curve = run.learning_curve()
    if len(curve) and "seconds" in curve:
        run.write_job(run.job().model_copy(update={"seconds": float(curve["seconds"].iloc[-1])}))
    evaluation, figures = write_evaluation(run)
    trainer = task._trainer  # `task.trainer` raises where there is none
    for logger in () if trainer is None else trainer.loggers:
        if isinstance(logger, PrivateWandbLogger):
            logger.log_results(evaluation, figures)
    forget_previous(run.path / "checkpoints")
    run.finish()
    return evaluation.metrics
