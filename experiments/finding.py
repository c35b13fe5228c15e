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

from fer_id.errors import Problems, RunError
from fer_id.files import read_json, read_json_lines
from fer_id.reporting.compare import LeftOut
from fer_id.runs import RunDir

STUDY, TRIALS, SELECTED = "sweep.json", "trials.jsonl", "selected"
FORMAT = 1
REFUSE, SKIP = "refuse", "skip"
DONE, _LOST = "done", ("stopped", "failed")
_DEPTH = 3  # folders below the one that was named


@dataclass
class Found:
    """What was found.

    Attributes:
        by_path: finished runs by resolved folder, in the order of the paths; of a study in the order of its trials.
        names: what a trial is called, by resolved folder.
        left_out: what is not compared, and why.
        swept: settings that a study varied.
    """

    by_path: dict[Path, RunDir] = field(default_factory=dict)
    names: dict[Path, str] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    swept: list[str] = field(default_factory=list)

    @property
    def runs(self) -> list[RunDir]:
        """The finished runs in their order."""
        return list(self.by_path.values())


def find_runs(
    paths: Sequence[str], problems: Problems, reference: str | None = None, unfinished: str = REFUSE
) -> Found:
    """The finished runs below some paths; one that is named twice counts once.

    Args:
        paths: runs, studies, or folders that hold them, up to three folders deep.
        problems: takes everything that is wrong with them.
        reference: the run that comes first, among these or not; None: the first found.
        unfinished: what to do with unfinished and quarantined runs: ``refuse``, or ``skip``, which tells of them.
            Stopped and failed trials of a study are always left out.
    """
    found = Found()
    if reference is not None:  # what every difference is to: it is one run, and never left out
        _add_run(RunDir(reference), found, problems, REFUSE)
    places = {path: list(_below(path, _DEPTH)) for path in dict.fromkeys(map(Path, paths))}
    several = sum(map(len, places.values())) > 1
    for path, below in places.items():
        if not below:
            problems.add(f"{path}: {_nothing(path)}; `fer-id train` makes a run")
        for place in below:
            if (place / STUDY).is_file():
                _add_study(place, found, problems, unfinished, several)
            else:
                _add_run(RunDir(place), found, problems, unfinished)
    if not found.runs and not len(problems):
        problems.add(f"no finished run is named; {len(found.left_out)} are left out")
    return found


def _nothing(path: Path) -> str:
    if path.is_dir():
        return "holds no run"
    return "is a file, not the folder of a run" if path.exists() else "no such folder"


def _below(path: Path, depth: int) -> Iterator[Path]:
    """The runs and studies in a folder, or it itself where it is one; never what lies inside of them."""
    if any((path / name).is_file() for name in (STUDY, "config.yaml", "job.json", "DONE")):
        yield path
    elif depth and path.is_dir():
        for folder in sorted(path.iterdir()):
            if folder.is_dir() and not folder.name.startswith("."):
                yield from _below(folder, depth - 1)


def _add_run(run: RunDir, found: Found, problems: Problems, unfinished: str, name: str | None = None) -> None:
    """A run that is finished, or what is wrong with it."""
    place = run.path.resolve()
    if name is not None:
        found.names[place] = name
    if place in found.by_path:
        return
    try:
        found.by_path[place] = RunDir.open(run.path)
    except RunError as error:
        quarantined, begun = (run.path / "QUARANTINED").exists(), (run.path / "config.yaml").is_file()
        if unfinished == SKIP and (quarantined or begun):
            status = "quarantined" if quarantined else "unfinished"
            found.left_out.append(LeftOut(name or str(run.path), status, str(error)))
        else:
            problems.add(f"{error}{'; unfinished=skip leaves it out' if quarantined or begun else ''}")


def _add_study(path: Path, found: Found, problems: Problems, unfinished: str, named: bool) -> None:
    """The finished trials of a study, and of a cross-validation the pooled winners first.

    Args:
        path: its folder.
        found, problems, unfinished: as of :func:`find_runs`.
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
    finished = 0
    for trial in trials:
        run, name, status = RunDir(_folder(path, trial)), prefix + _name(trial), trial["status"]
        if status not in _LOST and (run.done or status == DONE):
            finished += 1
            _add_run(run, found, problems, unfinished, name)
        else:
            status = status if status in _LOST else "unfinished"
            found.left_out.append(LeftOut(name, status, str(trial.get("reason") or "")))
    if not finished:
        problems.add(f"{path}: none of its {len(trials)} trials is finished; `fer-id sweep resume` goes on with it")


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
    last: dict[tuple[str, Any], dict[str, Any]] = {}
    for number, event in enumerate(read_json_lines(path / TRIALS, RunError), start=1):
        if not isinstance(event.get("job"), str) or not isinstance(event.get("status"), str):
            raise RunError(f"{path / TRIALS}: line {number} names no job and status of a trial")
        key = str(event.get("fold") or ""), event.get("number", event["job"])
        last[key] = {"number": event.get("number")} | last.get(key, {}) | event
    keys = dict.fromkeys(key for trial in last.values() for key in trial.get("parameters") or {})
    # A group that was chosen by its name, as in model=resnet50, is told apart by that name.
    varied = [f"{key}.name" if key in ("data", "model", "protocol") else key for key in keys]
    return varied, list(last.values())


def _folder(path: Path, trial: dict[str, Any]) -> Path:
    parts = ["folds", str(trial["fold"])] if trial.get("fold") else []
    return path.joinpath(*parts, str(trial["job"]))


def _name(trial: dict[str, Any]) -> str:
    title = f"trial {trial['number']}" if trial["number"] is not None else str(trial["job"])
    return f"{title} of fold {trial['fold']}" if trial.get("fold") else title
