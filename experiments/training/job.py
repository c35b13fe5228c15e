"""``job.json``: what must be known of a run that its configuration does not say."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from data_modules.base import FerDataModule
from data_modules.pool import made_of
from experiments.config import TrainConfig
from fer_id.evaluation.config import SPLITS, Fold
from fer_id.evaluation.protocol import OF_THE_TESTED
from fer_id.models.cost import model_cost
from fer_id.runs.run_dir import RunDir

LIBRARIES = ("torch", "pytorch-lightning", "timm", "albumentations", "torchmetrics", "numpy", "pandas")


def describe_job(
    config: TrainConfig,
    data: FerDataModule,
    folds: Sequence[Fold],
    parents: Sequence[RunDir | None],
    sources: Sequence[FerDataModule] = (),
) -> dict[str, Any]:
    """What ``job.json`` says of a run before it begins.

    Args:
        config: the resolved configuration.
        data: opened stores.
        folds: the fold it trains; of a cross-validation all of them, whose subjects and clips are united.
        parents: the run that each fold starts from; None for new weights.
        sources: what those runs learned from, where it is learned from again.
    """
    frames = int(data.clips["length"].max())
    cost = model_cost(config.model, len(data.labels), frames)
    card = data.stores[0].card
    seen = (*SPLITS, *(["unlabelled"] if any(len(fold.unlabelled) for fold in folds) else []))
    united = {split: np.unique(np.concatenate([getattr(fold, split) for fold in folds])) for split in seen}
    return {
        "command": shlex.join(["fer-id", *sys.argv[1:]]),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime()),
        "versions": {library: version(library) for library in LIBRARIES} | {"python": platform.python_version()},
        "git_commit": _commit(),
        "seed": config.seed,
        "fold": folds[0].name if len(folds) == 1 else None,
        "mode": next((fold.mode for fold in folds if fold.mode != "inductive"), "inductive"),
        "dataset": config.data.name,
        "model": config.model.name,
        "store": {
            "name": " + ".join(store.path.name for store in data.stores),
            "fingerprint": data.fingerprint,
            "made_of": made_of(data.stores),
            "provenance": data.provenance,
            "drawn": all(store.card.provenance == "synthetic" for store in data.stores),
            "label_space": data.labels.name,
            "shard_by": card.shard_by,
            "geometry": card.geometry,
            "mesh_mappings": sorted({*chain.from_iterable(data.mesh_mappings.values())}),
            "fps": _same(data.clips["fps"].dropna().unique().tolist()),
            "min_eye_distance": _same([store.card.parameters.get("min_eye_distance") for store in data.stores]),
            "audit": card.audit if len(data.stores) == 1 else {s.path.name: s.card.audit for s in data.stores},
        },
        "subjects": {split: data.subjects(rows) for split, rows in united.items()} | _of_sources(sources),
        "children": {split: data.n_children(rows) for split, rows in united.items()},
        "clips": {split: len(rows) for split, rows in united.items()},
        "dropped": _dropped(folds)
        | {f"label {name} not in {data.labels.name}": n for name, n in data.dropped_labels.items()},
        "parents": list(dict.fromkeys(str(run.path) for run in parents if run)),
        "cost": {"parameters": cost.parameters, "multiply_adds_per_clip": cost.clip, "frames": frames},
        "precision": config.trainer.precision,
        "memory_format": config.trainer.memory_format,
        "machine": machine(),
        "processes": config.trainer.processes,
    }


def _same(values: Sequence[float | None]) -> float | None:
    """The one value that all have; None where they differ, or nobody has any."""
    known = set(values)
    return known.pop() if len(known) == 1 else None


def _of_sources(sources: Sequence[FerDataModule]) -> dict[str, list[str]]:
    """Whose clips of the source are learned from again; nothing where none are."""
    seen = {subject for source in sources for subject in source.subjects(source.fold.train)}
    return {"source": sorted(seen)} if sources else {}


def _dropped(folds: Sequence[Fold]) -> dict[str, int]:
    """Why clips were left out; of several folds what adds up: clips of the tested, and folds that are missing."""
    if len(folds) == 1:
        return folds[0].dropped
    added = Counter[str]()
    for fold in folds:
        added.update({reason: count for reason, count in fold.dropped.items() if reason in OF_THE_TESTED})
    missing = {reason: count for reason, count in folds[0].dropped.items() if reason.startswith("folds ")}
    return dict(added) | missing


def machine(device_type: str | None = None) -> str:
    """Processor or accelerator and how many threads; no host name.

    Args:
        device_type: ``cpu`` or ``cuda``; None: the GPU where there is one.
    """
    import torch

    if device_type != "cpu" and torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {torch.get_num_threads()} CPU threads"
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {torch.get_num_threads()} CPU threads"


def _commit() -> str | None:
    """Commit of the checkout the program runs from; None where it is installed without one."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
