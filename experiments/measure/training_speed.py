"""Throughput of ``fer-id train`` beside a bare loop (forward, backward, optimiser step, on tensors in memory); overhead
of a sweep over running its trials by hand, and speed-up by running two trials at a time."""

from __future__ import annotations

import copy
import shlex
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytorch_lightning as pl
import torch
import yaml
from numpy.typing import NDArray
from torch.nn import functional as F

from experiments.config import TrainConfig
from experiments.measure.timing import Result, command_seconds, span
from experiments.settings.loading import load, plain
from experiments.sweeping.ledger import Ledger
from experiments.training.numerics import settled
from experiments.training.setup import make_model, make_task, open_data
from experiments.training.trainer import chosen_callbacks, device, make_trainer, make_wandb_logger, quiet
from fer_id.evaluation.config import SPLITS
from fer_id.labels import TARGET
from fer_id.loggers.run_logger import RunLogger
from fer_id.models.build import build_model
from fer_id.models.network import ClipClassifier
from fer_id.preprocessing.alignment import crop_geometry
from fer_id.runs.job import Job
from fer_id.runs.run_dir import RunDir
from fer_id.simulation.drawn.clip_store import SyntheticConfig, draw_clip
from fer_id.simulation.drawn.geometry import landmarks
from fer_id.simulation.neutral_shape import to_crop
from fer_id.store.card import StoreCard
from fer_id.store.writer import ClipStoreWriter
from fer_id.tasks.classification import make_optimiser
from fer_id.tasks.numerics import autocast
from fer_id.types import CROP, LANDMARKS, ClipBatch

SETTLE = 3  # uncounted steps after each change of sides: caches are cold, and the loader is two batches ahead

ROUNDS = {"cnn_lstm": (5, 8), "resnet50": (8, 12)}
"""Model -> rounds, counted steps per round: about a minute and a half on two cores."""

LENGTH = {"cnn_lstm": 10, "resnet50": 1}  # frames per clip

EPOCHS = 70  # epochs of a trial: about a minute on one core

TRIAL = (
    *("data=synthetic", "protocol=holdout", "recipe=demo", "model=conv4", "model.widths=[16,32,64,128]"),
    *("data.frames=frame", "trainer.precision=32", "trainer.memory_format=channels_last", "trainer.accelerator=cpu"),
)


def training(model: str) -> Iterator[Result]:
    """Train a shipped model with the parts of ``fer-id train``, in turns with a bare loop on a copy of the model."""
    rounds, steps = ROUNDS[model]
    with TemporaryDirectory() as folder:
        root, batch_size = Path(folder), 32
        clips = {"train": batch_size * (rounds * (SETTLE + steps) + 1), "validation": 32, "test": 32}
        store = random_store(root / "store", clips, length=LENGTH[model])
        words = ["data=synthetic", f"model={model}", "recipe=paper", "protocol=official", "trainer.max_epochs=1"]
        words += [f"batch_size={batch_size}", f"data.store={store}", f"runs.root={root}/runs", "name=bench/race"]
        config = load(TrainConfig, [*words, "logging.wandb=offline"])
        quiet()
        data, path = open_data(config, None), root / "runs" / "bench" / "race"
        config = settled(config, path, data)
        run = RunDir.create(path, plain(config), Job(children={}))
        network, start = make_model(config, data, None)
        task = make_task(config, network, data, start)
        turns = Turns(bare_step(copy.deepcopy(network), config, int(data.clips["length"].max())), rounds, steps)
        mirror = make_wandb_logger(config, run, data, "bench")
        trainer = make_trainer(config, run, [RunLogger(run), mirror], chosen_callbacks(config))
        trainer.callbacks.append(turns)  # type: ignore[attr-defined]  # a list; Lightning leaves it out of the stubs
        trainer.fit(task, data)
        mirror.close()
    ratios = [bare / ours for ours, bare in zip(turns.ours, turns.bare, strict=True)]
    ours, bare = (rounds * steps * batch_size / sum(took) for took in (turns.ours, turns.bare))
    note = (
        f"{span(ratios)} over {len(ratios)} rounds; {ours:.1f} against {bare:.1f} clips/s; "
        f"batch {batch_size}, {config.trainer.precision}, {config.trainer.memory_format}"
    )
    name = f"train {model}: fer-id train over a bare loop"
    yield Result(name, statistics.median(ratios), "ratio", 0.90, at_least=True, note=note)


def sweeping() -> Iterator[Result]:
    """Measure two trials of a minute: by hand before and after a sweep, in it, and side by side; one thread each."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        _command(["synth", f"out={root / 'store'}", "subjects=12", "seed=7"])
        file = root / "race.yaml"
        file.write_text(yaml.safe_dump(_race(root / "store")))
        # One epoch, to obtain the recorded commands that are then run by hand.
        _command(["sweep", "run", str(file), f"runs.root={root}/plan", "trainer.max_epochs=1", "concurrent=1"])
        trials = Ledger.open(root / "plan" / "race").trials.values()
        commands = [str(RunDir(root / "plan" / "race" / trial.job).job().command) for trial in trials]
        before = _by_hand(commands[0], root)
        alone = _command(["sweep", "run", str(file), f"runs.root={root}/alone", "concurrent=1"])
        after = _by_hand(commands[1], root)
        together = _command(["sweep", "run", str(file), f"runs.root={root}/together", "concurrent=2"])
    note = f"{alone:.0f} s against {before:.0f} + {after:.0f} s"
    yield Result("sweep over its trials by hand", alone / (before + after), "ratio", 1.10, note=note)
    note = f"{together:.0f} s against {alone:.0f} s, both with the start of the sweep"
    yield Result("two trials side by side", together / alone, "ratio", 0.65, note=note)


def _race(store: Path) -> dict[str, object]:
    command = ["fer-id", "train", *TRIAL, f"data.store={store}", f"trainer.max_epochs={EPOCHS}", "${args_no_hyphens}"]
    return {
        "name": "race",
        "command": command,
        "method": "grid",
        "metric": {"name": "val/macro_f1", "goal": "maximize"},
        "parameters": {"optim.lr": {"values": [0.001, 0.002]}},
    }


def _by_hand(command: str, root: Path) -> float:
    changed = {"runs.root": f"{root}/hand", "trainer.max_epochs": str(EPOCHS)}
    pairs = [(word, word.partition("=")[0]) for word in shlex.split(command)[1:]]
    return _command([f"{key}={changed[key]}" if key in changed else word for word, key in pairs])


def _command(words: Sequence[str]) -> float:
    return command_seconds(words, OMP_NUM_THREADS="1", WANDB_MODE="disabled")


class Turns(pl.Callback):
    """Callback that times ``steps`` steps of the Trainer, then as many of ``bare``, and so on within one epoch.

    ``ours`` and ``bare`` are the seconds of each round; :data:`SETTLE` steps before each side's are not counted.
    """

    def __init__(self, bare: Callable[[], None], rounds: int, steps: int) -> None:
        self._step, self._rounds, self._steps = bare, rounds, steps
        self._began = 0.0
        self.ours: list[float] = []
        self.bare: list[float] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
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
                _add_noise(writer, f"{split}-{number:06d}", number, split, points, rng)
    return path


def posed_store(path: Path, stills: int) -> Path:
    """Write a store in the form of a benchmark's: noise as pictures, with the landmarks of drawn people."""
    card = StoreCard("real", TARGET.name, "split", "noise", geometry=crop_geometry(aligned=True, colour="rgb"))
    rng, people = np.random.default_rng(0), SyntheticConfig(population="adults")
    with ClipStoreWriter(path, card) as writer:
        for number in range(stills):
            person = people.subject(number)
            habit = person.habits[TARGET.names[number % len(TARGET)]]
            points = to_crop(100 * landmarks(person.look.shape, person.rest + habit)[:, :2])
            _add_noise(writer, f"{number:06d}", number, SPLITS[number // 10 % 3], points[None].astype(np.float32), rng)
    return path


def _add_noise(
    writer: ClipStoreWriter, name: str, number: int, split: str, points: NDArray[np.float32], rng: np.random.Generator
) -> None:
    """Add a clip of noise with landmarks (T, 68, 2), of a person of its own and the class in turn."""
    frames = np.frombuffer(rng.bytes(len(points) * CROP * CROP * 3), np.uint8).reshape(-1, CROP, CROP, 3)
    label = TARGET.names[number % len(TARGET)]
    writer.add_clip({"clip_id": name, "subject_id": name, "label": label, "split": split}, frames, points)


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
    child, labels = config.subject(0), [number % len(TARGET) for number in range(clips)]
    drawn = [draw_clip(child, TARGET.names[label], number, config)[1] for number, label in enumerate(labels)]
    frames, points, valid = (torch.from_numpy(np.stack(parts)) for parts in zip(*drawn, strict=True))
    return {
        "frames": frames.permute(0, 1, 4, 2, 3).float() / 255,
        "valid": valid,
        "landmarks": points,
        "label": torch.tensor(labels),
        "clip_id": [f"{number:02d}" for number in range(clips)],
        "subject_id": [child.traits.subject_id] * clips,
    }
