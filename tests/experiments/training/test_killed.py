"""Trainings that are killed at any moment, and go on as if nothing had happened: on CPUs bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.cli import DONE, TERMINATED, main
from fer_id.runs.run_dir import RunDir
from tests.experiments.messages import DRAWING, Tiny

Same = Callable[[RunDir, RunDir], bool]
Ends = list[tuple[int, str]]
Story = tuple[tuple[str, ...], list[tuple[str, str, int]], list[str]]
"""Settings, the moments at which its processes die, and what is left out, see ``dying.py``."""
Stories = tuple[dict[str, RunDir], dict[str, Ends]]

ROOT = Path(__file__).resolve().parents[3]
KILLED = -signal.SIGKILL

STEP = "fer_id.tasks.classification:ClipClassification.training_step"
VALIDATION = "fer_id.tasks.classification:ClipClassification.validation_step"
SEEDING = "fer_id.callbacks.record:EpochSeed.on_train_batch_start"
PICTURES = [
    f"fer_id.reporting.report:{name}" for name in ("draw_figures", "write_figures", "write_run_report", "write_report")
]
"""What takes most of the time of a tiny run, and is of no interest here."""

MOMENTS = {
    "the first epoch's best is saved, its last not": ("rename", "last.ckpt", 1),
    "within the first epoch": ("kill", STEP, 2),
    "half of last.ckpt written": ("half", "last.ckpt", 2),
    "within the second epoch": ("kill", STEP, 2),
    "while validating": ("kill", VALIDATION, 1),
    "before the line of metrics.jsonl takes its place": ("rename", "metrics.jsonl", 2),
    "last.ckpt written, but not in its place": ("rename", "last.ckpt", 1),
    "SIGTERM within the third epoch": ("term", STEP, 2),
    "SIGTERM while validating": ("term", VALIDATION, 1),
    "within the third epoch": ("kill", STEP, 2),
    "before the predictions are written": ("kill", "fer_id.runs.run_dir:RunDir.write_predictions", 1),
    "before the numbers are written": ("kill", "fer_id.runs.run_dir:RunDir.write_metrics", 1),
    "before DONE": ("kill", "fer_id.runs.run_dir:RunDir.finish", 1),
}
"""Of one training, one after the other: each finds what the one before has left."""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def tell(stories: list[dict[str, Any]]) -> list[Ends]:
    """Lets the processes of these stories live and die, see ``dying.py``."""
    script = Path(__file__).with_name("dying.py")
    command = [sys.executable, str(script), json.dumps(stories)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: list[Ends] = [[(code, said) for code, said in ends] for ends in json.loads(done.stdout)]
    return told


@pytest.fixture(scope="module")
def live(drawn: Path, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Story]], Stories]:
    """Tells stories by name, each in a folder of its own: their runs, and how their processes ended."""

    def told(stories: dict[str, Story]) -> Stories:
        root = tmp_path_factory.mktemp("stories")
        ended = tell(
            [
                {"arguments": tiny(drawn, root / name, *DRAWING, *more), "moments": moments, "without": without}
                for name, (more, moments, without) in stories.items()
            ]
        )
        return {name: RunDir(root / name / "a") for name in stories}, dict(zip(stories, ended, strict=True))

    return told


@pytest.fixture(scope="module")
def single(live: Callable[[dict[str, Story]], Stories]) -> Stories:
    """Trainings of one model, and one of them killed at every moment."""
    return live(
        {
            "straight": ((), [], PICTURES),
            "killed": ((), list(MOMENTS.values()), PICTURES),
            "unseeded straight": ((), [], [*PICTURES, SEEDING]),
            "unseeded killed": ((), [("kill", STEP, 4)], [*PICTURES, SEEDING]),
        }
    )


@pytest.mark.slow
def test_killed_at_every_moment_it_ends_with_the_weights_of_one_that_never_stopped(single: Stories, same: Same) -> None:
    runs, ended = single
    assert [code for code, _ in ended["straight"]] == [DONE], ended["straight"]
    for (moment, (how, *_)), (code, output) in zip(MOMENTS.items(), ended["killed"][:-1], strict=True):
        assert code == (KILLED if how != "term" else TERMINATED), f"{moment}: {output}"
        assert how != "term" or "fer-id: terminated; the same command" in output
        assert "Traceback" not in output
    assert ended["killed"][-1][0] == DONE, ended["killed"][-1][1]
    assert same(runs["killed"], runs["straight"])
    assert sorted(path.name for path in (runs["killed"].path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    drafts = [path.name for path in runs["killed"].path.rglob(".*") if path.name != ".lock"]
    assert not drafts


@pytest.mark.slow
def test_the_comparison_would_notice(single: Stories, same: Same) -> None:
    """A resume that leaves the random state as it is gives other weights."""
    runs, ended = single
    assert ended["unseeded killed"][0][0] == KILLED
    assert not same(runs["unseeded killed"], runs["unseeded straight"])


@pytest.mark.slow
def test_early_stopping_remembers_how_long_it_has_waited(
    live: Callable[[dict[str, Story]], Stories], same: Same
) -> None:
    patient = ("trainer.patience=1", "trainer.max_epochs=6")
    runs, ended = live(
        {"patient straight": (patient, [], PICTURES), "patient killed": (patient, [("kill", STEP, 4)], PICTURES)}
    )
    assert [code for code, _ in ended["patient killed"]] == [KILLED, DONE]
    assert len(runs["patient straight"].learning_curve()) < 6  # it did stop
    assert same(runs["patient killed"], runs["patient straight"])


@pytest.mark.slow
def test_a_cross_validation_goes_on_within_its_fold(
    live: Callable[[dict[str, Story]], Stories], same: Same, drawn: Path
) -> None:
    subjects = sorted(pd.read_parquet(drawn / "clips.parquet")["subject_id"].unique())[:2]
    loso = ("protocol=loso", f"protocol.only=[{','.join(subjects)}]")
    moments = [("kill", STEP, 4), ("kill", STEP, 8), ("kill", "fer_id.runs.run_dir:RunDir.finish", 2)]
    runs, ended = live({"folds straight": (loso, [], PICTURES), "folds killed": (loso, moments, PICTURES)})
    assert [code for code, _ in ended["folds killed"]] == [KILLED, KILLED, KILLED, DONE], ended["folds killed"][-1][1]
    for fold, straight in zip(runs["folds killed"].folds, runs["folds straight"].folds, strict=True):
        assert same(fold, straight)
    pd.testing.assert_frame_equal(runs["folds killed"].predictions(), runs["folds straight"].predictions())


@pytest.mark.slow
def test_the_command_killed_from_outside(drawn: Path, tiny: Tiny, tmp_path: Path, same: Same) -> None:
    """Nothing of ours inside: the command as it is typed, killed whenever its third epoch is recorded."""
    whole = ("trainer.max_epochs=12", "trainer.patience=0", "model.dropout=0.3", "name=a")
    assert main(tiny(drawn, tmp_path / "straight", *whole)) == DONE
    command = [sys.executable, "-m", "experiments.cli", *tiny(drawn, tmp_path / "killed", *whole)]
    record = tmp_path / "killed" / "a" / "metrics.jsonl"
    with subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (record.is_file() and record.read_text().count("\n") >= 3):
            time.sleep(0.01)
        process.kill()
    assert process.returncode == KILLED
    assert subprocess.run(command, env=environment(), capture_output=True, check=False).returncode == DONE
    assert same(RunDir.open(tmp_path / "killed" / "a"), RunDir.open(tmp_path / "straight" / "a"))
