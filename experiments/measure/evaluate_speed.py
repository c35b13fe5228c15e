"""Duration of ``fer-id evaluate`` on a synthetic run, beside the least that its parts can take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import special

from experiments.measure.timing import seconds, timed_thrice
from fer_id.evaluation.intervals import RESAMPLES
from fer_id.evaluation.scores import Floats
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
        # The test subjects of one fold are in the inner validation of another.
        fold = (subject + (split == "validation")) % folds
        table = pd.DataFrame({"clip_id": [f"c{index:06d}" for index in range(size)], "split": split})
        table["subject_id"], table["fold"] = [names[index] for index in subject], fold.astype(str)
        table["label"] = np.array(TARGET.names)[truth]
        table = with_answers(table, 1.5 * logits)
        parts.append(table.assign(**{name: values[subject] for name, values in columns.items()}))
    store = Store(name="made up", provenance="synthetic", label_space=TARGET.name, shard_by="subject_id")
    run = RunDir.create(path, {"name": "made up"}, Job(seed=seed, store=store))
    run.write_predictions(pd.concat(parts, ignore_index=True).assign(flagged=False))
    run.finish()
    return run


def with_answers(table: pd.DataFrame, logits: Floats) -> pd.DataFrame:
    """Return a table with the columns of ``predictions.parquet`` that logits (N, K) give."""
    columns = {"predicted": np.array(TARGET.names)[logits.argmax(axis=1)]}
    for kind, values in (("logit", logits), ("p", special.softmax(logits, axis=1))):
        columns |= {f"{kind}_{name}": values[:, k] for k, name in enumerate(TARGET.names)}
    return table.assign(**columns)


def evaluate_seconds(run: RunDir) -> tuple[float, str]:
    """Return the duration of ``fer-id evaluate`` in seconds (median of three), and a note on its parts."""
    took, note = timed_thrice(["evaluate", str(run.path)])
    report.evaluate_run(run)  # loads fonts and templates
    evaluation, job = report.read_evaluation(run), run.job()
    whole = seconds(lambda: report.evaluate_run(run))
    figures = seconds(lambda: report.write_figures(run, evaluation, job))
    return took, (
        f"{note}; in a process that has begun {whole:.2f} s, of which the figures {figures:.2f} s; drawing "
        f"{RESAMPLES:,} resamples of the subjects alone takes {_resampling(run):.3f} s"
    )


def _resampling(run: RunDir) -> float:
    """Return the seconds for drawing the subjects of all resamples once and summing their tables of counts."""
    table = run.predictions()
    subjects = table["subject_id"][table["split"] == "test"].nunique()
    tables = np.ones((subjects, len(TARGET) * (len(TARGET) + 1)))

    def resampled() -> None:
        drawn = np.random.default_rng(0).multinomial(subjects, np.full(subjects, 1 / subjects), size=RESAMPLES)
        (drawn @ tables).sum()

    return seconds(resampled)
