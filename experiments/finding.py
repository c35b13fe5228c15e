"""Which finished runs the paths of a command line stand for: runs, folders of runs, and the studies of sweeps.

A study is read as ``fer-id sweep`` writes it: ``sweep.json`` (its format and settings), ``trials.jsonl`` (a line for
each event of a trial) and the trials' RunDirs below, of a cross-validation in ``folds/<fold>/`` with the pooled winners
in ``selected/``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fer_id.errors import FerIdError, Problems, RunError
from fer_id.files import read_json, read_json_lines
from fer_id.reporting.compare import LeftOut
from fer_id.runs import RunDir

STUDY, TRIALS, SELECTED = "sweep.json", "trials.jsonl", "selected"
FORMAT = 1
REFUSE, SKIP = "refuse", "skip"
_LOST = ("stopped", "failed")
_DEPTH = 3  # folders below the one that was named


@dataclass
class Found:
    """What was found.

    Attributes:
        runs: finished ones, in the order of the paths; of a study in the order of its trials.
        names: what a trial is called, by resolved folder.
        left_out: what is not compared, and why.
        swept: settings that a study varied.
    """

    runs: list[RunDir] = field(default_factory=list)
    names: dict[Path, str] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    swept: list[str] = field(default_factory=list)


def find_runs(paths: Sequence[str], unfinished: str = REFUSE) -> Found:
    """The finished runs below some paths; one that is named twice counts once.

    Args:
        paths: runs, studies, or folders that hold them, up to three folders deep.
        unfinished: what to do with unfinished and quarantined runs: ``refuse``, or ``skip``, which tells of them.
            Stopped and failed trials of a study are always left out.

    Raises:
        RunError: with every problem of every path.
    """
    problems, found = Problems("compare"), Found()
    several = len(paths) > 1
    seen: set[Path] = set()
    for path in dict.fromkeys(map(Path, paths)):
        places = list(_below(path, _DEPTH))
        if not places:
            what = "holds no run" if path.is_dir() else "no such folder"
            problems.add(f"{path}: {what}; `fer-id train` makes one")
        for place in places:
            if place.resolve() in seen:
                continue
            seen.add(place.resolve())
            if (place / STUDY).is_file():
                _add_study(place, found, problems, unfinished, several or len(places) > 1)
            else:
                _add_run(RunDir(place), found, problems, unfinished)
    hint = "unfinished=skip leaves unfinished and quarantined runs out, and says so." if unfinished == REFUSE else ""
    problems.raise_if_any(RunError, hint)
    if not found.runs:
        raise RunError(f"compare: no finished run ({len(found.left_out)} left out)")
    return found


def _below(path: Path, depth: int) -> Iterator[Path]:
    """The runs and studies in a folder, or it itself where it is one; never what lies inside of them."""
    if any((path / name).is_file() for name in (STUDY, "config.yaml", "job.json", "DONE")):
        yield path
    elif depth and path.is_dir():
        for folder in sorted(path.iterdir()):
            if folder.is_dir() and not folder.name.startswith("."):
                yield from _below(folder, depth - 1)


def _add_run(run: RunDir, found: Found, problems: Problems, unfinished: str, name: str | None = None) -> None:
    try:
        found.runs.append(RunDir.open(run.path))
    except RunError as error:
        quarantined = (run.path / "QUARANTINED").exists()
        if unfinished == REFUSE or not (quarantined or (run.path / "config.yaml").is_file()):
            problems.add(str(error))
        else:
            status = "quarantined" if quarantined else "unfinished"
            found.left_out.append(LeftOut(name or str(run.path), status, _short(error)))
        return
    if name is not None:
        found.names[run.path.resolve()] = name


def _short(error: FerIdError) -> str:
    return str(error).partition("\n")[0]


def _add_study(path: Path, found: Found, problems: Problems, unfinished: str, named: bool) -> None:
    """The finished trials of a study, and of a cross-validation the pooled winners first.

    Args:
        path: its folder.
        named: whether its name stands before those of its trials, as there are other runs.
    """
    try:
        swept, trials = _read_study(path)
    except RunError as error:
        problems.add(str(error))
        return
    found.swept += [key for key in swept if key not in found.swept]
    prefix = f"{path.name}: " if named else ""
    if (path / SELECTED / "config.yaml").is_file():
        _add_run(RunDir(path / SELECTED), found, problems, unfinished, f"{prefix}{SELECTED}")
    before = len(found.runs)
    for trial in trials:
        run = RunDir(_folder(path, trial))
        name = prefix + _name(trial)
        if trial["status"] in _LOST or not run.done:
            status = trial["status"] if trial["status"] in _LOST else "unfinished"
            if trial["status"] == "done":
                problems.add(f"{run.path} is not finished (no DONE), though {path / TRIALS} calls it done")
                continue
            found.left_out.append(LeftOut(name, status, str(trial.get("reason") or "")))
        else:
            _add_run(run, found, problems, unfinished, name)
    if len(found.runs) == before and not any(str(path) in problem for problem in problems.found):
        problems.add(f"{path}: none of its {len(trials)} trials is finished; `fer-id sweep resume {path}` goes on")


def _read_study(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """The settings it varies, and the last event of each trial in the order of their numbers.

    Raises:
        RunError: a file is missing or damaged, or of another version.
    """
    study = read_json(path / STUDY, RunError)
    if study.get("format") != FORMAT:
        raise RunError(
            f"{path / STUDY}: format {study.get('format')!r}, and this version reads {FORMAT}; name the trials' folders"
        )
    if not (path / TRIALS).is_file():
        raise RunError(f"{path / TRIALS}: no such file; a study keeps its trials there")
    last: dict[tuple[str, str], dict[str, Any]] = {}
    for number, event in enumerate(read_json_lines(path / TRIALS, RunError), start=1):
        if not isinstance(event.get("job"), str) or not isinstance(event.get("status"), str):
            raise RunError(f"{path / TRIALS}: line {number} names no job and status of a trial")
        key = str(event.get("fold") or ""), event["job"]
        last[key] = {"number": event.get("number")} | last.get(key, {}) | event
    varied = dict.fromkeys(key for trial in last.values() for key in trial.get("parameters") or {})
    return list(varied), list(last.values())


def _folder(path: Path, trial: dict[str, Any]) -> Path:
    parts = ["folds", str(trial["fold"])] if trial.get("fold") else []
    return path.joinpath(*parts, str(trial["job"]))


def _name(trial: dict[str, Any]) -> str:
    fold = f"{trial['fold']}, " if trial.get("fold") else ""
    return f"{fold}trial {trial['number']}" if trial.get("number") is not None else f"{fold}{trial['job']}"
