"""Duration of ``fer-id evaluate`` and ``fer-id compare`` on synthetic runs in the real formats."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from experiments.config import TrainConfig
from experiments.measure.timing import Result, seconds, timed_thrice
from experiments.settings.loading import plain
from experiments.sweeping.ledger import FAILED, FINISHED, STOPPED, Ledger, Trial
from experiments.sweeping.parameters import Value
from fer_id.evaluation.config import ALL_GROUPS, Breakdown
from fer_id.evaluation.groups.subgroups import compute_subgroups
from fer_id.evaluation.metrics import compute_metrics
from fer_id.evaluation.scores import Floats, Ints
from fer_id.files import atomic_write_text
from fer_id.labels import TARGET
from fer_id.reporting import report
from fer_id.runs.job import Cost, Job, Store
from fer_id.runs.run_dir import RunDir

GROUPS = {
    "age_group": ("6-9", "10-13", "14-17"),
    "gender": ("female", "male"),
    "severity": ("mild", "moderate", "severe"),
    "site": ("a", "b"),
}

COST = {
    "cnn_lstm": (390_000, 80_000_000),
    "shallow_cnn": (550_000, 30_000_000),
    "compact_vit": (2_700_000, 900_000_000),
}
"""Model -> number of parameters, multiply-adds per clip."""

STORE = Store(name="made up", provenance="synthetic", label_space=TARGET.name, shard_by="subject_id")


def judging() -> Iterator[Result]:
    """Measure ``fer-id evaluate`` on 10,000 predictions of 200 subjects with four group columns, report included."""
    with TemporaryDirectory() as folder:
        run = made_up_run(Path(folder) / "run")
        took, note = timed_thrice(["evaluate", str(run.path)])
        evaluation, _ = report.write_evaluation(run)  # loads fonts and templates
        job = run.job()
        whole = seconds(lambda: report.evaluate_run(run))
        figures = seconds(lambda: report.write_figures(run, report.draw_figures(run, evaluation, job)))
        note += f"; in a process that has begun {whole:.2f} s, of which the figures {figures:.2f} s"
    yield Result("fer-id evaluate, 10,000 predictions", took, "s", 10.0, note=note)


def comparing() -> Iterator[Result]:
    """Measure ``fer-id compare`` on 200 trials of 600 clips of 24 subjects with four group columns."""
    with TemporaryDirectory() as folder:
        study, out = made_up_study(Path(folder) / "study"), Path(folder) / "compare"
        took, note = timed_thrice(["compare", str(study), f"out={out}"])
        note += f"; {sum(path.stat().st_size for path in out.iterdir()) / 2**20:.1f} MiB"
    yield Result("fer-id compare, 200 runs", took, "s", 10.0, note=note)


def made_up_run(path: Path, *, clips: int = 10_000, subjects: int = 200, folds: int = 5, seed: int = 0) -> RunDir:
    """Write a finished run: ``clips`` test predictions, a fifth as many of inner validation, and four group columns."""
    rng = np.random.default_rng(seed)
    columns = {name: rng.choice(values, subjects) for name, values in GROUPS.items()}
    parts = []
    for split, size in (("test", clips), ("validation", clips // 5)):
        subject, truth = rng.integers(subjects, size=size), rng.integers(len(TARGET), size=size)
        logits = rng.normal(size=(size, len(TARGET)))
        logits[np.arange(size), truth] += rng.normal(2, 0.8, subjects)[subject]
        # The test subjects of one fold are in the inner validation of another.
        fold = (subject + (split == "validation")) % folds
        groups = {name: values[subject] for name, values in columns.items()}
        parts.append(_answered(_clips(subject, truth, split, fold.astype(str)), 1.5 * logits).assign(**groups))
    run = RunDir.create(path, {"name": "made up"}, Job(seed=seed, store=STORE))
    run.write_predictions(pd.concat(parts, ignore_index=True).assign(flagged=False))
    run.finish()
    return run


def _clips(subject: Ints, truth: Ints, split: str | NDArray[np.str_], fold: str | NDArray[np.str_]) -> pd.DataFrame:
    """Return the columns of ``predictions.parquet`` that describe N clips, from the index of each subject and class."""
    table = pd.DataFrame({"clip_id": [f"c{index:06d}" for index in range(len(subject))], "split": split})
    table["subject_id"] = [f"s{index:04d}" for index in subject]
    return table.assign(fold=fold, label=np.array(TARGET.names)[truth])


def _answered(table: pd.DataFrame, logits: Floats) -> pd.DataFrame:
    """Return a table with the columns of ``predictions.parquet`` that logits (N, K) give."""
    columns = {"predicted": np.array(TARGET.names)[logits.argmax(axis=1)]}
    for kind, values in (("logit", logits), ("p", special.softmax(logits, axis=1))):
        columns |= {f"{kind}_{name}": values[:, k] for k, name in enumerate(TARGET.names)}
    return table.assign(**columns)


def made_up_study(
    path: Path,
    *,
    runs: int = 200,
    clips: int = 600,
    subjects: int = 24,
    epochs: int = 20,
    lost: int = 2,
    groups: Breakdown = ALL_GROUPS,
) -> Path:
    """Write the folder of a sweep: finished trials with predictions of the same clips, and each ``lost`` failed and
    stopped ones. Inner validation has a fifth as many clips as the test, ``groups`` are in each trial's metrics.

    The quality of a trial depends on its learning rate, dropout and model; a quarter of the children is harder.
    """
    rng, size = np.random.default_rng(0), clips + clips // 5
    columns = {name: rng.choice(values, subjects) for name, values in GROUPS.items()}
    subject, truth, inner = np.arange(size) % subjects, rng.integers(len(TARGET), size=size), np.arange(size) >= clips
    # Inner validation has other children than the test.
    table = _clips(subject + subjects * inner, truth, np.where(inner, "validation", "test"), "holdout")
    table = table.assign(flagged=False, **{name: values[subject] for name, values in columns.items()})
    noise = rng.normal(size=(size, len(TARGET)))
    noise[np.arange(size), truth] += np.where(rng.random(subjects) < 0.25, -0.7, 0.0)[subject]
    objective = {"name": "val/macro_f1", "goal": "maximize"}
    ledger = Ledger.create(path, "", {"objective": objective, "provenance": "synthetic"})
    for number in range(runs + 2 * lost):
        chosen, skill = _choose(rng)
        trial = Trial(number + 1, None, f"{number:012x}", chosen)
        if number < runs:
            logits = noise + rng.normal(scale=0.5, size=noise.shape)
            logits[np.arange(size), truth] += skill
            answered = _answered(table, logits)
            curve = _validation_curve(answered, epochs, rng)
            _write_trial(ledger.folder_of(trial), chosen, answered, curve, groups)
            ended = replace(trial, status=FINISHED, objective=max(curve), epochs=epochs, seconds=60.0)
        elif number < runs + lost:
            ended = replace(trial, status=FAILED, epochs=1, seconds=3.0, reason="out of memory")
        else:
            ended = replace(trial, status=STOPPED, objective=0.2, epochs=5, seconds=15.0)
        ledger.note(ended)
    return path


def _choose(rng: np.random.Generator) -> tuple[dict[str, Value], float]:
    """Return the parameters of a trial, and its skill: the gain in the logit of the true class."""
    lr, dropout = float(f"{10 ** rng.uniform(-4.5, -2):.3g}"), float(rng.choice([0.0, 0.2, 0.5]))
    model, occlusion = str(rng.choice(list(COST))), float(rng.choice([0.0, 0.2]))
    chosen: dict[str, Value] = {"optim.lr": lr, "model.dropout": dropout, "model.name": model}
    skill = 1.4 - 0.5 * (np.log10(lr) + 3.1) ** 2 - 0.4 * abs(dropout - 0.2) + 0.3 * (model == "cnn_lstm")
    return chosen | {"augment.occlusion": occlusion}, float(skill)


def _validation_curve(table: pd.DataFrame, epochs: int, rng: np.random.Generator) -> list[float]:
    """Return a rising score of each epoch, near the accuracy of the inner validation in the end."""
    right = (table["predicted"] == table["label"])[table["split"] == "validation"]
    rise = right.mean() * (1 - np.exp(-np.arange(1, epochs + 1) / 4)) + rng.normal(0, 0.01, epochs)
    return [float(value) for value in rise]


def _write_trial(
    path: Path, chosen: dict[str, Value], table: pd.DataFrame, curve: Sequence[float], groups: Breakdown
) -> None:
    """Write a finished run with the predictions of a table, and a curve of inner-validation macro-F1."""
    config = plain(TrainConfig())
    for key, value in (chosen | {"trainer.max_epochs": len(curve)}).items():
        section, name = key.split(".")
        config[section][name] = value
    config["name"] = f"{path.parent.name}/{path.name}"
    parameters, multiply_adds = COST[str(chosen["model.name"])]
    job = Job(
        command="fer-id sweep run",
        seed=0,
        store=STORE,
        cost=Cost(parameters=parameters, multiply_adds_per_clip=multiply_adds),
        precision="32",
        seconds=3.0 * len(curve),
        peak_memory_bytes=4 * parameters + 10**9,
    )
    metrics = compute_metrics(table, TARGET, "synthetic")
    subgroups, _ = compute_subgroups(table, TARGET, groups)
    lines = [{"epoch": epoch, "step": 10 * epoch, "val/macro_f1": value} for epoch, value in enumerate(curve)]
    run = RunDir.create(path, config, job)
    run.write_predictions(table)
    run.write_metrics(metrics.model_copy(update={"subgroups": subgroups}))
    atomic_write_text(run.path / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    run.finish()
