"""Content of ``config.yaml`` and ``job.json`` of a run that is begun in Python, and facts about where it is trained."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import nn

from fer_id.errors import ConfigError
from fer_id.models.build import model_cost
from fer_id.models.config import OWN_MODULE
from fer_id.models.network import ClipClassifier
from fer_id.runs.configs import TrainerSection
from fer_id.runs.job import Cost, Job

NO_AUGMENTATION = dict.fromkeys(
    ("flip", "brightness", "contrast", "rotation_deg", "scale", "shift", "noise", "occlusion", "background"), 0.0
)
"""``augment`` in the configuration where training clips stay as they are."""

LIBRARIES = ("torch", "pytorch-lightning", "timm", "albumentations", "torchmetrics", "numpy", "pandas")

PRECISIONS = {"bf16-mixed": "bf16"}
"""Precision of a Trainer -> the same in a configuration, where that is not ``32``."""


def describe_config(name: str, task: Any, data: Any, begun: TrainerSection) -> dict[str, object]:
    """Return ``config.yaml``: settings of task and data; those of the Trainer are added when it begins to fit. A
    ``ClipClassification`` gives the optimiser and the loss too; ``begun`` has the Trainer's settings of a run that is
    resumed. Raises ConfigError for a data module of another kind."""
    if missing := [part for part in ("config", "protocol", "describe") if not hasattr(data, part)]:
        raise ConfigError(
            f"RunDir.begin: the data module is a {type(data).__name__} without {', '.join(missing)}, expected one of "
            "data_modules: a run notes its stores, splits and subjects, so that nobody is judged on whom a model knows"
        )
    parts = {key: getattr(task, key, None) for key in ("optim", "loss")}
    return {
        "data": asdict(data.config),
        "model": _model(task),
        "recipe": "own",
        "protocol": asdict(data.protocol),
        "name": name,
        "seed": data.seed,
        "batch_size": data.batch_size,
        **{key: asdict(part) for key, part in parts.items() if is_dataclass(part) and not isinstance(part, type)},
        "augment": NO_AUGMENTATION if data.augment is None else asdict(data.augment),
        "trainer": {
            "precision": "32",
            "memory_format": "contiguous",
            **begun,
            "test_views": getattr(task, "test_views", "one"),
            "resolution": [list(step) for step in getattr(task, "resolution", ())],
        },
    }


def describe_trainer(trainer: Any, monitor: str) -> TrainerSection:
    """Return the settings in section ``trainer`` of ``config.yaml`` that a Trainer decides."""
    epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else 100_000
    return {
        "max_epochs": epochs,
        "validate_every": trainer.check_val_every_n_epoch or 1,
        "monitor": monitor,
        "precision": PRECISIONS.get(str(trainer.precision), "32"),
        "gradient_clip": float(trainer.gradient_clip_val or 0.0),
    }


def describe_job(command: str, task: Any, data: Any) -> Job:
    """Return ``job.json``: facts about a run beside its settings; a run of new weights, so without a parent."""
    frames = int(data.clips["length"].max())
    return Job(
        **environment(command),
        **data.describe(),
        seed=data.seed,
        model=str(_model(task)["name"]),
        parents=[],
        cost=_cost(task.model, len(data.labels), frames, data.crop),
        precision="32",
        memory_format="contiguous",
        machine=machine(),
        processes=1,
    )


def _model(task: Any) -> Mapping[str, object]:
    """Return section ``model``: the settings that fer_id builds it from, or the class name of a custom module."""
    model = getattr(task, "model", None)
    if not isinstance(model, nn.Module):
        raise ConfigError(
            f"RunDir.begin: {type(task).__name__}.model is a {type(model).__name__}, expected the nn.Module that is "
            "trained, under the name `model`"
        )
    if isinstance(model, ClipClassifier) and model.config is not None:
        return asdict(model.config)
    return {"name": type(model).__name__, "encoder": OWN_MODULE, "head": "mean"}


def _cost(model: nn.Module, classes: int, frames: int, side: int) -> Cost:
    if isinstance(model, ClipClassifier) and model.config is not None:
        cost = model_cost(model.config, classes, frames, side)
        return Cost(parameters=cost.parameters, multiply_adds_per_clip=cost.clip, frames=frames)
    parameters = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return Cost(parameters=parameters, multiply_adds_per_clip=None, frames=frames)


class Environment(TypedDict):
    """First keys of ``job.json``."""

    command: str
    started: str
    versions: dict[str, str]
    git_commit: str | None


def environment(command: str) -> Environment:
    """Return what a run is begun with: the command, now, the versions of the libraries, and the commit."""
    return {
        "command": command,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime()),
        "versions": {library: version(library) for library in LIBRARIES} | {"python": platform.python_version()},
        "git_commit": _commit(),
    }


def machine(device_type: str | None = None) -> str:
    """Return the name of the processor, or of the GPU where there is one and ``device_type`` is not ``cpu``, with the
    number of threads; no host name."""
    if device_type != "cpu" and torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {torch.get_num_threads()} CPU threads"
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {torch.get_num_threads()} CPU threads"


def _commit() -> str | None:
    """Return the commit of the checkout that the program runs from; None where it runs from no checkout."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
