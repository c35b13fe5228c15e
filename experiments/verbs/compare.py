"""``fer-id compare``: finished runs side by side, at paths of runs, folders of runs, and studies of sweeps.

A study gives its finished trials, and in a cross-validation the pooled winners (``selected``) before them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.sweeping.ledger import FAILED, FINISHED, SELECTED, SETTINGS, STOPPED, SUGGESTED, Ledger
from experiments.sweeping.parameters import recorded_key
from fer_id.errors import Problems, RunError
from fer_id.runs.run_dir import RunDir
from fer_id.runs.shipped import is_shipped, located
from fer_id.settings import setting

if TYPE_CHECKING:
    from fer_id.reporting.comparison.page import LeftOut

REFUSE, SKIP = "refuse", "skip"
_DEPTH = 3  # levels of folders below a path


@dataclass
class CompareConfig:
    """Configuration of a comparison of runs."""

    runs: list[str] = setting(
        [],
        required=True,
        help="finished runs; a folder stands for the runs in it, the study folder of a sweep for its finished trials "
        "(stopped and failed ones are listed)",
    )
    reference: str | None = setting(
        None, help="the run that the others are paired with; null: the first (of a sweep, its first finished trial)"
    )
    unfinished: str = setting(
        REFUSE, choices=(REFUSE, SKIP), help="runs that are unfinished or quarantined; skip: leave out and say so"
    )
    out: str = setting("compare", help="folder of the page and the table")


def compare(config: CompareConfig) -> Path:
    """Write the page and the table; return the page's path. Raise RunError for a path without a finished run, missing
    or damaged files of a run (all are listed), or where ``out`` holds another page."""
    from fer_id.reporting.comparison.page import write_comparison

    out = Path(config.out)
    if (out / "index.html").exists() and not (out / "comparison.csv").exists():
        raise RunError(f"out={out}: its index.html is of something else and would be lost; choose another folder")
    problems = Problems("compare")
    selection = find_runs(config.runs, problems, config.reference, config.unfinished)
    names, left_out, swept = selection.names, selection.left_out, selection.swept
    return write_comparison(selection.runs, out, names=names, left_out=left_out, swept=swept, problems=problems)


@dataclass
class Selection:
    """Runs to compare: finished ones by resolved folder, in the order of the paths (of a study: of its trials), names
    of trials by resolved folder, the runs left out with the reason, and the settings that a study varied."""

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
) -> Selection:
    """Return the finished runs below some paths (runs, studies, or folders that hold them, up to three folders deep); a
    repeated run counts once, and ``problems`` gets the faults of paths and runs. ``reference`` comes first, among the
    others or not. Unfinished and quarantined runs are problems (``refuse``) or listed in ``left_out`` (``skip``), where
    stopped and failed trials of a study always are."""
    selection = Selection()
    for name in filter(is_shipped, [*([reference] if reference else []), *paths]):
        try:
            located(name, changing=True)  # it has no predictions to be paired
        except RunError as problem:
            problems.add(str(problem))
    if reference is not None and not is_shipped(reference):  # a single run, which is never left out
        _add_run(RunDir(reference), selection, problems, REFUSE)
    places = {path: list(_below(path, _DEPTH)) for path in dict.fromkeys(map(Path, paths)) if not is_shipped(path)}
    several = sum(map(len, places.values())) > 1
    for path, below in places.items():
        if not below:
            no_folder = "is a file, not the folder of a run" if path.exists() else "no such folder"
            problems.add(f"{path}: {'holds no run' if path.is_dir() else no_folder}; `fer-id train` makes a run")
        for place in below:
            if (place / SETTINGS).is_file():
                _add_study(place, selection, problems, unfinished, several)
            else:
                _add_run(RunDir(place), selection, problems, unfinished)
    if not selection.runs and not len(problems):
        problems.add(f"no finished run is named; {len(selection.left_out)} are left out")
    return selection


def _below(path: Path, depth: int) -> Iterator[Path]:
    """Yield the runs and studies in a folder, or the folder where it is one, without the runs inside them."""
    if any((path / name).is_file() for name in (SETTINGS, "config.yaml", "job.json", "DONE")):
        yield path
    elif depth and path.is_dir():
        for folder in sorted(path.iterdir()):
            if folder.is_dir() and not folder.name.startswith("."):
                yield from _below(folder, depth - 1)


def _add_run(run: RunDir, selection: Selection, problems: Problems, unfinished: str, name: str | None = None) -> None:
    """Add a finished run to the selection; another one to ``left_out`` or the problems."""
    from fer_id.reporting.comparison.page import LeftOut

    place = run.path.resolve()
    if name is not None:
        selection.names[place] = name
    if place in selection.by_path:
        return
    try:
        selection.by_path[place] = RunDir.open(run.path)
    except RunError as error:
        quarantined, begun = (run.path / "QUARANTINED").exists(), (run.path / "config.yaml").is_file()
        if unfinished == SKIP and (quarantined or begun):
            status = "quarantined" if quarantined else "unfinished"
            selection.left_out.append(LeftOut(name or str(run.path), status, str(error)))
        else:
            problems.add(f"{error}{'; unfinished=skip leaves it out' if quarantined or begun else ''}")


def _add_study(path: Path, selection: Selection, problems: Problems, unfinished: str, named: bool) -> None:
    """Add the finished trials of a study, in a cross-validation after the pooled winners; ``named``: put the study's
    name before the names of its trials, as there are other runs."""
    from fer_id.reporting.comparison.page import LeftOut

    try:
        ledger = Ledger.open(path)
    except RunError as error:
        problems.add(str(error))
        return
    trials = list(ledger.trials.values())
    keys = dict.fromkeys(key for trial in trials for key in trial.parameters)
    selection.swept = list(dict.fromkeys([*selection.swept, *map(recorded_key, keys)]))
    prefix = f"{path.name}: " if named else ""
    if (path / SELECTED / "config.yaml").is_file():
        _add_run(RunDir(path / SELECTED), selection, problems, unfinished, f"{prefix}{SELECTED}")
    finished = 0
    for trial in trials:
        run, name = RunDir(ledger.folder_of(trial)), prefix + trial.title
        if trial.status == FINISHED or (trial.status == SUGGESTED and run.done):  # killed before the ledger was written
            finished += 1
            _add_run(run, selection, problems, unfinished, name)
        else:
            status = trial.status if trial.status in (STOPPED, FAILED) else "unfinished"
            selection.left_out.append(LeftOut(name, status, trial.reason or ""))
    if not finished:
        problems.add(f"{path}: none of its {len(trials)} trials is finished; `fer-id sweep resume` goes on with it")
