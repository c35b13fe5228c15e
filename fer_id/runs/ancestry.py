"""Ancestry of runs: those whose weights went into a run, and those that its weights, or subjects, went into."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from fer_id.errors import LeakageError, RunError
from fer_id.runs.job import Job
from fer_id.runs.run_dir import RunDir
from fer_id.runs.shipped import located


def open_fold(path: str | Path, name: str) -> RunDir:
    """Open a finished training, or the fold of this name of a cross-validation; raise RunError where there is none."""
    run = RunDir.open(path)
    if not run.folds:
        return run
    named = {fold.path.name: fold for fold in run.folds}
    if name not in named:
        raise RunError(f"{path} has no fold {name}; it has {', '.join(named)}")
    return named[name]


def ancestry(run: RunDir, fold: str) -> Iterator[RunDir]:
    """Yield the run and all runs whose weights went into it; of cross-validations the fold of the same name. Raises
    RunError where an ancestor is missing, so that its training data are not known."""

    def parents(descendant: Path) -> Iterator[Path]:
        for path in RunDir(descendant).job().parents:
            try:
                yield open_fold(path, fold).path
            except RunError as problem:
                raise RunError(
                    f"{descendant} started from another run, so what it learned from cannot be checked: "
                    f"{problem}. Bring that run back to its place, or start from a run whose origin is there"
                ) from None

    yield from map(RunDir, _reached([run.path], parents))


def recorded_ancestry(run: RunDir) -> Iterator[RunDir]:
    """Yield the run and its ancestors, the nearest first, as far as their ``job.json`` are there."""

    def recorded(paths: Iterable[str | Path]) -> list[Path]:
        return [path for path in map(recorded_folder, paths) if path is not None]

    yield from map(RunDir, _reached(recorded([run.path]), lambda path: recorded(RunDir(path).job().parents)))


def recorded_folder(path: str | Path) -> Path | None:
    """Return the folder of a run, as another run records it; None where it or its ``job.json`` is missing."""
    with suppress(RunError):
        folder = located(path)
        return folder if (folder / "job.json").is_file() else None
    return None


def descendants(jobs: Mapping[Path, Job], starts: Iterable[Path], root: Path) -> set[Path]:
    """Return the resolved folders of some runs (``starts``), of runs that pool them, of all runs that started from
    these, and of the results of all of them on other stores.

    ``jobs`` are those of all runs below ``root`` by their folders. A run records its parents as they were typed:
    relative to the working directory of its training, which is mostly the parent folder of ``root``.
    """
    later: dict[Path, list[Path]] = defaultdict(list)
    for path, job in jobs.items():
        places = [base / parent for parent in job.parents for base in (Path.cwd(), root.resolve().parent)]
        pooled = [part.path for part in (*RunDir(path).folds, *RunDir(path).parts)]
        for place in (*places, *pooled):
            later[place.resolve()].append(path.resolve())
        later[path.resolve()] += [other.path.resolve() for other in RunDir(path).elsewhere]
    return set(_reached(starts, lambda path: later.get(path, ())))


def _reached(starts: Iterable[Path], following: Callable[[Path], Iterable[Path]]) -> Iterator[Path]:
    """Yield runs and all that follow from them, the nearest first, each once: a name used again can make a cycle."""
    todo, seen = deque(starts), set[Path]()
    while todo:
        path = todo.popleft()
        if path.resolve() not in seen:
            seen.add(path.resolve())
            yield path
            todo += following(path)


def require_unseen(run: RunDir, tested: Iterable[str], tester: str) -> None:
    """Raise LeakageError where a run learned from a subject in ``tested``; ``tester`` is such as ``fold 3 tests``."""
    if judged := sorted(run.job().learned_from.intersection(tested)):
        raise LeakageError(
            f"{run.path} learned from {len(judged)} subjects whom {tester}: {', '.join(judged[:5])}; "
            "start from a run with the same protocol and seed, or from one of other subjects"
        )
