"""Ancestry of a run: the runs whose weights went into it, and the subjects that these learned from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from fer_id.errors import LeakageError, RunError
from fer_id.runs.run_dir import RunDir


def open_fold(path: str | Path, name: str) -> RunDir:
    """Open a single training, or the fold of this name of a cross-validation.

    Raises:
        RunError: no finished run, or no such fold.
    """
    run = RunDir.open(path)
    if not run.folds:
        return run
    named = {fold.path.name: fold for fold in run.folds}
    if name not in named:
        raise RunError(f"{path} has no fold {name}; it has {', '.join(named)}")
    return named[name]


def ancestry(run: RunDir, fold: str) -> Iterator[RunDir]:
    """Yield the run and all runs whose weights went into it; of cross-validations the fold of the same name.

    Raises:
        RunError: an ancestor is missing, so that its training data are not known.
    """
    todo, seen = [run], set()
    while todo:
        descendant = todo.pop()
        if descendant.path in seen:  # a name that was used again can make a cycle
            continue
        seen.add(descendant.path)
        yield descendant
        for path in descendant.job().parents:
            try:
                todo.append(open_fold(path, fold))
            except RunError as problem:
                raise RunError(
                    f"{descendant.path} started from another run, so what it learned from cannot be checked: "
                    f"{problem}. Bring that run back to its place, or start from a run whose origin is there"
                ) from None


def require_unseen(run: RunDir, tested: Iterable[str], tester: str) -> None:
    """Raise LeakageError where a run learned from a subject in ``tested``; ``tester`` is such as ``fold 3 tests``."""
    if judged := sorted(run.job().learned_from.intersection(tested)):
        raise LeakageError(
            f"{run.path} learned from {len(judged)} subjects whom {tester}: {', '.join(judged[:5])}; "
            "start from a run with the same protocol and seed, or from one of other subjects"
        )
