"""Duration of ``fer-id evaluate`` on a synthetic run, beside the least that its parts can take."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import special

from fer_id.evaluation.intervals import RESAMPLES
from fer_id.labels import TARGET
from fer_id.reporting import report
from fer_id.runs.job import Job, Store
from fer_id.runs.run_dir import RunDir

GROUPS = {
    "age_group": ("6-9", "10-13", "14-17"),
    "gender": ("female", "male"),
    "severity": ("mild", "moderate", "severe"),
    "site": ("a", "b"),
}


def made_up_run(path: Path, *, clips: int = 10_000, subjects: int = 200, folds: int = 5, seed: int = 0) -> RunDir:
    """Write a finished run: ``clips`` test predictions, a fifth as many of inner validation, and four group columns."""
    rng = np.random.default_rng(seed)
    names = [f"s{index:04d}" for index in range(subjects)]
    columns = {name: rng.choice(values, subjects) for name, values in GROUPS.items()}
    parts = []
    for split, size in (("test", clips), ("validation", clips // 5)):
        subject, truth = rng.integers(subjects, size=size), rng.integers(len(TARGET), size=size)
        logits = rng.normal(size=(size, len(TARGET)))
        logits[np.arange(size), truth] += rng.normal(2, 0.8, subjects)[subject]
        p = special.softmax(1.5 * logits, axis=1)
        # The test subjects of one fold are in the inner validation of another.
        fold = (subject + (split == "validation")) % folds
        table = pd.DataFrame({"clip_id": [f"c{index:06d}" for index in range(size)], "split": split})
        table["subject_id"], table["fold"] = [names[index] for index in subject], fold.astype(str)
        table["label"] = np.array(TARGET.names)[truth]
        table["predicted"] = np.array(TARGET.names)[p.argmax(axis=1)]
        for index, name in enumerate(TARGET.names):
            table[f"logit_{name}"], table[f"p_{name}"] = 1.5 * logits[:, index], p[:, index]
        table = table.assign(**{name: values[subject] for name, values in columns.items()})
        parts.append(table)
    store = Store(name="made up", provenance="synthetic", label_space=TARGET.name, shard_by="subject_id")
    run = RunDir.create(path, {"name": "made up"}, Job(seed=seed, store=store))
    run.write_predictions(pd.concat(parts, ignore_index=True).assign(flagged=False))
    run.finish()
    return run


def judge_run(run: RunDir) -> tuple[float, str]:
    """Return the duration of ``fer-id evaluate`` in seconds (median of three), and a note on its parts."""
    command = [sys.executable, "-m", "experiments.cli", "evaluate", str(run.path)]
    before = os.times()
    commands = [_seconds(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(3)]
    after = os.times()
    busy = sum(getattr(after, name) - getattr(before, name) for name in ("children_user", "children_system")) / 3
    report.evaluate_run(run)  # loads fonts and templates
    evaluation, job = report.read_evaluation(run), run.job()
    whole = _seconds(lambda: report.evaluate_run(run))
    figures = _seconds(lambda: report.write_figures(run, evaluation, job))
    return statistics.median(commands), (
        f"{min(commands):.2f} to {max(commands):.2f}, {busy:.2f} of the processor; in a process that has begun "
        f"{whole:.2f} s, of which the figures {figures:.2f} s; drawing {RESAMPLES:,} resamples of the subjects alone "
        f"takes {_resampling(run):.3f} s"
    )


def _resampling(run: RunDir) -> float:
    """Return the seconds for drawing the subjects of all resamples once and summing their tables of counts."""
    table = run.predictions()
    subjects = table["subject_id"][table["split"] == "test"].nunique()
    tables = np.ones((subjects, len(TARGET) * (len(TARGET) + 1)))

    def resampled() -> None:
        drawn = np.random.default_rng(0).multinomial(subjects, np.full(subjects, 1 / subjects), size=RESAMPLES)
        (drawn @ tables).sum()

    return _seconds(resampled)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
