"""Duration of the fit of each reader: ``make bench ARGS=readers``.

5,000 training and 1,000 inner-validation clips of ten frames, with random features as wide as those of the shipped
``conv4`` that show the class around the middle of a clip, on the principal components that a benchmark takes. One
thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.measure.timing import Result, seconds
from fer_id.labels import TARGET
from fer_id.models.build import build_model
from fer_id.models.config import named_model
from fer_id.readers.baselines import minus_child_median
from fer_id.readers.config import OF_OTHER_CLIPS, READERS
from fer_id.readers.frame_features import FrameFeatures
from fer_id.readers.kinds import fit_reader
from fer_id.readers.networks import Lesson
from fer_id.readers.study import ReaderStudy
from fer_id.tasks.features import Features

CLIPS, KNOWN, FRAMES, LIMIT = 5_000, 1_000, 10, 2.0
"""Training and inner-validation clips, frames of a clip, and the most seconds of a fit."""


def fitting() -> Iterator[Result]:
    """Measure the fit of every reader, and the principal components that all of them share, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        features, label = random_features(CLIPS + KNOWN)
        learned, components = np.arange(CLIPS), list[NDArray[np.float32]]()
        took = seconds(lambda: components.append(features.reduced(learned, ReaderStudy.dim)))
        shape = f"{CLIPS + KNOWN:,} clips, {features.values.shape[2]} to {ReaderStudy.dim} features"
        yield Result("principal components of all clips", took, "s", note=shape)
        lesson = _lesson(components[0], features.valid, label)
        _fit("frame", lesson)  # not timed: the first optimiser of a process imports much of torch, for seconds
        for name in READERS:
            began = time.process_time()
            took = seconds(lambda: _fit(name, lesson))  # noqa: B023
            note = f"{time.process_time() - began:.2f} s of the processor"
            yield Result(f"fit {name} on {CLIPS:,} clips", took, "s", LIMIT, note=note)
    finally:
        torch.set_num_threads(threads)


def random_features(clips: int) -> tuple[FrameFeatures, torch.Tensor]:
    """Return features of so many clips, a twentieth of the frames without a face, and the labels (N,)."""
    rng, width = np.random.default_rng(0), build_model(named_model("conv4"), TARGET).encoder.dim
    label = np.arange(clips) % len(TARGET)
    course = np.exp(-0.5 * ((np.arange(FRAMES) - rng.uniform(3, 7, (clips, 1))) / 1.5) ** 2)
    directions = rng.standard_normal((len(TARGET), width))
    values = rng.standard_normal((clips, FRAMES, width), np.float32)
    values += 2 * rng.standard_normal((clips, 1, width), np.float32)
    values += 0.3 * (course[..., None] * directions[label][:, None]).astype(np.float32)
    valid = rng.random((clips, FRAMES)) > 0.05
    return FrameFeatures(values.astype(np.float16), valid, Path()), torch.from_numpy(label)


def _lesson(values: NDArray[np.float32], valid: NDArray[np.bool_], label: torch.Tensor) -> Lesson:
    """Return the first clips as training clips, the others as those of inner validation."""
    parts = [
        Features(torch.from_numpy(values[part]), torch.from_numpy(valid[part]), label[part], [str(k) for k in ids])
        for part, ids in ((slice(CLIPS), range(CLIPS)), (slice(CLIPS, None), range(CLIPS, len(label))))
    ]
    apex = torch.full((CLIPS,), FRAMES // 2)
    return Lesson(parts[0], parts[1], apex, len(TARGET), ReaderStudy.updates)


def _fit(name: str, lesson: Lesson) -> None:
    if name in OF_OTHER_CLIPS:
        children = [str(row // 20) for row in range(CLIPS)]
        lesson = Lesson(
            minus_child_median(lesson.train, children),
            minus_child_median(lesson.validation, children[:KNOWN]),
            lesson.apex,
            lesson.classes,
            lesson.updates,
        )
        name = "set"
    fit_reader(name, lesson)
