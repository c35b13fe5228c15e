"""Content of ``job.json``: facts about a run that its configuration does not hold, such as its peak memory."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from data_modules.base import FerDataModule
from experiments.config import TrainConfig
from fer_id.evaluation.config import Fold
from fer_id.files import sha256
from fer_id.models.build import model_cost
from fer_id.runs.description import environment, machine
from fer_id.runs.job import Cost, Job
from fer_id.runs.run_dir import RunDir
from fer_id.runs.shipped import recorded_name

_PROC = Path("/proc/self")


def describe_job(
    config: TrainConfig,
    data: FerDataModule,
    folds: Sequence[Fold],
    parents: Sequence[RunDir | None],
    sources: Sequence[FerDataModule] = (),
) -> Job:
    """Return the content of ``job.json`` before the training begins: of a fold, or of all folds of a cross-validation,
    whose subjects and clips are united. ``parents`` are the runs that the folds start from (None: new weights),
    ``sources`` their data, where the adaptation strategy learns from them again."""
    frames = int(data.clips["length"].max())
    cost = model_cost(config.model, len(data.labels), frames, data.crop)
    facts = data.describe(folds)
    if sources:  # source subjects, whose clips are learned from again
        again = {subject for source in sources for subject in source.subjects(source.fold.train)}
        facts["subjects"]["source"] = sorted(again)
    return Job(
        **environment(shlex.join(["fer-id", *sys.argv[1:]])),
        **facts,
        seed=config.seed,
        model=config.model.name,
        parents=list(dict.fromkeys(recorded_name(run.path) for run in parents if run)),
        weights_file=sha256(Path(config.model.weights)) if config.model.weights and not any(parents) else None,
        cost=Cost(parameters=cost.parameters, multiply_adds_per_clip=cost.clip, frames=frames),
        precision=config.trainer.precision,
        memory_format=config.trainer.memory_format,
        machine=machine(),
        processes=config.trainer.processes,
    )


def reset_peak() -> None:
    """Reset the peak, so that each training in one process has its own."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):  # not Linux, or forbidden in a container: the peak is then that of the whole process
        (_PROC / "clear_refs").write_text("5")


def peak_bytes() -> int | None:
    """Return the peak in bytes since :func:`reset_peak`, on a CPU with all libraries; None where it is not known."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    with suppress(OSError):
        if found := re.search(r"VmHWM:\s+(\d+) kB", (_PROC / "status").read_text()):
            return int(found[1]) * 1024
    return None


def own_megabytes() -> float:
    """Return the MiB of this process alone: anonymous pages, without mapped files; 0 where they are not known."""
    status = _PROC / "status"
    lines = status.read_text().splitlines() if status.is_file() else []
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))
