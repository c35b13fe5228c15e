"""Throughput of ``fer-id train`` beside a bare loop: forward, backward, optimiser step, on tensors in memory."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch.nn import functional as F

from experiments.config import TrainConfig
from experiments.settings.loading import load, plain
from experiments.training.numerics import settled
from experiments.training.setup import make_model, make_task, open_data
from experiments.training.trainer import device, make_trainer, make_wandb_logger, quiet
from fer_id.evaluation.config import SPLITS
from fer_id.labels import TARGET
from fer_id.loggers.run_logger import RunLogger
from fer_id.models.build import build_model
from fer_id.models.network import ClipClassifier
from fer_id.runs.job import Job
from fer_id.runs.run_dir import RunDir
from fer_id.simulation.drawn.clip_store import SyntheticConfig, draw_clip
from fer_id.store.card import StoreCard
from fer_id.store.writer import ClipStoreWriter
from fer_id.tasks.classification import make_optimiser
from fer_id.tasks.numerics import autocast
from fer_id.types import CROP, LANDMARKS, ClipBatch

SETTLE = 3
"""Uncounted steps after each change of sides: caches are cold, and the loader is two batches ahead."""

ROUNDS = {"cnn_lstm": (5, 8), "resnet50": (8, 12)}
"""Model -> rounds, counted steps per round: about a minute and a half on two cores."""

LENGTH = {"cnn_lstm": 10, "resnet50": 1}
"""Frames per clip."""


class Race(NamedTuple):
    """Throughputs of both sides.

    Attributes:
        ratios: throughput of ``fer-id train`` over that of the bare loop, by round.
        clips_per_second, bare_clips_per_second: throughputs over all rounds.
        settings: batch size, precision and memory format of both sides.
    """

    ratios: list[float]
    clips_per_second: float
    bare_clips_per_second: float
    settings: str


def race(model: str) -> Race:
    """Train a shipped model with the parts of ``fer-id train``, in turns with a bare loop on a copy of the model."""
    rounds, steps = ROUNDS[model]
    with TemporaryDirectory() as folder:
        root = Path(folder)
        batch_size = 32
        clips = batch_size * (rounds * (SETTLE + steps) + 1)
        store = random_store(root / "store", {"train": clips, "validation": 32, "test": 32}, length=LENGTH[model])
        config = load(
            TrainConfig,
            [
                *("data=synthetic", f"model={model}", "recipe=paper", "protocol=official", "trainer.max_epochs=1"),
                *(f"batch_size={batch_size}", f"data.store={store}", f"runs.root={root}/runs", "name=bench/race"),
                "logging.wandb=offline",
            ],
        )
        return _race(config, root / "runs" / "bench" / "race", rounds, steps)


def _race(config: TrainConfig, path: Path, rounds: int, steps: int) -> Race:
    quiet()
    data = open_data(config, None)
    config = settled(config, path, data)
    run = RunDir.create(path, plain(config), Job(children={}))
    model, start = make_model(config, data, None)
    task = make_task(config, model, data, start)
    turns = Turns(bare_step(copy.deepcopy(model), config, int(data.clips["length"].max())), rounds, steps)
    mirror = make_wandb_logger(config, run, data, "bench")
    trainer = make_trainer(config, run, [RunLogger(run), mirror])
    trainer.callbacks.append(turns)  # type: ignore[attr-defined]  # a list; Lightning leaves it out of the stubs
    trainer.fit(task, data)
    mirror.close()
    clips = rounds * steps * config.batch_size
    return Race(
        [bare / ours for ours, bare in zip(turns.ours, turns.bare, strict=True)],
        clips / sum(turns.ours),
        clips / sum(turns.bare),
        f"batch {config.batch_size}, {config.trainer.precision}, {config.trainer.memory_format}",
    )


class Turns(pl.Callback):
    """Callback that times ``steps`` steps of the Trainer, then as many of the bare loop, and so on within one epoch.

    Args:
        bare: one step of the bare loop.
        rounds: number of rounds.
        steps: counted steps of each side per round, after :data:`SETTLE` uncounted ones.

    Attributes:
        ours, bare: seconds per round.
    """

    def __init__(self, bare: Callable[[], None], rounds: int, steps: int) -> None:
        self._step, self._rounds, self._steps = bare, rounds, steps
        self._began = 0.0
        self.ours: list[float] = []
        self.bare: list[float] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure from the end of one step to the end of another, so that everything in between counts."""
        done = batch_idx % (SETTLE + self._steps) + 1
        if done == SETTLE:
            self._began = _now()
        if done == SETTLE + self._steps and len(self.ours) < self._rounds:
            self.ours.append(_now() - self._began)
            self.bare.append(self._bare_round())

    def _bare_round(self) -> float:
        for _ in range(SETTLE):
            self._step()
        began = _now()
        for _ in range(self._steps):
            self._step()
        return _now() - began


def bare_step(model: ClipClassifier, config: TrainConfig, frames: int) -> Callable[[], None]:
    """Return the step of a plain loop with the same optimiser, precision and memory format, on four batches."""
    place = device(config)
    model = model.to(place).train()
    optimiser = make_optimiser(config.optim, [(model, 1.0)])
    shape = (config.batch_size, 1 if config.data.frames == "frame" else frames)
    batches = [torch.rand(*shape, CROP, CROP, 3, device=place).permute(0, 1, 4, 2, 3) for _ in range(4)]
    valid = torch.ones(*shape, dtype=torch.bool, device=place)
    target = torch.arange(shape[0], device=place) % len(TARGET)

    def step() -> None:
        batches.append(batches.pop(0))
        with autocast(config.trainer.precision, place):
            loss = F.cross_entropy(model(batches[0], valid).float(), target)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()

    return step


def random_store(path: Path, clips: Mapping[str, int], *, length: int) -> Path:
    """Write a store of noise with the given number of clips per split; labels cycle through the classes."""
    card = StoreCard("synthetic", TARGET.name, "split", "noise", geometry={"eyes": None, "colour": "rgb"})
    rng, points = np.random.default_rng(0), np.full((length, LANDMARKS, 2), CROP / 2, np.float32)
    with ClipStoreWriter(path, card) as writer:
        for split, count in clips.items():
            for number in range(count):
                name, label = f"{split}-{number:06d}", TARGET.names[number % len(TARGET)]
                frames = np.frombuffer(rng.bytes(length * CROP * CROP * 3), np.uint8)
                row = {"clip_id": name, "subject_id": name, "label": label, "split": split}
                writer.add_clip(row, frames.reshape(length, CROP, CROP, 3), points)
    return path


def posed_store(path: Path, stills: int) -> Path:
    """Write a store in the form of a benchmark's: noise as pictures, with the landmarks of drawn people."""
    from fer_id.preprocessing.alignment import crop_geometry
    from fer_id.simulation.drawn.clip_store import SyntheticConfig
    from fer_id.simulation.drawn.geometry import landmarks
    from fer_id.simulation.neutral_shape import to_crop

    card = StoreCard("real", TARGET.name, "split", "noise", geometry=crop_geometry(aligned=True, colour="rgb"))
    rng, people = np.random.default_rng(0), SyntheticConfig(population="adults")
    with ClipStoreWriter(path, card) as writer:
        for number in range(stills):
            name, label = f"{number:06d}", TARGET.names[number % len(TARGET)]
            person = people.subject(number)
            points = to_crop(100 * landmarks(person.look.shape, person.rest + person.habits[label])[:, :2])
            frames = np.frombuffer(rng.bytes(CROP * CROP * 3), np.uint8).reshape(1, CROP, CROP, 3)
            row = {"clip_id": name, "subject_id": name, "label": label, "split": SPLITS[number // 10 % 3]}
            writer.add_clip(row, frames, points[None].astype(np.float32))
    return path


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def shipped_model(name: str) -> ClipClassifier:
    """Return a shipped model for the five classes with random weights."""
    config = load(TrainConfig, ["data=synthetic", "data.store=unused", f"model={name}"]).model
    torch.manual_seed(0)
    return build_model(config, len(TARGET))


def drawn_batch(clips: int) -> ClipBatch:
    """Return a batch of ten-frame clips of one drawn child."""
    config = SyntheticConfig()
    drawn = [draw_clip(config.subject(0), TARGET.names[number % 5], number, config) for number in range(clips)]
    frames = torch.from_numpy(np.stack([clip.frames for _, clip in drawn])).permute(0, 1, 4, 2, 3).float() / 255
    return {
        "frames": frames,
        "valid": torch.from_numpy(np.stack([clip.valid for _, clip in drawn])),
        "landmarks": torch.from_numpy(np.stack([clip.landmarks for _, clip in drawn])),
        "label": torch.tensor([TARGET.index(row["label"]) for row, _ in drawn]),
        "clip_id": [f"{row['clip_id']}-{number}" for number, (row, _) in enumerate(drawn)],
        "subject_id": [row["subject_id"] for row, _ in drawn],
    }
