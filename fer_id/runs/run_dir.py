"""RunDir: the folder of a training, with its complete record."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pandas as pd
import yaml

from fer_id.errors import RunError, cut
from fer_id.files import atomic_write_bytes, atomic_write_text, locked, read_json_lines, sha256, sweep
from fer_id.labels import LabelSpace, get_space
from fer_id.parquet import read_parquet
from fer_id.runs.configs import FREE_KEYS, RETIRED_KEYS, Config, Tree, differences, with_defaults
from fer_id.runs.job import Job
from fer_id.runs.metrics import Metrics
from fer_id.runs.records import read_record
from fer_id.runs.shipped import located
from fer_id.shapes import Number, record
from fer_id.yaml_text import read_yaml

PREDICTION_KEYS = ("clip_id", "fold", "split")
"""Columns that identify a row of ``predictions.parquet``."""

CROSS_FIT = "crossfit"
"""Folder in a run of the numbered trainings that predict its calibration children."""

ON = "on"
"""Folder in a run of the results of its model on other stores, a folder each."""


class RunDir:
    """The folder of a run: the files that the methods below read and write, and ``DONE``, which is written last."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @classmethod
    @contextmanager
    def claim(
        cls, path: str | Path, config: Tree, job: Job, usual: Tree | None = None, changeable: tuple[str, ...] = ()
    ) -> Iterator[RunDir]:
        """Create or resume the run as :meth:`create` does, locked for this process, and remove half-written files.
        Raises RunError as :meth:`create`, or where another process works on the run."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, RunError):
            run = cls.create(folder, config, job, usual, changeable)
            sweep(folder)
            yield run

    @classmethod
    def create(
        cls, path: str | Path, config: Tree, job: Job, usual: Tree | None = None, changeable: tuple[str, ...] = ()
    ) -> RunDir:
        """Make the folder, or resume an unfinished run of the same configuration, see :meth:`changed`. Dotted keys in
        ``changeable`` may differ; ``job.json`` then records the change under ``resumed_with``. Raises RunError where
        the folder holds a finished run, or one of another configuration, on other data or from other weights."""
        run = cls(path)
        run.require_consent()
        if run.done:
            raise RunError(f"{path} is a finished run; choose another name=, or remove the folder to train it again")
        run.require_whole()
        changed = run.changed(config, usual) if (run.path / "config.yaml").exists() else []
        if other := [key for key in changed if key not in changeable]:
            raise RunError(
                f"{path} was begun with another configuration (differs in {', '.join(other[:8])}); "
                "resume it with the same settings, choose another name=, or remove the folder"
            )
        if (run.path / "job.json").exists():
            run.require_store(job.store.fingerprint)
            before = run.job()
            if before.weights_file not in (None, job.weights_file):
                raise RunError(
                    f"{path} was begun with another file of model.weights, or that file was changed since (SHA-256 "
                    f"{before.weights_file}): bring that file back, or train under another name="
                )
            changes = {key: values for key, values in differences(run.config(), config).items() if key in changed}
            # A damaged curve is mended from the checkpoint, so it is read only where it is needed.
            job = job.resumed(before, changes, len(run.learning_curve()) if changes else 0)
        for folder in ("checkpoints", "figures"):
            (run.path / folder).mkdir(parents=True, exist_ok=True)
        run.write_config(config)
        run.write_job(job)
        return run

    @classmethod
    def open(cls, path: str | Path, *, unfinished: bool = False, changing: bool = False) -> RunDir:
        """Open an existing run, or ``shipped:NAME``, with ``unfinished`` also one without ``DONE``. Raises RunError: no
        such run, a quarantined one, one that is not finished, or a shipped one that the caller is ``changing``."""
        run = cls(located(path, changing=changing))
        if not (run.path / "config.yaml").is_file():
            raise RunError(f"{path} is not a run (no config.yaml); `fer-id train` makes one")
        run.require_consent()
        if not run.done and not unfinished:
            raise RunError(f"{path} is not finished (no DONE); the same `fer-id train` command resumes it")
        return run

    def require_whole(self) -> None:
        """Raise RunError where training has begun and ``config.yaml`` or ``job.json`` is missing or damaged."""
        try:
            if (self.path / "config.yaml").exists() or self._begun:
                self.config()
            if (self.path / "job.json").exists() or self._begun:
                self.job()
        except RunError as problem:
            raise RunError(
                f"{problem}. Nothing else says with which settings and on what data this run was begun: put the file "
                "back, choose another name=, or remove the folder"
            ) from None

    @property
    def _begun(self) -> bool:
        return any(self.path.glob("checkpoints/*.ckpt")) or any(self.path.glob("folds/*/config.yaml"))

    def changed(self, config: Tree, usual: Tree | None = None) -> list[str]:
        """Return the dotted keys in which this run differs from a configuration; :data:`FREE_KEYS` do not count.
        ``auto`` never differs: the run holds the value that was decided. ``usual`` has the defaults of all settings,
        which stand for settings that did not exist when the run was begun."""
        changes = differences(with_defaults(self.config(), usual or {}), config)
        return sorted(key for key, (_, new) in changes.items() if new != "auto" and not key.startswith(FREE_KEYS))

    def require_store(self, fingerprint: str | None) -> None:
        """Raise RunError unless the store is the one that the run was begun with: another, or the same made again with
        other content, may have other clips of the same name."""
        if self.job().store.fingerprint != fingerprint:
            raise RunError(
                f"{self.path} was begun with another store, or its store was made again since: what it learned from "
                "may be tested now. Bring that store back, or train under another name="
            )

    def require_split(self, subjects: dict[str, list[str]]) -> None:
        """Raise RunError unless a configuration splits subjects (split -> sorted pseudonyms) as ``job.json`` records;
        an edited one may test subjects that the training saw."""
        recorded = self.job().subjects
        if moved := [split for split, names in subjects.items() if sorted(recorded.get(split) or names) != names]:
            raise RunError(
                f"{self.path / 'config.yaml'} gives other subjects for {', '.join(moved)} than job.json records, so "
                "that what the model learned from may be tested: its seed, protocol or data were edited. Put the file "
                "back, or train again under another name="
            )

    def require_consent(self) -> None:
        """Raise RunError where the run is quarantined: it learned from a subject whose consent was withdrawn."""
        if (self.path / "QUARANTINED").exists():
            raise RunError(
                f"{self.path} is quarantined: it learned from somebody whose consent was withdrawn since "
                f"(see {self.path / 'QUARANTINED'}). Train again under another name=, or remove the folder"
            )

    def quarantine(self, reason: str) -> None:
        """Mark the run so that it is not opened, resumed or started from again."""
        atomic_write_text(self.path / "QUARANTINED", reason + "\n")

    @property
    def done(self) -> bool:
        """True for a finished run."""
        return (self.path / "DONE").is_file()

    def finish(self) -> None:
        """Write ``DONE``, the last file of a run: the SHA-256 of its best checkpoint; empty for a cross-validation.
        Raises RunError where the consent of a subject that the run learned from was withdrawn meanwhile."""
        self.require_consent()
        best = self.path / "checkpoints" / "best.ckpt"
        atomic_write_text(self.path / "DONE", f"{sha256(best)}  checkpoints/best.ckpt\n" if best.is_file() else "")

    @property
    def predicted(self) -> bool:
        """True once the training is over and its predictions are written; calibration and evaluation may be left."""
        return (self.path / "predictions.parquet").is_file()

    @property
    def figures(self) -> Path:
        """Folder of the run's pictures."""
        return self.path / "figures"

    @property
    def folds(self) -> list[RunDir]:
        """The fold runs of a cross-validation, by name; empty for a single training."""
        return [RunDir(path.parent) for path in sorted(self.path.glob("folds/*/config.yaml"))]

    @property
    def parts(self) -> list[RunDir]:
        """The further trainings that calibrate a cross-fitted run; empty for other runs."""
        return [RunDir(path.parent) for path in sorted(self.path.glob(f"{CROSS_FIT}/*/config.yaml"))]

    def on(self, store: str) -> RunDir:
        """Return the folder of the results of this run's model on another store, by the store's name."""
        return RunDir(self.path / ON / store)

    @property
    def elsewhere(self) -> list[RunDir]:
        """The results on other stores, by name; see ``fer-id evaluate RUN on=STORE``."""
        return [RunDir(path.parent) for path in sorted(self.path.glob(f"{ON}/*/config.yaml"))]

    @property
    def part(self) -> int | None:
        """Number of this run among the parts of a cross-fitted run; None for other runs."""
        return int(self.path.name) if self.path.parent.name == CROSS_FIT and self.path.name.isdigit() else None

    def checkpoint(self, which: str = "best") -> Path:
        """Return the path of ``checkpoints/best.ckpt`` or ``last.ckpt``. Raises RunError: the file does not exist, or
        the run is finished and the file is not the one it finished with."""
        path = self.path / "checkpoints" / f"{which}.ckpt"
        if not path.is_file():
            raise RunError(f"{path}: no such checkpoint; the run did not train this far, or it is a cross-validation")
        recorded = (self.path / "DONE").read_text("utf-8", "replace") if self.done and which == "best" else ""
        if recorded and recorded.partition(" ")[0] != sha256(path):
            raise RunError(
                f"{path} is not the checkpoint that this run finished with (DONE has another SHA-256): it is another "
                "run's, was changed, or is damaged. Put it back, or train again under another name="
            )
        return path

    def config(self) -> Config:
        """Return the whole resolved configuration, ``config.yaml``, without settings that no training has any more."""
        config, _ = read_yaml(self.path / "config.yaml", RunError)
        if isinstance(data := config.get("data"), dict):
            config["data"] = {key: value for key, value in data.items() if key not in RETIRED_KEYS}
        return cast("Config", config)

    def write_config(self, config: Tree) -> None:
        """Write ``config.yaml``."""
        # Not allow_unicode: with it PyYAML turns U+0085 into a space.
        atomic_write_text(self.path / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False))

    def job(self) -> Job:
        """Return ``job.json``: command, versions, commit, seed, store, subjects of each split, parent runs."""
        return read_record(Job, self.path / "job.json")

    def write_job(self, job: Job) -> None:
        """Write ``job.json``."""
        job.write(self.path / "job.json")

    def label_space(self) -> LabelSpace:
        """Return the classes of the run; raise RunError where ``job.json`` does not name them."""
        if (name := self.job().store.label_space) is None:
            raise RunError(f"{self.path / 'job.json'}: store.label_space is missing; train again")
        return get_space(name)

    def metrics(self) -> Metrics:
        """Return the final metrics, ``metrics.json``; raise RunError where the file is missing or damaged."""
        hint = f"`fer-id evaluate {self.path}` makes it again from the predictions"
        return read_record(Metrics, self.path / "metrics.json", hint)

    def write_metrics(self, metrics: Metrics) -> None:
        """Write ``metrics.json``."""
        metrics.write(self.path / "metrics.json")

    def predictions(self) -> pd.DataFrame:
        """Return ``predictions.parquet``: test, inner-validation and cross-fitted calibration clips. Raises RunError:
        missing, damaged, of other test subjects than the run, or with a (clip_id, fold, split) twice."""
        path = self.path / "predictions.parquet"
        hint = f"remove {self.path / 'DONE'} and say the same `fer-id train` command again: it predicts anew, without "
        hint += "training again"
        table = read_parquet(path, RunError, hint, threads=False)  # faster than starting threads for so small a file
        if missing := [key for key in PREDICTION_KEYS if key not in table]:
            raise RunError(f"{path}: columns missing: {', '.join(missing)}")
        if table.duplicated(list(PREDICTION_KEYS)).any():
            raise RunError(f"{path}: {', '.join(PREDICTION_KEYS)} is not unique; a clip was predicted twice")
        self._require_tested(table, hint)
        return table

    def _require_tested(self, table: pd.DataFrame, hint: str) -> None:
        """Raise RunError where predictions are of a test subject that the run does not have, so of another run."""
        recorded = self.job().tested if (self.path / "job.json").exists() else None
        if not recorded or "subject_id" not in table:
            return
        if strangers := sorted({*table["subject_id"][table["split"] == "test"].astype(str)} - recorded):
            raise RunError(
                f"{self.path / 'predictions.parquet'}: tests {cut(strangers[0])} (of {len(strangers)} subjects), whom "
                f"job.json does not: the file is another run's. Put its own back, or {hint}"
            )

    def write_predictions(self, table: pd.DataFrame) -> None:
        """Write ``predictions.parquet`` atomically."""
        atomic_write_bytes(self.path / "predictions.parquet", table.to_parquet(index=False))

    def uploads(self) -> list[dict[str, str]]:
        """Return ``uploads.jsonl``: ``wandb_run`` (its id), ``key``, ``clip_id`` and ``subject_id`` of each picture of
        a real face that was sent to W&B; a withdrawal of consent lists them."""
        path = self.path / "uploads.jsonl"
        return record(list[dict[str, str]], read_json_lines(path, RunError), str(path), RunError)

    def write_uploads(self, pictures: Iterable[Mapping[str, str]]) -> None:
        """Replace ``uploads.jsonl``; without a picture it is empty."""
        atomic_write_text(self.path / "uploads.jsonl", "".join(f"{json.dumps(line)}\n" for line in pictures))

    def note_uploads(self, wandb_run: str, pictures: Sequence[Mapping[str, str]]) -> None:
        """Append pictures that were sent to the W&B run of this id: ``key``, ``clip_id`` and ``subject_id`` of each."""
        if pictures:
            self.write_uploads([*self.uploads(), *({"wandb_run": wandb_run, **picture} for picture in pictures)])

    def learning_curve(self) -> pd.DataFrame:
        """Return ``metrics.jsonl``, a row per epoch (see :func:`by_epoch`); empty without the file. A last line cut by
        a crash is dropped. Raises RunError where the file cannot be read, or another line is not a JSON object of
        numbers."""
        path = self.path / "metrics.jsonl"
        lines = read_json_lines(path, RunError)
        return pd.DataFrame(by_epoch(record(list[dict[str, Number | None]], lines, str(path), RunError)))

    def forget_test_line(self) -> None:
        """Remove the numbers of ``trainer.test`` from ``metrics.jsonl``, when a tested subject was withdrawn."""
        path = self.path / "metrics.jsonl"
        lines = read_json_lines(path, RunError)
        if left := [line for line in lines if is_of_training(line)]:
            atomic_write_text(path, "".join(f"{json.dumps(line)}\n" for line in left))
        else:
            path.unlink(missing_ok=True)


def is_of_training(line: Mapping[str, object]) -> bool:
    """Return whether a line of ``metrics.jsonl`` is of a training; the line of a test has neither epoch nor step."""
    return "epoch" in line or "step" in line


def by_epoch(lines: Iterable[Mapping[str, float | None]]) -> list[dict[str, float | None]]:
    """Return a row per epoch with all numbers of its lines, the last one of a name; lines of no epoch are left out."""
    rows = dict[float, dict[str, float | None]]()
    for line in lines:
        if (epoch := line.get("epoch")) is not None:
            rows.setdefault(epoch, {}).update(line)
    return list(rows.values())
