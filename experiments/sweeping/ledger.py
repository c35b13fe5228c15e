"""Record of a study: settings (``sweep.yaml``, ``sweep.json``) and events of its trials (``trials.jsonl``)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, BinaryIO

from pydantic import BaseModel, ConfigDict, Field

from experiments.sweeping.parameters import Value
from fer_id.errors import RunError, quoted
from fer_id.files import atomic_write_text, plain, read_json, read_json_lines, write_json
from fer_id.inputs import is_file_name
from fer_id.shapes import Count, Number, Text, record

FORMAT = 1
SETTINGS, TRIALS = "sweep.json", "trials.jsonl"
SELECTED = "selected"  # folder of the cross-validation of the folds' winners
STATUSES = SUGGESTED, FINISHED, STOPPED, FAILED = "suggested", "done", "stopped", "failed"
RUNNING, INTERRUPTED, OVER = "running", "interrupted", "finished"


class SettingsFile(BaseModel):
    """Content of a study's ``sweep.json``; unknown keys are left as they are."""

    model_config = ConfigDict(extra="allow")

    format: Count | None = None
    state: Text | None = None
    overrides: list[Text] = []
    run_cap: Count | None = None
    search_seed: Count = 0
    seconds: Number = 0.0


@dataclass(frozen=True)
class Trial:
    """A configuration in an outer fold (None: a single split), with the values chosen by the search, and its outcome:
    ``suggested`` (begun or about to), ``done``, ``stopped`` (early, by ASHA), ``failed``."""

    number: Count  # from 1 within the fold
    fold: Text | None
    job: Text  # hash of the resolved configuration; empty where it does not resolve
    parameters: dict[str, Value]
    status: Annotated[str, Field(pattern=f"^({'|'.join(STATUSES)})$")] = SUGGESTED
    objective: Number | None = None  # the best epoch's value on inner validation; None where the trial has none
    epochs: Count | None = None
    seconds: Number | None = None
    reason: Text | None = None

    @property
    def is_over(self) -> bool:
        """True where a resumed study leaves the trial as it is; a failed trial is repeated, unless it has no job."""
        return self.status in (FINISHED, STOPPED) or not self.job

    @property
    def why(self) -> str:
        """First line of the reason of a failure."""
        return ((self.reason or "").strip().splitlines() or ["no reason"])[0]

    @property
    def title(self) -> str:
        """Name of the trial in messages."""
        return f"trial {self.number}" + (f" of fold {self.fold}" if self.fold else "")


@dataclass
class Ledger:
    """``sweep.yaml``, ``sweep.json`` and ``trials.jsonl`` of a study, and each trial's state by (fold, number)."""

    folder: Path
    trials: dict[tuple[str | None, int], Trial] = field(default_factory=dict)

    @classmethod
    def create(cls, folder: Path, text: str, settings: Mapping[str, object]) -> Ledger:
        """Begin a new study; ``sweep.json`` is written last, since it marks the folder as a study."""
        atomic_write_text(folder / "sweep.yaml", text)
        write_json(folder / SETTINGS, {"format": FORMAT, "state": RUNNING, **settings})
        return cls(folder)

    @classmethod
    def open(cls, folder: Path) -> Ledger:
        """Open the record of an existing study without changing its folder, so that reading is safe at any time; raise
        RunError for a folder that is no study, a study of another version of fer_id, or a damaged one."""
        if not (folder / SETTINGS).is_file():
            raise RunError(f"{folder} is no study of a sweep (no sweep.json); `fer-id sweep run FILE` makes one")
        ledger = cls(folder)
        if (version := ledger.settings().format) != FORMAT:
            raise RunError(
                f"{folder}: sweep.json has format {version}, this version of fer_id reads {FORMAT}. Resume it with the "
                "version that began it, or run the file again under another name="
            )
        for number, row in enumerate(read_json_lines(folder / TRIALS, RunError), start=1):
            trial = _trial(row, f"{folder / TRIALS}, line {number}")
            ledger.trials[trial.fold, trial.number] = trial
        return ledger

    def settings(self) -> SettingsFile:
        """Read ``sweep.json``."""
        path = self.folder / SETTINGS
        hint = "Bring it back, or run the file again under another name=."
        return record(SettingsFile, read_json(path, RunError), f"{path}: damaged", RunError, hint)

    def update(self, **changes: object) -> None:
        """Change some of the settings in ``sweep.json``."""
        path = self.folder / SETTINGS
        write_json(path, read_json(path, RunError) | changes)

    def folder_of(self, trial: Trial) -> Path:
        """Return the folder (RunDir) of a trial."""
        return self.folder / place(trial.fold, trial.job)

    def note(self, trial: Trial) -> None:
        """Append the state of a trial and flush it to disk. Only the process that holds the study's lock may do so."""
        self.trials[trial.fold, trial.number] = trial
        with (self.folder / TRIALS).open("ab+") as out:
            _cut(out)
            out.write(json.dumps(plain(asdict(trial)), ensure_ascii=False).encode() + b"\n")
            out.flush()
            os.fsync(out.fileno())

    def of(self, fold: str | None) -> list[Trial]:
        """Return the trials of a fold, ordered by number."""
        return sorted((trial for trial in self.trials.values() if trial.fold == fold), key=lambda trial: trial.number)


def place(fold: str | None, job: str) -> str:
    """Return the folder of a trial's run, relative to the folder of the study."""
    return job if fold is None else f"folds/{fold}/{job}"


def _cut(out: BinaryIO) -> None:
    """Remove an incomplete last line, as a power loss leaves it."""
    out.seek(0)
    out.truncate(out.read().rfind(b"\n") + 1)


def _trial(row: Mapping[str, object], where: str) -> Trial:
    """Return the trial that a line of ``trials.jsonl`` records; raise RunError where it records none."""
    hint = "Mend or remove that line, the runs themselves are whole."
    damaged = f"{where}: damaged (no record of a trial)"
    if missing := [attribute.name for attribute in fields(Trial) if attribute.name not in row]:
        raise RunError(f"{damaged}: {', '.join(missing)} is missing. {hint}")
    trial = record(Trial, row, damaged, RunError, hint)
    if unsafe := [name for name in (trial.fold, trial.job) if name and not is_file_name(name)]:
        raise RunError(f"{damaged}: {quoted(unsafe[0])} is no name of a folder. {hint}")
    return trial
