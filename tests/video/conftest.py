"""Timelines of chosen probabilities, without a video or a model."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fer_id.labels import TARGET
from fer_id.preprocessing.tracking import FOUND, NO_FACE, windows
from fer_id.video.timeline import About, Timeline, Video, judge_windows, spans, with_face

FPS = 5.0
WINDOW = 10
SETTINGS = {"fps": FPS, "window": WINDOW, "stride": WINDOW, "colour": "rgb", "min_eye_distance": 8.0}

Make = Callable[..., Timeline]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """``make([[.6, .1, .1, .1, .1], None, ...])``: a timeline of one window (2 s) per item, None for no face."""

    def build(shares, *, threshold=0.5, temperature=1.0, provenance="synthetic", name="a.mp4", lost=()) -> Timeline:
        length = len(shares) * WINDOW / FPS
        cuts = windows(len(shares) * WINDOW, WINDOW, WINDOW)
        outcomes = [NO_FACE if share is None else FOUND for share in shares for _ in range(WINDOW)]
        for frame in lost:
            outcomes[frame] = NO_FACE
        frames = pd.DataFrame({"time_s": np.arange(len(outcomes)) / FPS, "outcome": outcomes})
        times = spans(cuts, FPS, length)
        valid = [(outcomes[start:end].count(FOUND), end - start) for start, end in cuts]
        logits = np.log([[0.2] * len(TARGET) if share is None else list(share) for share in shares])
        table = judge_windows(times, valid, with_face(times, frames), logits, TARGET, temperature, threshold)
        about = About("runs/a", provenance, temperature, threshold, SETTINGS)
        return Timeline(Video(tmp_path / name, 1234, "ab" * 32, length, 15.0), about, TARGET, frames, table)

    return build
