"""A study of readers; and clips whose class shows in the order of the frames alone, or in the change against rest."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch

from fer_id.evaluation.config import Fold
from fer_id.labels import TARGET
from fer_id.readers.frame_features import FrameFeatures, Origin
from fer_id.readers.study import ReaderStudy
from fer_id.tasks.features import Features

T, D = 6, 4


@pytest.fixture(scope="session")
def clips_of() -> Callable[..., Features]:
    """``clips_of(kind, number, seed)``: two classes; a tenth of the frames has no face.

    ``order``: a bump at the second or the last but one frame; ``change``: a raised feature at one frame, on a person's
    own level that differs far more between persons.
    """

    def make(kind: str, number: int, seed: int) -> Features:
        generator = torch.Generator().manual_seed(seed)
        label = torch.arange(number) % 2
        values = 0.2 * torch.randn(number, T, D, generator=generator)
        if kind == "order":
            values[torch.arange(number), torch.where(label == 0, 1, T - 2), 0] += 3
            valid = torch.ones(number, T, dtype=torch.bool)
        else:
            values += 8 * torch.randn(number, 1, D, generator=generator)
            values[torch.arange(number), T // 2, label] += 3
            valid = torch.rand(number, T, generator=generator) < 0.9
            valid[:, T // 2] = True
        values = values.masked_fill(~valid.unsqueeze(-1), 0.0)
        return Features(values, valid, label, [f"{seed}-{clip}" for clip in range(number)])

    return make


@pytest.fixture
def study(tmp_path):
    """A study of 90 clips of 5 classes whose features tell the class at the apex; the last test clip has no face."""
    number, frames = 90, 4
    rng = np.random.default_rng(0)
    label = np.arange(number) % 5
    course = np.tile([0.0, 0.5, 1.0, 0.2], (number, 1)) * (label != 4)[:, None]
    values = 0.3 * rng.standard_normal((number, frames, 6))
    values[np.arange(number)[:, None], np.arange(frames), label[:, None]] += 3 * course
    valid = np.ones((number, frames), bool)
    valid[-1] = False
    names = [f"c{row:02d}" for row in range(number)]
    clips = pd.DataFrame({"clip_id": names, "subject_id": [f"s{row // 10}" for row in range(number)]})
    clips = clips.assign(label=[TARGET.names[k] for k in label], video_id=[f"v{row % 30}" for row in range(number)])
    clips = clips.assign(intensity=list(course), n_valid=valid.sum(1), length=frames, severity="mild")
    fold = Fold("official", np.arange(40), np.arange(40, 60), np.arange(60, number), {})
    features = FrameFeatures(values.astype(np.float16), valid, tmp_path)
    origin = Origin.of("w", "s", names)
    return ReaderStudy(tmp_path / "conv4", features, origin, clips, fold, TARGET, updates=3, groups=["severity"])
