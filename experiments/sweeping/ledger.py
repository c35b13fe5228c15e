"""The folder of a study: what was asked for, and one line for everything that happened to a trial."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict

from experiments.sweeping.parameters import Value
from fer_id.errors import RunError, quoted
from fer_id.files import atomic_write_text, plain, read_json, read_json_lines, write_json
from fer_id.inputs import is_file_name
from fer_id.shapes import Count, Number, Text, checked

FORMAT = 1
SETTINGS, TRIALS = "sweep.json", "trials.jsonl"
STATUSES = SUGGESTED, FINISHED, STOPPED, FAILED = "suggested", "done", "stopped", "failed"
RUNNING, INTERRUPTED, OVER = "running", "interrupted", "finished"


class SettingsFile(BaseModel):
    """``sweep.json`` of a study; keys that only its own version reads are left as they are."""

    model_config = ConfigDict(extra="allow")

    format: Count | None = None
    state: Text | None = None
    overrides: list[Text] = []
    run_cap: Count | None = None
    search_seed: Count = 0
    seconds: Number = 0.0


class TrialLine(BaseModel):
    """A line of ``trials.jsonl``."""

    number: Count
    fold: Text | None
    job: Text
    parameters: dict[str, bool | int | float | str | list[Any]]
    status: Literal["suggested", "done", "stopped", "failed"]
    objective: Number | None
    epochs: Count | None
    seconds: Number | None
    reason: Text | None


@dataclass(frozen=True)
class Trial:
    """One configuration, in one fold.

    Attributes:
        number: from 1, in every fold for itself.
        fold: None where there is one split alone.
        job: hash of the resolved configuration; empty where it does not resolve.
        parameters: what was chosen.
        status: ``suggested`` (begun or about to), ``done``, ``stopped`` (early, by ASHA), ``failed``.
        objective: the best epoch's value on inner validation; None where there is none.
        epochs, seconds: trained.
        reason: why it failed.
    """

    number: int
    fold: str | None
    job: str
    parameters: dict[str, Value]
    status: str = SUGGESTED
    objective: float | None = None
    epochs: int | None = None
    seconds: float | None = None
    reason: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether a resumed study leaves it as it is; one that failed is tried again, unless it has no job."""
        return self.status in (FINISHED, STOPPED) or not self.job

    @property
    def title(self) -> str:
        """For people."""
        return f"trial {self.number}" + (f" of fold {self.fold}" if self.fold else "")


@dataclass
class Ledger:
    """``sweep.yaml``, ``sweep.json`` and ``trials.jsonl`` of a study.

    Attributes:
        folder: of the study.
        trials: by (fold, number), as they stand now.
    """

    folder: Path
    trials: dict[tuple[str | None, int], Trial] = field(default_factory=dict)

    @classmethod
    def create(cls, folder: Path, text: str, settings: dict[str, Any]) -> Ledger:
        """A new study; ``sweep.json`` is written last and makes it one."""
        atomic_write_text(folder / "sweep.yaml", text)
        ledger = cls(folder)
        ledger.write({"format": FORMAT, "state": RUNNING, **settings})
        return ledger

    @classmethod
    def open(cls, folder: Path) -> Ledger:
        """A study that was begun; nothing in its folder is changed, so whoever only looks may do so at any time.

        Raises:
            RunError: no study, one of another version of fer_id, or a damaged one.
        """
        if not (folder / SETTINGS).is_file():
            raise RunError(f"{folder} is no study of a sweep (no sweep.json); `fer-id sweep run FILE` makes one")
        ledger = cls(folder)
        found = ledger.settings().get("format")
        if found != FORMAT:
            raise RunError(
                f"{folder}: sweep.json has format {found}, this version of fer_id reads {FORMAT}. Resume it with the "
                "version that began it, or run the file again under another name="
            )
        path = folder / TRIALS
        trials = [_trial(row, f"{path}, line {n}") for n, row in enumerate(read_json_lines(path, RunError), start=1)]
        ledger.trials = {(one.fold, one.number): one for one in trials}
        return ledger

    def settings(self) -> dict[str, Any]:
        """``sweep.json``."""
        path = self.folder / SETTINGS
        hint = "Bring it back, or run the file again under another name=."
        return checked(SettingsFile, read_json(path, RunError), f"{path}: damaged", RunError, hint)

    def write(self, settings: dict[str, Any]) -> None:
        """Writes ``sweep.json``."""
        write_json(self.folder / SETTINGS, settings)

    def folder_of(self, trial: Trial) -> Path:
        """The RunDir of a trial."""
        return self.folder / place(trial.fold, trial.job)

    def note(self, trial: Trial) -> None:
        """Appends what happened to a trial; on the disk when this returns. Only who holds the study's lock may."""
        self.trials[trial.fold, trial.number] = trial
        with (self.folder / TRIALS).open("ab+") as out:
            _cut(out)
            out.write(json.dumps(plain(asdict(trial)), ensure_ascii=False).encode() + b"\n")
            out.flush()
            os.fsync(out.fileno())

    def of(self, fold: str | None) -> list[Trial]:
        """The trials of a fold by number."""
        return sorted((one for one in self.trials.values() if one.fold == fold), key=lambda one: one.number)


def place(fold: str | None, job: str) -> str:
    """Of a trial's RunDir, inside the folder of the study."""
    return job if fold is None else f"folds/{fold}/{job}"


def _cut(out: BinaryIO) -> None:
    """Takes off a last line that a power loss left without its end."""
    end = out.seek(0, os.SEEK_END)
    if end == 0:
        return
    out.seek(end - 1)
    if out.read(1) != b"\n":
        out.seek(0)
        out.truncate(out.read().rfind(b"\n") + 1)


def _trial(row: dict[str, Any], where: str) -> Trial:
    """A trial from its line.

    Raises:
        RunError: the line is none of a trial.
    """
    hint = "Mend or remove that line, the runs themselves are whole."
    checked(TrialLine, row, f"{where}: damaged (no record of a trial)", RunError, hint)
    if led := [name for name in (row["fold"], row["job"]) if name and not is_file_name(name)]:
        raise RunError(f"{where}: damaged (no record of a trial): {quoted(led[0])} is no name of a folder. {hint}")
    parameters = {key: tuple(one) if isinstance(one, list) else one for key, one in row["parameters"].items()}
    return Trial(**{one.name: row[one.name] for one in fields(Trial)} | {"parameters": parameters})
