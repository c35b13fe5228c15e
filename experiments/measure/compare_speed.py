"""Duration of ``fer-id compare`` on a synthetic study: trials in the real formats, their metrics computed from
predictions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.config import TrainConfig
from experiments.measure.evaluate_speed import GROUPS, with_answers
from experiments.measure.timing import timed_thrice
from experiments.settings.loading import plain
from experiments.sweeping.ledger import FAILED, FINISHED, STOPPED, Ledger, Trial
from fer_id.evaluation.config import ALL_GROUPS, Breakdown
from fer_id.evaluation.groups.subgroups import compute_subgroups
from fer_id.evaluation.metrics import compute_metrics
from fer_id.evaluation.scores import Floats, Ints
from fer_id.files import atomic_write_text
from fer_id.labels import TARGET
from fer_id.runs.job import Cost, Job, Store
from fer_id.runs.run_dir import RunDir

COST = {
    "cnn_lstm": (390_000, 80_000_000),
    "shallow_cnn": (550_000, 30_000_000),
    "compact_vit": (2_700_000, 900_000_000),
}
"""Model -> number of parameters, multiply-adds per clip."""

STORE = Store(name="made up", provenance="synthetic", label_space=TARGET.name, shard_by="subject_id")


def made_up_study(
    path: Path,
    *,
    runs: int = 200,
    clips: int = 600,
    subjects: int = 24,
    epochs: int = 20,
    lost: int = 2,
    groups: Breakdown = ALL_GROUPS,
    seed: int = 0,
) -> Path:
    """Write the folder of a sweep: finished trials with predictions of the same clips.

    The quality of a trial depends on its learning rate, dropout and model; a quarter of the children is harder.

    Args:
        path: the folder to write.
        runs: number of finished trials.
        clips, subjects: test clips and subjects of each trial; inner validation has a fifth as many clips.
        epochs: number of lines of each ``metrics.jsonl``.
        lost: number of failed trials, and of stopped trials.
        groups: group columns of each trial's metrics.
        seed: random seed of everything drawn.
    """
    rng = np.random.default_rng(seed)
    table, truth, subject = _clips(clips, subjects, rng)
    noise = rng.normal(size=(len(table), len(TARGET)))
    noise[np.arange(len(truth)), truth] += np.where(rng.random(subjects) < 0.25, -0.7, 0.0)[subject]
    ledger = Ledger.create(
        path, "", {"objective": {"name": "val/macro_f1", "goal": "maximize"}, "provenance": "synthetic"}
    )
    for number in range(runs + 2 * lost):
        chosen = _choose(rng)
        name = f"{number:012x}"
        trial = Trial(number + 1, None, name, chosen)
        if number < runs:
            logits = noise + rng.normal(scale=0.5, size=noise.shape)
            logits[np.arange(len(truth)), truth] += _skill(chosen)
            best = _write_trial(path / name, chosen, table, truth, logits, epochs, groups, rng)
            ended = replace(trial, status=FINISHED, objective=best, epochs=epochs, seconds=60.0)
        elif number < runs + lost:
            ended = replace(trial, status=FAILED, epochs=1, seconds=3.0, reason="out of memory")
        else:
            ended = replace(trial, status=STOPPED, objective=0.2, epochs=5, seconds=15.0)
        ledger.note(ended)
    return path


def compare_seconds(study: Path, out: Path) -> tuple[float, str]:
    """Return the duration of ``fer-id compare`` in seconds (median of three), and a note on its parts."""
    took, note = timed_thrice(["compare", str(study), f"out={out}"])
    return took, f"{note}; {sum(path.stat().st_size for path in out.iterdir()) / 2**20:.1f} MiB"


def _clips(clips: int, subjects: int, rng: np.random.Generator) -> tuple[pd.DataFrame, Ints, Ints]:
    """Return the columns common to all trials, and the class and subject index of each row, (N,)."""
    columns = {name: rng.choice(values, subjects) for name, values in GROUPS.items()}
    size = clips + clips // 5
    subject, truth = np.arange(size) % subjects, rng.integers(len(TARGET), size=size)
    subject[clips:] += subjects  # inner validation has other children than the test
    table = pd.DataFrame({"clip_id": [f"c{index:06d}" for index in range(size)]})
    table["subject_id"] = [f"s{index:04d}" for index in subject]
    table["fold"], table["label"] = "holdout", np.array(TARGET.names)[truth]
    table["split"] = np.where(np.arange(size) < clips, "test", "validation")
    subject %= subjects
    return table.assign(flagged=False, **{name: values[subject] for name, values in columns.items()}), truth, subject


def _choose(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "optim.lr": float(f"{10 ** rng.uniform(-4.5, -2):.3g}"),
        "model.dropout": float(rng.choice([0.0, 0.2, 0.5])),
        "model.name": str(rng.choice(list(COST))),
        "augment.occlusion": float(rng.choice([0.0, 0.2])),
    }


def _skill(chosen: dict[str, Any]) -> float:
    skill = 1.4 - 0.5 * (np.log10(chosen["optim.lr"]) + 3.1) ** 2 - 0.4 * abs(chosen["model.dropout"] - 0.2)
    return float(skill + 0.3 * (chosen["model.name"] == "cnn_lstm"))


def _write_trial(
    path: Path,
    chosen: dict[str, Any],
    clips: pd.DataFrame,
    truth: Ints,
    logits: Floats,
    epochs: int,
    groups: Breakdown,
    rng: np.random.Generator,
) -> float:
    """Write a finished run and return its best inner-validation macro-F1."""
    config = plain(TrainConfig())
    for key, value in (chosen | {"name": f"{path.parent.name}/{path.name}", "trainer.max_epochs": epochs}).items():
        *sections, last = key.split(".")
        place = config
        for section in sections:
            place = place[section]
        place[last] = value
    parameters, multiply_adds = COST[chosen["model.name"]]
    job = Job(
        command="fer-id sweep run",
        seed=0,
        store=STORE,
        cost=Cost(parameters=parameters, multiply_adds_per_clip=multiply_adds),
        precision="32",
        seconds=3.0 * epochs,
        peak_memory_bytes=4 * parameters + 10**9,
    )
    table = with_answers(clips, logits)
    metrics = compute_metrics(table, TARGET, "synthetic")
    subgroups, _ = compute_subgroups(table, TARGET, groups)
    inner = (clips["split"] == "validation").to_numpy()
    reached = float((logits.argmax(axis=1) == truth)[inner].mean())
    rise = reached * (1 - np.exp(-np.arange(1, epochs + 1) / 4)) + rng.normal(0, 0.01, epochs)
    lines = [{"epoch": epoch, "step": 10 * epoch, "val/macro_f1": float(value)} for epoch, value in enumerate(rise)]
    run = RunDir.create(path, config, job)
    run.write_predictions(table)
    run.write_metrics(metrics.model_copy(update={"subgroups": subgroups}))
    atomic_write_text(run.path / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    run.finish()
    return float(rise.max())
