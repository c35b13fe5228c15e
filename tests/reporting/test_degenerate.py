"""Pages and figures of runs in which something is missing: a class, a subject, a face, a difference between values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fer_id.labels import TARGET
from fer_id.reporting.comparison.page import write_comparison
from fer_id.reporting.report import evaluate_run
from fer_id.runs.run_dir import RunDir
from tests.reporting.conftest import predictions

MakeRun = Callable[..., RunDir]


def split_of(split: str, clips: int = 30, subjects: int = 6, groups: int = 2, **fixed: int) -> pd.DataFrame:
    """Predictions of one split, with one group column; ``fixed`` as in :func:`predictions`."""
    made = predictions(TARGET, clips=clips, subjects=subjects, **fixed)
    child = made["subject_id"].str[1:].astype(int) % groups
    names = {name: f"{split}-" + made[name] for name in ("clip_id", "subject_id")}
    return made.assign(**names, split=split, gender="group " + child.astype(str))


def table(**of: Any) -> pd.DataFrame:
    return pd.concat([split_of("test", **of), split_of("validation", **of)], ignore_index=True)


def without_faces(made: pd.DataFrame) -> pd.DataFrame:
    numbers = [name for name in made if name.startswith(("logit_", "p_"))]
    return made.assign(predicted=None, **dict.fromkeys(numbers, np.nan))


def all_the_same(made: pd.DataFrame) -> pd.DataFrame:
    numbers = {f"logit_{name}": 0.0 for name in TARGET.names} | {f"p_{name}": 0.2 for name in TARGET.names}
    return made.assign(predicted="happy", **numbers)


CASES: dict[str, Callable[[], pd.DataFrame]] = {
    "one class predicted": lambda: table(predicted=2),
    "one label": lambda: table(label=1),
    "everything right": lambda: table(label=1, predicted=1),
    "everything wrong": lambda: table(label=1, predicted=0),
    "one subject": lambda: table(subjects=1),
    "one clip": lambda: table(clips=1),
    "two clips": lambda: table(clips=2),
    "one group": lambda: table(groups=1),
    "no face": lambda: without_faces(table()),
    "one clip without a face": lambda: without_faces(table(clips=1)),
    "all probabilities the same": lambda: all_the_same(table()),
    "no inner validation": lambda: split_of("test"),
}


QUICK = ("everything right", "no face", "one clip")
"""Every figure is drawn for each case, which takes seconds: the others are marked slow."""


def empty_files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.stat().st_size and path.name != "DONE")


@pytest.mark.parametrize(
    "case", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_every_page_of_a_degenerate_run_is_made(case: str, make_run: MakeRun, tmp_path: Path) -> None:
    run, other = make_run("a", table=CASES[case]()), make_run("b", provenance="real")
    metrics = evaluate_run(run)
    assert (run.path / "report.html").stat().st_size > 1000
    for number, runs in enumerate([[run], [run, other], [other, run]]):
        page = write_comparison(runs, tmp_path / f"compare{number}")
        assert page.stat().st_size > 1000
        assert len(pd.read_csv(page.parent / "comparison.csv")) == len(runs)
    assert metrics["accuracy"] is None or 0 <= metrics["accuracy"] <= 1
    assert not list(empty_files(tmp_path))


def test_collapsed_models_are_compared_on_an_axis_of_some_length(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run(name, table=table(label=2, predicted=2)) for name in "ab"]
    page = re.sub(r'data:[^"]+', "", write_comparison(runs, tmp_path / "out").read_text())
    assert not re.search(r"\bnan\b|\binf\b", page, re.IGNORECASE)


def test_a_comparison_that_fails_leaves_no_file(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fer_id.reporting.comparison.page.comparison_table", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_comparison([make_run("a")], tmp_path / "out")
    assert not (tmp_path / "out").exists()
