"""A finished run whose weights are cast to float16; predicted, scored and explained again, its numbers are theirs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from experiments.training.trained_model import TrainedModel
from experiments.training.trainer import alone, make_trainer, quiet
from experiments.verbs.explain import explain_run
from fer_id.callbacks.record import WritePredictions
from fer_id.errors import RunError
from fer_id.explain.config import ExplainConfig
from fer_id.loggers.run_logger import RunLogger
from fer_id.models.checkpoint import MODEL, is_finite, load_model, load_state, write_tensors
from fer_id.progress import say
from fer_id.reporting.report import write_evaluation, write_report
from fer_id.runs.run_dir import RunDir
from fer_id.tasks.classification import ClipClassification

SUFFIX = "-float16"
"""Ending of the folder of the cast run, beside that of the run."""

CLIPS = 400
"""Test clips of the explanation, enough for an interval of a few hundredths."""


def half_run(run: RunDir, explain: ExplainConfig | None = None) -> RunDir:
    """Return the run of the weights in float16, ``<run>-float16``, made where it does not exist.

    It computes in float32 on every machine (contiguous), whatever the training did. Raises RunError where the run is no
    single finished training, its store is missing or was made again, a weight is beyond float16, or the folder holds
    another run; and as ``explain``.
    """
    quiet()
    trained = TrainedModel.portable(RunDir.open(run.path))
    data = trained.data  # compares checkpoint and predictions
    state = _cast(trained.model.state_dict(), run)
    half = RunDir(run.path.with_name(f"{run.path.name}{SUFFIX}"))
    if half.done:
        _require_same(half, state)
        return half
    say(f"{half.path}: the weights of {run.path} in float16, judged and explained anew")
    config: Any = run.config()
    config["name"] = f"{config.get('name')}{SUFFIX}"
    config["trainer"] |= {"precision": "32", "memory_format": "contiguous"}
    job = run.job().model_copy(update={"precision": "32", "memory_format": "contiguous"})
    with RunDir.claim(half.path, config, job):
        write_tensors({"state_dict": state}, half.path / "checkpoints" / "best.ckpt")
        shutil.copyfile(run.path / "metrics.jsonl", half.path / "metrics.jsonl")
        load_model(trained.model, half.checkpoint())
        task = ClipClassification(trained.model, trained.labels, test_views=trained.config.trainer.test_views)
        settings = replace(trained.config.trainer, precision="32", memory_format="contiguous")
        settled = alone(replace(trained.config, trainer=settings))
        tester = make_trainer(settled, half, [RunLogger(half)], [], [WritePredictions(half)])
        tester.test(task, datamodule=data, verbose=False)
        write_evaluation(half)
        explain_run(half, explain or ExplainConfig(clips=CLIPS))
        write_report(half)
        half.finish()
    return half


def _cast(weights: Mapping[str, Tensor], run: RunDir) -> dict[str, Tensor]:
    """Return the weights under their names in a checkpoint; floating-point ones are cast, counters are not."""
    state = {
        f"{MODEL}{name}": value.half() if value.is_floating_point() else value.clone()
        for name, value in weights.items()
    }
    if beyond := [name.removeprefix(MODEL) for name, value in state.items() if not is_finite(value)]:
        raise RunError(f"{run.path}: not cast to float16, whose largest number is 65504: {', '.join(beyond[:3])}")
    return state


def _require_same(half: RunDir, state: Mapping[str, Tensor]) -> None:
    """Raise RunError unless a finished cast run holds these weights."""
    own = load_state(half.checkpoint())
    if any(not torch.equal(own.get(name.removeprefix(MODEL), torch.empty(0)), value) for name, value in state.items()):
        raise RunError(f"{half.path} holds other weights than its run has now: remove it, and say the same again")
