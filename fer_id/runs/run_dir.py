"""RunDir: the one folder that every training leaves behind, and the record that W&B only mirrors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from fer_id.errors import RunError, cut
from fer_id.files import atomic_write_bytes, atomic_write_text, locked, read_json_lines, sweep, write_json
from fer_id.parquet import read_parquet
from fer_id.runs.configs import FREE_KEYS, differences, with_defaults
from fer_id.runs.records import Job, Metrics, read_record
from fer_id.shapes import Number, record
from fer_id.yaml_text import read_yaml

PREDICTION_KEYS = ("clip_id", "fold", "split")
"""What makes a row of ``predictions.parquet`` unique."""

LEARNED_FROM = ("train", "validation", "unlabelled", "source")
"""Lists of ``subjects`` in ``job.json`` whose members a model has seen; the others it was only judged on."""

CROSS_FIT = "crossfit"
"""Folder in a run of the trainings that predict its calibration children; they are told apart by their number."""


class RunDir:
    """A run's folder; its files are those that the methods below read and write, and ``DONE``, written last.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @classmethod
    @contextmanager
    def claim(
        cls,
        path: str | Path,
        config: dict[str, Any],
        job: dict[str, Any],
        usual: dict[str, Any] | None = None,
        changeable: tuple[str, ...] = (),
    ) -> Iterator[RunDir]:
        """As :meth:`create`, for this process alone until the block ends; what killed ones left half-written goes.

        Raises:
            RunError: as :meth:`create`, or another process works on the run.
        """
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, RunError):
            run = cls.create(folder, config, job, usual, changeable)
            sweep(folder)
            yield run

    @classmethod
    def create(
        cls,
        path: str | Path,
        config: dict[str, Any],
        job: dict[str, Any],
        usual: dict[str, Any] | None = None,
        changeable: tuple[str, ...] = (),
    ) -> RunDir:
        """Makes the folder, or takes an unfinished one of the same configuration up again (see :meth:`changed`).

        Args:
            path: the folder.
            config, usual: as :meth:`changed` has them.
            job: what ``job.json`` is to say.
            changeable: dotted keys that may differ this time; ``job.json`` then says so under ``resumed_with``.

        Raises:
            RunError: the folder holds a finished run, or one of another configuration or on other data.
        """
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
            run.require_store((job.get("store") or {}).get("fingerprint"))
            job = job | run._resumed_with(changed, config)
        for folder in ("checkpoints", "figures"):
            (run.path / folder).mkdir(parents=True, exist_ok=True)
        run.write_config(config)
        run.write_job(job)
        return run

    @classmethod
    def open(cls, path: str | Path, *, unfinished: bool = False) -> RunDir:
        """A run that exists.

        Args:
            path: the folder.
            unfinished: accept one without ``DONE``.

        Raises:
            RunError: no such run, or not finished.
        """
        run = cls(path)
        if not (run.path / "config.yaml").is_file():
            raise RunError(f"{path} is not a run (no config.yaml); `fer-id train` makes one")
        run.require_consent()
        if not run.done and not unfinished:
            raise RunError(f"{path} is not finished (no DONE); the same `fer-id train` command resumes it")
        return run

    def require_whole(self) -> None:
        """Checks that what says how an unfinished run was begun is there, if anything was trained.

        Raises:
            RunError: ``config.yaml`` or ``job.json`` is missing or damaged.
        """
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
        """Whether there is anything that was trained."""
        return any(self.path.glob("checkpoints/*.ckpt")) or any(self.path.glob("folds/*/config.yaml"))

    def changed(self, config: dict[str, Any], usual: dict[str, Any] | None = None) -> list[str]:
        """Dotted keys in which this run differs from a configuration, of those that decide what is learned.

        ``auto`` differs from nothing: the run holds what it was decided to be.

        Args:
            config: what is asked for.
            usual: defaults of every setting: the run was trained with that of a setting which did not exist yet.
        """
        found = differences(with_defaults(self.config(), usual or {}), config)
        return sorted(key for key, (_, asked) in found.items() if asked != "auto" and not key.startswith(FREE_KEYS))

    def _resumed_with(self, changed: list[str], config: dict[str, Any]) -> dict[str, Any]:
        """``resumed_with`` of ``job.json``: after how many epochs which settings were changed to what; {} for none."""
        entries = self.job().get("resumed_with") or []
        if changed:
            found = differences(self.config(), config)
            settings = {key: {"before": found[key][0], "after": found[key][1]} for key in changed}
            entries = [*entries, {"epochs": len(self.learning_curve()), "settings": settings}]
        return {"resumed_with": entries} if entries else {}

    def require_store(self, fingerprint: str | None) -> None:
        """Checks that a store is the one this run was begun with: another has other clips under the same names.

        Raises:
            RunError: it is another, or was made again with other content.
        """
        if (self.job().get("store") or {}).get("fingerprint") != fingerprint:
            raise RunError(
                f"{self.path} was begun with another store, or its store was made again since: what it learned from "
                "may be tested now. Bring that store back, or train under another name="
            )

    def require_split(self, subjects: dict[str, list[str]]) -> None:
        """Checks that a configuration divides subjects as this run was trained: an edited one may test those it saw.

        Args:
            subjects: split -> pseudonyms, sorted.

        Raises:
            RunError: a split has other subjects than ``job.json`` records.
        """
        recorded = self.job().get("subjects") or {}
        if moved := [split for split, names in subjects.items() if sorted(recorded.get(split) or names) != names]:
            raise RunError(
                f"{self.path / 'config.yaml'} gives other subjects for {', '.join(moved)} than job.json records, so "
                "that what the model learned from may be tested: its seed, protocol or data were edited. Put the file "
                "back, or train again under another name="
            )

    def require_consent(self) -> None:
        """Checks that the run is not quarantined.

        Raises:
            RunError: it learned from somebody who withdrew.
        """
        if (self.path / "QUARANTINED").exists():
            raise RunError(
                f"{self.path} is quarantined: it learned from somebody whose consent was withdrawn since "
                f"(see {self.path / 'QUARANTINED'}). Train again under another name=, or remove the folder"
            )

    def quarantine(self, reason: str) -> None:
        """Keeps the run from being opened, resumed or started from again."""
        atomic_write_text(self.path / "QUARANTINED", reason + "\n")

    @property
    def done(self) -> bool:
        """Whether the run is finished."""
        return (self.path / "DONE").is_file()

    def finish(self) -> None:
        """Marks the run finished: the last thing written.

        Raises:
            RunError: it learned from somebody who withdrew meanwhile.
        """
        self.require_consent()
        atomic_write_text(self.path / "DONE", "")

    @property
    def predicted(self) -> bool:
        """Whether its training is over, and what is left is to calibrate and to judge it."""
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
        """The further trainings that a cross-fitted run is calibrated by; empty for most."""
        return [RunDir(path.parent) for path in sorted(self.path.glob(f"{CROSS_FIT}/*/config.yaml"))]

    @property
    def part(self) -> int | None:
        """Which part of a cross-fitted run this is; None for any other."""
        return int(self.path.name) if self.path.parent.name == CROSS_FIT and self.path.name.isdigit() else None

    def checkpoint(self, which: str = "best") -> Path:
        """``checkpoints/best.ckpt`` or ``last.ckpt``.

        Raises:
            RunError: it is not there.
        """
        path = self.path / "checkpoints" / f"{which}.ckpt"
        if not path.is_file():
            raise RunError(f"{path}: no such checkpoint; the run did not train this far, or it is a cross-validation")
        return path

    def config(self) -> dict[str, Any]:
        """The whole resolved configuration."""
        return read_yaml(self.path / "config.yaml", RunError)[0]

    def write_config(self, config: dict[str, Any]) -> None:
        """Writes ``config.yaml``."""
        atomic_write_text(self.path / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))

    def job(self) -> dict[str, Any]:
        """Command, versions, commit, seed, store fingerprint, subjects of each split, parent runs."""
        return read_record(Job, self.path / "job.json")

    def write_job(self, job: dict[str, Any]) -> None:
        """Writes ``job.json``."""
        write_json(self.path / "job.json", job)

    def metrics(self) -> dict[str, Any]:
        """The final numbers, ``metrics.json``.

        Raises:
            RunError: missing or damaged.
        """
        hint = f"`fer-id evaluate {self.path}` makes it again from the predictions"
        return read_record(Metrics, self.path / "metrics.json", hint)

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Writes ``metrics.json``."""
        write_json(self.path / "metrics.json", metrics)

    def predictions(self) -> pd.DataFrame:
        """``predictions.parquet``: test, inner-validation and cross-fitted calibration clips.

        Raises:
            RunError: missing, damaged, or a (clip_id, fold, split) stands twice.
        """
        path = self.path / "predictions.parquet"
        hint = f"remove {self.path / 'DONE'} and say the same `fer-id train` command again: it predicts anew, without "
        hint += "training again"
        table = read_parquet(path, RunError, hint, threads=False)  # so small a file is read before threads have begun
        if missing := [key for key in PREDICTION_KEYS if key not in table]:
            raise RunError(f"{path}: columns missing: {', '.join(missing)}")
        if table.duplicated(list(PREDICTION_KEYS)).any():
            raise RunError(f"{path}: {', '.join(PREDICTION_KEYS)} is not unique; a clip was predicted twice")
        self._require_tested(table, hint)
        return table

    def _require_tested(self, table: pd.DataFrame, hint: str) -> None:
        """Raise RunError where predictions test a subject that the run did not: they are another run's."""
        recorded = (self.job().get("subjects") or {}).get("test") if (self.path / "job.json").exists() else None
        if not recorded or "subject_id" not in table:
            return
        if strangers := sorted({*table["subject_id"][table["split"] == "test"].astype(str)} - {*recorded}):
            raise RunError(
                f"{self.path / 'predictions.parquet'}: tests {cut(strangers[0])} (of {len(strangers)} subjects), whom "
                f"job.json does not: the file is another run's. Put its own back, or {hint}"
            )

    def write_predictions(self, table: pd.DataFrame) -> None:
        """Writes ``predictions.parquet`` at once or not at all."""
        atomic_write_bytes(self.path / "predictions.parquet", table.to_parquet(index=False))

    def learning_curve(self) -> pd.DataFrame:
        """``metrics.jsonl``, a row per epoch; empty where nothing was logged. A last line cut by a crash is dropped.

        Raises:
            RunError: it cannot be read, or another line is no JSON object.
        """
        path = self.path / "metrics.jsonl"
        lines: list[dict[str, Any]] = read_json_lines(path, RunError)
        return pd.DataFrame(record(list[dict[str, Number | None]], lines, str(path), RunError))
