"""Throughput of ``fer-id prepare`` on a site's videos, beside a plain loop on one core: decoding and MediaPipe."""

from __future__ import annotations

import csv
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np

from data_modules.cohort.reader import CohortConfig, CohortDataModule
from experiments.measure.timing import SHARED, Result
from fer_id.consent.keys import HOME_VARIABLE
from fer_id.csv_text import csv_text
from fer_id.preprocessing.landmarks import FaceLandmarker
from fer_id.simulation.drawn.clip_store import SyntheticConfig
from fer_id.simulation.drawn.site_videos import VIDEO_FPS, write_cohort_folder

COPIES = 10  # number of copies of each drawn video: drawing more takes longer than reading them
PLAIN_VIDEOS = 10  # number of videos that the plain loop reads


def filmed() -> Iterator[Result]:
    """Draw a site's videos; measure their preparation by two processes, against a plain loop on one core."""
    name, bundle = (
        "prepare videos: two processes over a plain loop on one core",
        SHARED / "models" / "face_landmarker.task",
    )
    if not bundle.is_file():
        yield Result(name, None, "ratio", note=f"{bundle.name} is not there; FER_ID_SHARED says the folder")
        return
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        site = _site(folder / "site")
        videos = sorted((site / "videos").iterdir())[:PLAIN_VIDEOS]
        with _one_core():
            began = time.perf_counter()
            read = sum(_plain_loop(video, bundle) for video in videos)
            plain = read / (time.perf_counter() - began)
        config = CohortConfig(source=str(site), fps=VIDEO_FPS, workers=2, face_landmarker=str(bundle))
        with patch.dict(os.environ, {HOME_VARIABLE: str(folder / "keys")}):  # not the user's own key and log
            began = time.perf_counter()
            card = CohortDataModule.prepare(config, folder / "store")
            took = time.perf_counter() - began
        frames = card.findings.coverage.frames
    note = f"{frames:,} frames; {frames / took:.0f} against {plain:.0f} frames/s"
    yield Result(name, frames / took / plain, "ratio", 1.7, at_least=True, note=note)


def _site(path: Path) -> Path:
    """Write a cohort folder: a subject with five videos of 100 frames, and nine others with copies of them."""
    write_cohort_folder(SyntheticConfig(subjects=1, clips_per_emotion=1, frames=34), path)
    ids = {"subjects": ("subject_id",), "consent": ("subject_id",), "clips": ("subject_id", "clip_id")}
    ids["annotations"] = ("clip_id",)
    for table, columns in ids.items():
        with (path / f"{table}.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        many = []
        for copy in range(COPIES):
            for row in rows:
                new = {**row, **{column: f"{copy}-{row[column]}" for column in columns}}
                if "video" in row:
                    new["video"] = f"videos/{copy}-{Path(row['video']).name}"
                    shutil.copy(path / row["video"], path / new["video"])
                many.append(new)
        (path / f"{table}.csv").write_text(csv_text(list(rows[0]), many), encoding="utf-8")
    return path


def _plain_loop(video: Path, bundle: Path) -> int:
    """Decode a video, run the landmarker on each frame, and return the number of frames."""
    import av

    count = 0
    with FaceLandmarker(bundle) as landmarker, av.open(str(video)) as container:
        for frame in container.decode(video=0):
            landmarker.detect(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
            count += 1
    return count


@contextmanager
def _one_core() -> Iterator[None]:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
