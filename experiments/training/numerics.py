"""Precision and memory format of a training: of the begun run, of the settings, of earlier timings, or timed now.

Timings are stored in :data:`MEMORY` below ``runs.root``, so that trials of a sweep and later trainings of the same
model and batch on the same machine do not measure again. The file may be deleted at any time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

from experiments.config import TrainConfig
from experiments.settings.loading import plain
from experiments.training.trainer import device
from fer_id import __version__
from fer_id.errors import ConfigError, FerIdError, RunError
from fer_id.files import locked, read_json, write_json
from fer_id.models.build import build_model
from fer_id.models.config import UNTRAINED
from fer_id.progress import say
from fer_id.runs.configs import TrainerSection
from fer_id.runs.description import machine
from fer_id.runs.run_dir import RunDir
from fer_id.shapes import record
from fer_id.tasks.numerics import FORMATS, PRECISIONS, Numerics, measure, supports

if TYPE_CHECKING:
    import torch

    from data_modules.base import FerDataModule

MEMORY = ".numerics.json"
PATIENCE_S = 120.0
"""Seconds to wait for another process that is timing steps, which needs the processor to itself."""

PRECISION = "trainer.precision"

ISA_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Environment variables that keep oneDNN from newer instructions."""


class Decision(BaseModel):
    """A stored timing: what was decided for which question (everything that the fastest numerics depend on), and when;
    ``seconds`` of a step by candidate."""

    precision: Literal["32", "bf16"]
    memory_format: Literal["channels_last", "contiguous"]
    timed_on: str
    seconds: dict[str, float] = {}
    question: dict[str, object] = Field(alias="for")


def settled(config: TrainConfig, path: Path, data: FerDataModule) -> TrainConfig:
    """Return the configuration with ``auto`` precision decided; raise ConfigError where there is no such accelerator,
    or it does not support the precision of the configuration or of the begun run."""
    chosen, where = config.trainer, device(config)
    if chosen.accelerator == "gpu" and where.type != "cuda":
        raise ConfigError("trainer.accelerator=gpu: there is no GPU that torch can use; say cpu or auto")
    begun = _begun(path)
    require_precision(chosen.precision, where)
    if begun and chosen.precision == "auto" and not RunDir(path).done and not supports(begun["precision"], where):
        raise ConfigError(
            f"{path} was begun in {begun['precision']}, and {_lacks(begun['precision'], where)}: resume it on a "
            f"machine that has it, or go on in float32 with {PRECISION}=32, which its config.yaml and job.json then say"
        )
    if "auto" not in (chosen.precision, chosen.memory_format):
        return config
    decided = begun or _decided(config, data, where)
    precision = decided["precision"] if chosen.precision == "auto" else chosen.precision
    memory_format = decided["memory_format"] if chosen.memory_format == "auto" else chosen.memory_format
    return replace(config, trainer=replace(chosen, precision=precision, memory_format=memory_format))


def require_precision(precision: str, where: torch.device) -> None:
    """Raise ConfigError unless the device ``where`` supports the precision."""
    if not supports(precision, where):
        raise ConfigError(f"{PRECISION}={precision}: {_lacks(precision, where)}; say {PRECISION}=32, or auto")


def changeable(config: TrainConfig, path: Path) -> tuple[str, ...]:
    """Return settings that a resumed run may change besides the free ones: the precision, to float32, where this
    machine does not support the precision that the run was begun in."""
    begun = _begun(path)
    lacks = begun is not None and not supports(begun["precision"], device(config))
    return (PRECISION,) if lacks and config.trainer.precision == "32" else ()


def _lacks(precision: str, where: torch.device) -> str:
    return f"this machine ({machine(where.type)}) has no arithmetic for {precision}"


def _begun(path: Path) -> TrainerSection | None:
    """Return section ``trainer`` of the configuration of a begun run; None where there is no run."""
    run = RunDir(path)
    if not (path / "config.yaml").exists():
        return None
    run.require_whole()
    return run.config().get("trainer")


def _decided(config: TrainConfig, data: FerDataModule, where: torch.device) -> dict[str, str]:
    """Return ``precision`` and ``memory_format`` of an earlier timing; else time the candidates and store it."""
    path = Path(config.runs.root) / MEMORY
    frames = 1 if config.data.frames == "frame" else int(data.clips["length"].max())
    question = _question(config, len(data.labels), (frames, data.crop), where)
    with _alone(path.parent):
        entries = _remembered(path)
        for entry in entries:
            if entry.question == question and supports(entry.precision, where):
                say(f"precision {_title(entry)}: remembered from {entry.timed_on} (delete {path} to measure again)")
                return entry.model_dump(include={"precision", "memory_format"})
        best, *others = measure(
            build_model(replace(config.model, **UNTRAINED), len(data.labels)),
            (config.batch_size, frames),
            device=where,
            precisions=tuple(PRECISIONS) if config.trainer.precision == "auto" else (config.trainer.precision,),
            formats=tuple(FORMATS) if config.trainer.memory_format == "auto" else (config.trainer.memory_format,),
            side=data.crop,
        )
        slower = ", ".join(f"{_title(candidate)} {candidate.seconds:.3f}" for candidate in others)
        say(f"precision {_title(best)}: {best.seconds:.3f} s a timed step{f' ({slower})' if slower else ''}")
        decided = {"precision": best.precision, "memory_format": best.memory_format}
        seconds = {_title(candidate): candidate.seconds for candidate in (best, *others)}
        new = {**decided, "timed_on": time.strftime("%Y-%m-%d"), "seconds": seconds, "for": question}
        try:
            write_json(path, {"decisions": [*(entry.model_dump(by_alias=True) for entry in entries), new]})
        except OSError as problem:
            say(f"{path}: not written ({problem.strerror}), so it is measured again next time")
        return decided


def _title(candidate: Numerics | Decision) -> str:
    return f"{candidate.precision} {candidate.memory_format}"


def _question(config: TrainConfig, classes: int, clip: tuple[int, int], where: torch.device) -> dict[str, object]:
    """Return everything that the fastest numerics depend on, as plain JSON; ``clip``: its frames, and their side."""
    import torch

    indifferent = {"name", "dropout", *UNTRAINED}
    return {
        "model": {key: value for key, value in plain(config.model).items() if key not in indifferent},
        "classes": classes,
        "batch": [config.batch_size, *clip],
        "candidates": [config.trainer.precision, config.trainer.memory_format],
        "device": where.type,
        "machine": machine(where.type),
        "instructions": [torch.backends.cpu.get_cpu_capability(), *map(os.environ.get, ISA_LIMITS)],
        "bf16": supports("bf16", where),
        "versions": {"torch": torch.__version__, "timm": version("timm"), "fer_id": __version__},
    }


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Let one process time steps at a time; a process that waited can then use the stored timing."""
    with ExitStack() as stack:
        try:
            root.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(root, RunError, patience_s=PATIENCE_S))
        except (OSError, RunError) as problem:
            say(f"precision are timed beside other processes: {problem}")
        yield


def _remembered(path: Path) -> list[Decision]:
    """Return the stored timings; an empty list, with a message, where the file is damaged."""
    if not path.exists():
        return []
    try:
        entries = read_json(path, RunError).get("decisions")
        return record(list[Decision], entries, f"{path}: not a list of decisions", RunError)
    except FerIdError as problem:
        say(f"{problem}: it is ignored, and written anew")
        return []
