"""The folder of a study: what was asked for, and one line for everything that happened to a trial."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from experiments.sweeping.parameters import Value
from fer_id.errors import RunError
from fer_id.files import atomic_write_text, plain, read_json, write_json

FORMAT = 1
SUGGESTED, FINISHED, STOPPED, FAILED = "suggested", "done", "stopped", "failed"
RUNNING, INTERRUPTED, OVER = "running", "interrupted", "finished"


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
        """A study that was begun.

        Raises:
            RunError: no study, one of another version of fer_id, or a damaged one.
        """
        if not (folder / "sweep.json").is_file():
            raise RunError(f"{folder} is no study of a sweep (no sweep.json); `fer-id sweep run FILE` makes one")
        ledger = cls(folder)
        found = ledger.settings().get("format")
        if found != FORMAT:
            raise RunError(
                f"{folder}: sweep.json has format {found}, this version of fer_id reads {FORMAT}. Resume it with the "
                "version that began it, or run the file again under another name="
            )
        ledger.trials = {(one.fold, one.number): one for one in ledger._lines()}
        return ledger

    def settings(self) -> dict[str, Any]:
        """``sweep.json``."""
        return read_json(self.folder / "sweep.json", RunError)

    def write(self, settings: dict[str, Any]) -> None:
        """Writes ``sweep.json``."""
        write_json(self.folder / "sweep.json", settings)

    def note(self, trial: Trial) -> None:
        """Appends what happened to a trial; on the disk when this returns."""
        self.trials[trial.fold, trial.number] = trial
        with (self.folder / "trials.jsonl").open("a", encoding="utf-8") as out:
            out.write(json.dumps(plain(asdict(trial)), ensure_ascii=False) + "\n")
            out.flush()
            os.fsync(out.fileno())

    def of(self, fold: str | None) -> list[Trial]:
        """The trials of a fold by number."""
        return sorted((one for one in self.trials.values() if one.fold == fold), key=lambda one: one.number)

    def _lines(self) -> list[Trial]:
        """Every line; the last one may have been cut by a power loss, and is taken off the file then."""
        path = self.folder / "trials.jsonl"
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):
            atomic_write_text(path, "".join(lines[:-1]))
            lines = lines[:-1]
        return [self._trial(line, number) for number, line in enumerate(lines, start=1)]

    def _trial(self, line: str, number: int) -> Trial:
        try:
            row = json.loads(line)
            known = {name: row[name] for name in (one.name for one in fields(Trial))}
        except (ValueError, KeyError, TypeError) as problem:
            raise RunError(
                f"{self.folder / 'trials.jsonl'}, line {number}: damaged ({problem}); mend or remove that line, "
                "the runs themselves are whole"
            ) from None
        parameters = {key: tuple(one) if isinstance(one, list) else one for key, one in known["parameters"].items()}
        return Trial(**{**known, "parameters": parameters})
