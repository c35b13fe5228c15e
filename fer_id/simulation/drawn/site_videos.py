"""A drawn cohort as a cohort folder of a site: tables of subjects, clips, annotations and consent, and videos."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_id.cohort_tables import ANNOTATION_COLUMNS, CLIP_ROW_COLUMNS, CONSENT_COLUMNS, SUBJECT_COLUMNS
from fer_id.csv_text import csv_text
from fer_id.files import atomic_folder
from fer_id.labels import TARGET
from fer_id.processes import in_processes
from fer_id.progress import track
from fer_id.simulation.drawn.canvas import Array
from fer_id.simulation.drawn.clip_store import SyntheticConfig, stage_clip
from fer_id.simulation.drawn.rendering import ClipPainter

WIDTH, HEIGHT = 640, 480
VIDEO_FPS = 15
EYES_PX = 64.0
"""Pixels between the eyes: a face fills about a third of the picture's width, as if filmed across a table."""

_CAMERA = np.array([[EYES_PX, 0, WIDTH / 2], [0, EYES_PX, 0.45 * HEIGHT]])
_CONSENT = {
    "recorded_on": "2026-01-15",
    "status": "given",
    "guardian": "yes",
    "assent": "yes",
    "purposes": "training;evaluation;inference;media_sharing",
    "expires_on": "2099-12-31",
}
"""Full consent, since drawn people need no protection."""

_ABOUT = """Drawn people: nobody is depicted. The folder is what `fer-id prepare data=cohort` takes from a site;
cohort.json says that it is synthetic, and so does everything that is made of it.
"""


class Shot(NamedTuple):
    """Clip of a video: its row of ``clips.csv``, and the intensity e(t) of each frame, (T,)."""

    row: dict[str, str]
    intensity: Array


def write_cohort_folder(config: SyntheticConfig, out: Path, *, overwrite: bool = False, workers: int = 0) -> None:
    """Draw the cohort as 480p videos, one per subject and emotion, into a cohort folder, written atomically.

    ``config`` gives the length of a clip by its frames and fps; the videos have :data:`VIDEO_FPS`. The number of
    ``workers`` (processes) does not change the result; 0: one per core.
    ConfigError: values that cannot be drawn, all listed.
    """
    config.validate()
    with atomic_folder(out, replaces="cohort.json" if overwrite else None) as draft:
        (draft / "videos").mkdir()
        calls = [(config, index, emotion, draft) for index in range(config.subjects) for emotion in TARGET.names]
        videos = track(in_processes(_film, calls, len(calls), workers), "filming", len(calls))
        shots = [shot for video in videos for shot in video]
        people = [config.subject(index).traits for index in range(config.subjects)]
        tables: dict[str, tuple[Sequence[str], Iterable[Mapping[str, object]]]] = {
            "subjects": (SUBJECT_COLUMNS, [{**vars(person), "site": "drawn"} for person in people]),
            "clips": (CLIP_ROW_COLUMNS, [shot.row for shot in shots]),
            "annotations": (ANNOTATION_COLUMNS, _votes(shots, config.seed)),
            "consent": (CONSENT_COLUMNS, [{"subject_id": person.subject_id, **_CONSENT} for person in people]),
        }
        for name, (columns, rows) in tables.items():
            (draft / f"{name}.csv").write_bytes(csv_text(columns, rows, ends="\r\n").encode())
        (draft / "README.txt").write_text(_ABOUT, encoding="utf-8")
        (draft / "cohort.json").write_text(json.dumps({"provenance": "synthetic"}) + "\n", encoding="utf-8")


def _film(call: tuple[SyntheticConfig, int, str, Path]) -> list[Shot]:
    """Draw one video of a subject into a cohort folder, its clips of one emotion in sequence, and return them."""
    config, index, emotion, draft = call
    subject, shots, pictures = config.subject(index), list[Shot](), []
    name = subject.traits.subject_id
    video, begin = f"videos/{name}-{emotion}.mp4", 0.0
    times = np.arange(round(config.frames / config.fps * VIDEO_FPS)) / VIDEO_FPS
    for number in range(config.clips_per_emotion):
        painter, _ = stage_clip(subject, emotion, number, config, times)
        pictures.append(draw_frames(painter))
        row = {"clip_id": f"{name}-{emotion}-{number:02d}", "subject_id": name, "video": video, "label": emotion}
        end = begin + len(times) / VIDEO_FPS
        row |= {"start_s": f"{begin:.3f}", "end_s": f"{end:.3f}", "context": painter.performance.context}
        shots.append(Shot(row, painter.performance.intensity))
        begin = end
    _write_video(draft / video, (picture for clip in pictures for picture, _ in clip))
    return shots


def draw_frames(painter: ClipPainter) -> Iterator[tuple[NDArray[np.uint8], Array]]:
    """Yield pictures uint8 (480, 640, 3) of a clip, and their landmarks (68, 2), NaN where the face is hidden."""
    for frame in range(len(painter.times)):
        yield painter.paint(frame, (HEIGHT, WIDTH), _CAMERA)


def _write_video(path: Path, pictures: Iterable[NDArray[np.uint8]]) -> None:
    """Write pictures (480, 640, 3) as H.264 in an mp4; the same pictures give the same bytes."""
    import av

    with av.open(str(path), "w", options={"fflags": "+bitexact", "movflags": "+faststart"}) as container:
        options = {"crf": "20", "preset": "veryfast", "threads": "1"}
        stream = container.add_stream("libx264", rate=VIDEO_FPS, options=options)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _votes(shots: Iterable[Shot], seed: int) -> Iterator[dict[str, str]]:
    """Yield the votes of three simulated annotators, who err more often on weaker expressions."""
    rng = np.random.default_rng([seed, 1])
    for shot in shots:
        clip, truth = shot.row["clip_id"], shot.row["label"]
        accuracy = 0.9 if truth == "neutral" else 0.45 + 0.5 * float(shot.intensity.max())
        for name in ("a", "b", "c"):
            vote = truth
            if rng.random() > accuracy:
                others = [label for label in TARGET.names if label != truth]
                chances = np.array([3.0 if label == "neutral" else 1.0 for label in others])
                vote = str(rng.choice(others, p=chances / chances.sum()))
            confidence = round(float(np.clip(accuracy + 0.15 * rng.normal(), 0.2, 1)), 2)
            yield {"clip_id": clip, "annotator": name, "label": vote, "confidence": str(confidence)}
