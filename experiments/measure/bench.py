"""Benchmarks of the framework against promised limits: ``python -m experiments.measure.bench [NAME...]``.

Prints a table and writes ``runs/bench.json``. Run it on an otherwise idle machine; the exit code is 1 where a limit was
missed. The two sides of a comparison are measured in turns within one process, so that a machine's drift affects them
alike.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from experiments.measure.timing import SHARED, Result, aligned, seconds, span
from fer_id.errors import ConfigError, FerIdError
from fer_id.exports import imported
from fer_id.files import write_json
from fer_id.progress import say

OUT = Path("runs/bench.json")
IMAGES = 28_709  # number of training images of FER2013


def store() -> Iterator[Result]:
    """Measure the opening of a store of the size of FER2013, and the memory that reading all of it takes."""
    from experiments.measure.training_speed import random_store
    from experiments.training.job import own_megabytes
    from fer_id.store.reader import ClipStore

    with TemporaryDirectory() as folder:
        path = random_store(Path(folder) / "store", {"train": IMAGES}, length=1)
        times = [seconds(lambda: ClipStore.open(path)) for _ in range(6)][1:]  # the first one imports parquet
        yield Result(f"open a store of {IMAGES:,} images", statistics.median(times), "s", 0.2, note=span(times))
        before, peak, opened = own_megabytes(), 0.0, ClipStore.open(path)
        for row in range(len(opened)):
            opened.read(row).frames.sum()
            if row % 1000 == 0:
                peak = max(peak, own_megabytes())
        note = f"{IMAGES * 12288 / 2**20:.0f} MiB of frames; not counted: mapped pages, which can be dropped"
        yield Result("memory taken by reading them all", peak - before if before else None, "MiB", 64, note=note)


def command_line() -> Iterator[Result]:
    """Measure ``fer-id --help``, start of the interpreter included."""
    program = [str(Path(sys.executable).with_name("fer-id")), "--help"]
    if not Path(program[0]).is_file():
        program = [sys.executable, "-m", "experiments.cli", "--help"]
    times = [seconds(lambda: subprocess.run(program, check=True, capture_output=True)) for _ in range(7)]
    yield Result("fer-id --help", statistics.median(times), "s", 0.5, note=span(times))


def augmentation() -> Iterator[Result]:
    """Measure the paper's augmentations, on one thread."""
    import numpy as np

    from fer_id.preprocessing.augmentation import AugmentConfig, ClipAugmenter
    from fer_id.types import CROP, LANDMARKS

    augment, rng = ClipAugmenter(AugmentConfig()), np.random.default_rng(0)
    for length, kind in ((1, "still"), (10, "clip of ten frames")):
        frames = rng.integers(0, 256, (length, CROP, CROP, 3), dtype=np.uint8)
        points = rng.uniform(0, CROP, (length, LANDMARKS, 2)).astype(np.float32)
        times = [seconds(lambda: augment(frames, points, seed=0, epoch=i, clip_id="a")) * 1e3 for i in range(1000)]  # noqa: B023
        yield Result(f"augment a {kind}", statistics.mean(times), "ms", note=f"median {statistics.median(times):.3f}")


def drawing() -> Iterator[Result]:
    """Measure the drawing of the synthetic cohort, on one thread."""
    import cv2

    from fer_id.labels import TARGET
    from fer_id.simulation.drawn.clip_store import SyntheticConfig, draw_clip

    cv2.setNumThreads(1)
    config, per_frame = SyntheticConfig(), []
    for index in range(4):
        subject = config.subject(index)
        for emotion in TARGET.names:
            per_frame.append(seconds(lambda: draw_clip(subject, emotion, 0, config)) * 1e3 / config.frames)  # noqa: B023
    yield Result("draw a 64x64 frame", statistics.mean(per_frame), "ms", 3.0, note=f"by clip {span(per_frame)}")


def simulating() -> Iterator[Result]:
    """Measure the simulation of ten-frame clips on all cores, for two sizes: the time must grow linearly."""
    from experiments.measure.training_speed import posed_store
    from fer_id.simulation.domain import DomainConfig
    from fer_id.simulation.stills import choose_stills
    from fer_id.simulation.target_domain import write_simulated_store
    from fer_id.store.reader import ClipStore

    rates = []
    with TemporaryDirectory() as folder:
        source = ClipStore.open(posed_store(Path(folder) / "source", 3000))
        for count in (100, 200):
            config = DomainConfig(
                subjects=[count] * 3, max_turn=2, max_misfit=1, max_fold=1, max_residual=9, max_base_residual=9
            )
            stills, out = choose_stills(source, config), Path(folder) / f"out{count}"
            took = seconds(lambda: write_simulated_store(stills, config, out))  # noqa: B023
            rates.append(len(ClipStore.open(out)) / took)
    note = f"{rates[0]:.0f} clips/s of half as many; starting the processes included"
    yield Result("simulate clips of ten frames", rates[1], "clips/s", 150, at_least=True, note=note)


def explaining() -> Iterator[Result]:
    """Measure Grad-CAM beside a forward pass, and on 256 clips with regions (drawn faces, random weights)."""
    import torch

    from experiments.measure.training_speed import drawn_batch, shipped_model
    from fer_id.explain.attribution import grad_cam
    from fer_id.explain.clips import explain_clips
    from fer_id.explain.layers import choose_layer

    for name in ("cnn_lstm", "resnet50"):
        model, batch = shipped_model(name).to(memory_format=torch.channels_last).eval(), drawn_batch(16)
        layer, target = choose_layer(model.encoder), torch.zeros(16, dtype=torch.long)

        def forward(model: Any = model, batch: Any = batch) -> None:
            with torch.inference_mode():
                model(batch["frames"], batch["valid"], batch["landmarks"])

        forward()
        ratios, times = [], []
        for _ in range(5):
            plain = seconds(forward)
            times.append(seconds(lambda: grad_cam(model, batch, target, layer)))  # noqa: B023
            ratios.append(times[-1] / plain)
        note = f"{span(ratios)}; {statistics.median(times):.2f} s for 16 clips of ten frames, float32 channels_last"
        yield Result(f"Grad-CAM of {name} over a forward pass", statistics.median(ratios), "ratio", 4.0, note=note)
        if name == "cnn_lstm":
            targets = dict.fromkeys(batch["clip_id"], 0)
            took = seconds(lambda: explain_clips(model, [batch] * 16, targets, layer))  # noqa: B023
            yield Result("Grad-CAM with regions, 256 clips of cnn_lstm", took, "s", 30.0)


def preparing() -> Iterator[Result]:
    """Measure the preparation of FER2013 from its CSV to an audited store."""
    from data_modules.registry import load_dataset

    name, source = "prepare FER2013, audit included", SHARED / "fer2013" / "fer2013.csv.gz"
    if not source.is_file():
        yield Result(name, None, "images/s", note=f"{source.name} is not there; FER_ID_SHARED says the folder")
        return
    from fer_id.store.reader import ClipStore

    dataset = load_dataset("fer2013")
    config = dataset.settings(name="fer2013", source=str(source))
    with TemporaryDirectory() as folder:
        out = Path(folder) / "store"
        took = seconds(lambda: dataset.prepare(config, out))
        images = len(ClipStore.open(out))
    yield Result(name, images / took, "images/s", note=f"{images:,} images in {took:.0f} s")


def _elsewhere(place: str, *arguments: str) -> Iterator[Result]:
    """Run a benchmark of another module, imported only then: every process that ``simulating`` starts imports this."""
    results: Iterator[Result] = imported(f"experiments.measure.{place}")(*arguments)
    return results


BENCHMARKS: dict[str, Callable[[], Iterator[Result]]] = {
    "help": command_line,
    "store": store,
    "augment": augmentation,
    "draw": drawing,
    "train_cnn_lstm": partial(_elsewhere, "training_speed:training", "cnn_lstm"),
    "train_resnet50": partial(_elsewhere, "training_speed:training", "resnet50"),
    "simulate": simulating,
    "readers": partial(_elsewhere, "reader_fits:fitting"),
    "explain": explaining,
    "evaluate": partial(_elsewhere, "report_speed:judging"),
    "compare": partial(_elsewhere, "report_speed:comparing"),
    "prepare": preparing,
    "videos": partial(_elsewhere, "video_speed:filmed"),
    "sweep": partial(_elsewhere, "training_speed:sweeping"),
}


def main(names: Sequence[str]) -> int:
    """Run the named benchmarks (all by default), print the table and write :data:`OUT`; the exit code is 1 where a
    limit was missed, 2 for an unknown name."""
    import torch

    from fer_id.runs.description import machine
    from fer_id.tasks.numerics import supports

    try:
        if unknown := [name for name in names if name not in BENCHMARKS]:
            raise ConfigError(f"unknown: {', '.join(unknown)}. Known: {', '.join(BENCHMARKS)}")
        bf16 = supports("bf16", torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        kind = f"{machine()}, {os.cpu_count()} cores, {'with' if bf16 else 'without'} bf16 arithmetic"
        say(kind)
        results = []
        for name in names or BENCHMARKS:
            say(f"... {name}")
            results += list(BENCHMARKS[name]())
    except FerIdError as error:
        say(f"bench: {error}")
        return 2
    print(table(results))
    rows = [{**asdict(result), "verdict": result.verdict} for result in results]
    write_json(OUT, {"date": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "machine": kind, "bf16": bf16, "results": rows})
    return int(any(result.verdict == "MISSED" for result in results))


def table(results: Sequence[Result]) -> str:
    """Return the results as aligned text."""
    lines = [("", "", "", "limit", "", "")]
    for result in results:
        limit = "" if result.limit is None else f"{'>=' if result.at_least else '<='} {result.limit:g}"
        value = "-" if result.value is None else f"{result.value:.4g}"
        lines.append((result.name, value, result.unit, limit, result.verdict, result.note))
    return aligned(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
