"""PrivateWandbLogger: Lightning's ``WandbLogger`` with fer_id's rules of disclosure, for any Trainer."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.loggers import WandbLogger

from fer_id.loggers import results
from fer_id.loggers.disclosure import FEW, Rules, few_validated, public
from fer_id.loggers.guard import GuardedRun, guard_globals
from fer_id.loggers.run_logger import EpochRows, Row
from fer_id.loggers.wandb_session import Details, close_session, harmless, open_session
from fer_id.objectives import best_row
from fer_id.progress import say
from fer_id.runs.configs import Config
from fer_id.runs.job import Job
from fer_id.runs.run_dir import RunDir, by_epoch

if TYPE_CHECKING:
    import numpy as np
    import wandb
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from fer_id.evaluation.evaluate import Evaluation
    from fer_id.reporting.gallery import Shown


class PrivateWandbLogger(EpochRows, WandbLogger):
    """Logger to Weights & Biases: numbers and figures without people, but no code, environment, host or path.

    The files of the W&B run lie inside the RunDir, which remains the record. The history has one row per epoch, on the
    axis ``epoch``; after resuming, each epoch once. Of a split with fewer than five real children no number is sent, of
    a ``trial`` none of its test clips, of real children only the public view of groups. Drawn faces may be sent; a real
    one only with ``faces=True`` and the child's consent to ``media_sharing``. :attr:`experiment` obeys the same rules,
    whoever uses it, and so do W&B's own globals (``wandb.log``, ``wandb.run``, ...) while the run is open. Tables go as
    ``Html`` and matrices as ``Image``: ``wandb.Table`` and ``plot.confusion_matrix`` become artifacts, whose manifests
    hold the absolute path of a local file. A W&B that refuses, or does not answer within seconds, costs a line, never
    the training: the run is then recorded offline, and the line says how to send it. An active W&B run is finished
    first.

    Args:
        run: run to copy. Without its ``job.json``, which lists the subjects, no score is sent. Its ``config.yaml`` is
            shown without paths and names of people; ``trainer.monitor`` in it chooses the best epoch, whose inner
            validation stands in the summary.
        name: in W&B; None: the last two folders, but of a fold, which is named after its child, a number.
        project, entity: as in W&B.
        tags: beside those of every run: dataset, provenance, model, protocol, mode of the protocol.
        group: runs that belong together; None: the first part of ``name``.
        job_type: ``train``, ``fold``, ``study`` or ``trial``.
        mode: ``auto`` (online with an API key, else offline), ``online``, ``offline`` or ``disabled``.
        faces: whether faces of children with ``media_sharing`` consent may be sent.
    """

    def __init__(
        self,
        run: RunDir,
        name: str | None = None,
        *,
        project: str = "fer-id",
        entity: str | None = None,
        group: str | None = None,
        job_type: str = "train",
        tags: Sequence[str] = (),
        mode: str = "auto",
        faces: bool = False,
    ) -> None:
        super().__init__(project=project, save_dir=str(run.path), log_model=False)
        self.run, self.faces, self._mode = run, faces, mode
        name = _public_name(run) if name is None else name
        self._details = Details(run.path, project, entity, group or name.partition("/")[0], job_type, name, tags)
        self._described = run  # a mean over runs without a configuration of its own has that of the first
        self.rules = Rules.of(_job(run), job_type)
        self._rows: list[Row] = []
        self._opened: list[wandb.Run | None] = []
        self._recorded = False
        self._beside: dict[str, float | wandb.Image | list[wandb.Image]] = {}  # until the row of their epoch is sent

    @cached_property
    def _guarded(self) -> GuardedRun:
        return GuardedRun(self._open(), self.rules, lambda: self.epoch)

    @property
    def experiment(self) -> Any:
        """The W&B run for user code, guarded by the rules of disclosure; opened at the first use."""
        return GuardedRun(None, self.rules) if getattr(rank_zero_only, "rank", None) else self._guarded

    def _open(self) -> wandb.Run | None:
        """Return the unguarded W&B run, None where there is none; only for values that have passed the rules."""
        if not self._opened:
            details = self._details._replace(tags=[*self._facts(), *self._details.tags])
            run = open_session(details, self._settings(), self._mode)
            self._opened.append(run)
            if run is not None:
                guard_globals(self._guarded)
                if few := ", ".join(f"{word}/" for word, why in self.rules.hidden.items() if why == FEW):
                    say(f"W&B: numbers of {few} are not sent: {FEW}; metrics.jsonl has them")
        return self._opened[0]

    def _settings(self) -> dict[str, object]:
        """Return the settings that may leave, with the run's place in its study under ``study``."""
        details, store = self._details, _job(self._described).store
        fold = re.match(r"(.*?)/folds/(\d+)(/|$)", details.name)
        whole, number = (fold[1], int(fold[2])) if fold else (details.name, None)
        study = {"group": details.group, "name": whole, "fold": number, "provenance": store.provenance}
        # The name in config.yaml may be that of the child.
        return public({**_config(self._described), "name": details.name, "study": study})

    def _facts(self) -> list[str]:
        """Return the tags of every run: dataset, provenance, model, protocol, and what it knew of the tested."""
        config, job = _config(self._described), _job(self._described)
        sections: list[Any] = [config.get(key) or {} for key in ("data", "model", "protocol")]
        data, model, protocol = (section.get("name") for section in sections)
        return [tag for tag in (data, job.store.provenance, model, protocol, job.mode if config else None) if tag]

    @property
    def monitor(self) -> str:
        """Name of the number that chooses the best epoch; known once the training has begun."""
        return (_config(self._described).get("trainer") or {}).get("monitor") or "val/macro_f1"

    @property
    def version(self) -> str | None:
        """Id of the W&B run; None before it is opened."""
        return self._opened[0].id if self._opened and self._opened[0] else None

    def __getstate__(self) -> dict[str, object]:
        """Return the state without the W&B run: a copy in another process sends nothing."""
        return {**{key: value for key, value in super().__getstate__().items() if key != "_guarded"}, "_opened": [None]}

    @rank_zero_only
    def begin(self, rows: Sequence[Row]) -> None:
        """Send the rows of earlier epochs that were not sent yet."""
        self._recorded = True
        for row in by_epoch(rows)[len(self._rows) :]:
            self.log_epoch(row)

    @rank_zero_only
    def log_epoch(self, row: Row) -> None:
        """Send the row of an epoch, and the best epoch so far into the summary."""
        self._rows.append(row)
        with harmless():
            if (run := self._open()) is not None:
                run.log({**self.rules.numbers(row), **self._beside})
                self._beside = {}
                run.summary.update(self._best([best_row(pd.DataFrame(self._rows), self.monitor)]))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Send an epoch's numbers as one row, unless ``Record`` does, and beside them those of a callback; numbers of a
        test go to the summary. Pictures, from ``log_image``, go where :attr:`experiment` lets them."""
        numbers = {name: float(value) for name, value in metrics.items() if not isinstance(value, list)}
        if len(numbers) < len(metrics):
            self.experiment.log({name: value for name, value in metrics.items() if name not in numbers})
        super().log_metrics(numbers, step)

    def log_own(self, numbers: Mapping[str, float], epoch: int | None, step: int | None) -> None:
        """Keep numbers for the row of their epoch."""
        self._beside |= self.rules.numbers(numbers)

    def log_tested(self, numbers: Mapping[str, float]) -> None:
        """Send numbers of a test to the summary."""
        with harmless():
            if (run := self._open()) is not None:
                self._catch_up()
                run.summary.update(self.rules.numbers(numbers))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Send the last epoch, where no ``Record`` did so; the run stays open for what comes after a training."""
        super().finalize(status)
        self._send_rest()

    def _send_rest(self) -> None:
        """Send what no row of an epoch took, as pictures of a test."""
        with harmless():
            if self._beside and (run := self._open()) is not None:
                run.log(self._beside if self.epoch is None else {"epoch": self.epoch, **self._beside})
        self._beside = {}

    def log_mean_curve(self, folds: Sequence[RunDir]) -> None:
        """Send the mean learning curve of a cross-validation, and the mean of its folds' best epochs. A run without a
        record of its own has the settings of these folds, and sends of five and more children together."""
        if folds and not (self.run.path / "job.json").is_file():
            self._described = folds[0]
            self.rules = Rules.of(Job(), self._details.job_type, few_validated([fold.job() for fold in folds]))
        with harmless():
            if folds and (run := self._open()) is not None:
                for row in results.mean_curve(folds):
                    run.log(row)
                run.summary.update(self._best([best_row(fold.learning_curve(), self.monitor) for fold in folds]))

    def _best(self, rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
        return self.rules.numbers(results.best_epoch_summary(rows, self.rules.hidden))

    def _catch_up(self) -> None:
        """Send the recorded epochs, where no training in this process did: reopening a W&B run empties its history."""
        if not self._recorded and not self._rows:
            self.begin(self.run.learning_curve().to_dict("records"))  # type: ignore[arg-type]  # its columns are texts

    @rank_zero_only
    def log_results(self, evaluation: Evaluation, figures: Mapping[str, Figure]) -> None:
        """Send the metrics of a run, its table of classes and the figures that may leave, both as
        ``fer_id.reporting.report.write_evaluation`` returns them, and close the W&B run."""
        with harmless():
            if (run := self._open()) is not None:
                self._catch_up()
                results.send_results(run, evaluation.metrics, figures, self.rules)
        self.close()

    @rank_zero_only
    def log_explanation(
        self, explanation: Mapping[str, Any], figures: Mapping[str, Figure], gallery: Sequence[Shown]
    ) -> None:
        """Send the explanation, ``explain.json``, with its figures and the film strips that may leave."""
        with harmless():
            if (run := self._open()) is not None and "test" not in self.rules.hidden:
                sent = results.send_explanation(run, explanation, figures, gallery, faces=self.faces)
                self.run.note_uploads(run.id, sent)

    @property
    def is_open(self) -> bool:
        """True where there is a W&B run; it is opened if it was not yet."""
        return self._open() is not None

    @rank_zero_only
    def log_confusion_matrix(self, key: str, counts: NDArray[np.int64], names: Sequence[str], provenance: str) -> None:
        """Send a confusion matrix (K, K), true classes in rows, as a picture with the row of its epoch. ``key`` begins
        with the split, ``val`` or ``test``; of fewer than five real children nothing is sent."""
        import wandb

        from fer_id.reporting.gallery import matrix_picture

        with harmless():
            if self.is_open and key.partition("/")[0] not in self.rules.hidden:
                caption = f"{provenance}: true classes in rows"
                self._beside[key] = wandb.Image(matrix_picture(counts, names), caption=caption)

    @rank_zero_only
    def log_panels(self, panels: Mapping[str, Sequence[Shown]]) -> None:
        """Send film strips by panel, with the row of their epoch: of drawn faces, and with ``faces=True`` by consent. A
        key begins with the split; of a split with fewer than five real children nothing is sent."""
        allowed = {key: strips for key, strips in panels.items() if key.partition("/")[0] not in self.rules.hidden}
        with harmless():
            if (run := self._open()) is not None:
                images, uploads = results.strip_images(allowed, faces=self.faces)
                self.run.note_uploads(run.id, uploads)
                self._beside |= images

    def summarise(self, facts: Mapping[str, str | int]) -> None:
        """Put facts about the run into the summary, such as its provenance, with what is withheld and why."""
        with harmless():
            if (run := self._open()) is not None:
                run.summary.update({**facts, **{f"{word}/withheld": why for word, why in self.rules.hidden.items()}})

    def close(self) -> None:
        """Finish the W&B run, after sending the rest."""
        if self._opened and self._opened[0] is not None:
            with harmless():
                close_session()
            self._opened = [None]

    # Lightning's other ways to send something, beside those that end in `experiment` or `log_metrics`:

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Send settings that hold neither a path nor a name of a place or person."""
        self.experiment.config.update(vars(params) if isinstance(params, Namespace) else params)

    @rank_zero_only
    def log_table(self, key: str, *_: Any, **__: Any) -> None:
        """Send nothing and print a message: a table may hold anything."""
        self.experiment.log({key: None})


def _job(run: RunDir) -> Job:
    return run.job() if (run.path / "job.json").is_file() else Job()


def _config(run: RunDir) -> Config:
    return run.config() if (run.path / "config.yaml").is_file() else {}


def _public_name(run: RunDir) -> str:
    """Return ``<study>/<run>``; folds, which are named after children, get their number instead."""
    parts = run.path.resolve().parts
    if "folds" not in parts:
        return "/".join(parts[-2:])
    place = parts.index("folds") + 1
    names = sorted(path.name for path in Path(*parts[:place]).iterdir() if path.is_dir())
    return "/".join((*parts[place - 2 : place], f"{names.index(parts[place]) + 1:02d}", *parts[place + 1 :]))
