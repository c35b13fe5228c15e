"""A drawn cohort as a cohort folder of a site: tables of subjects, clips, annotations and consent, and videos."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_id.cohort_tables import ANNOTATION_COLUMNS, CLIP_ROW_COLUMNS, CONSENT_COLUMNS, SUBJECT_COLUMNS
from fer_id.csv_text import csv_text
from fer_id.files import atomic_folder
from fer_id.labels import TARGET
from fer_id.progress import track
from fer_id.simulation.drawn.acting import Subject, perform
from fer_id.simulation.drawn.arrays import Array
from fer_id.simulation.drawn.clip_store import SyntheticConfig, in_processes
from fer_id.simulation.drawn.rendering import ClipPainter

WIDTH, HEIGHT = 640, 480
VIDEO_FPS = 15
EYES_PX = 64.0
"""Pixels between the eyes: a face fills about a third of the picture's width, as if filmed across a table."""

_CAMERA = np.array([[EYES_PX, 0, WIDTH / 2], [0, EYES_PX, 0.45 * HEIGHT]])
_RECORDED_ON, _EXPIRES_ON = "2026-01-15", "2099-12-31"
_ABOUT = """Drawn people: nobody is depicted. The folder is what `fer-id prepare data=cohort` takes from a site;
cohort.json says that it is synthetic, and so does everything that is made of it.
"""


class Shot(NamedTuple):
    """One clip of a video, with its label, times and intensity.

    Attributes:
        clip_id, label, context: as in ``clips.csv``.
        start_s, end_s: seconds in the video.
        intensity: (T,) e(t) of each frame.
    """

    clip_id: str
    label: str
    context: str
    start_s: float
    end_s: float
    intensity: Array


def write_cohort_folder(config: SyntheticConfig, out: Path, *, overwrite: bool = False, workers: int = 0) -> None:
    """Draw the cohort as 480p videos, one per subject and emotion, into a cohort folder, written atomically.

    Args:
        config: the cohort. Its frames and fps give the length of a clip; the videos have :data:`VIDEO_FPS`.
        out: the folder.
        overwrite: replace an existing cohort folder.
        workers: number of processes, which does not change the result; 0: one per core.

    Raises:
        ConfigError: values that cannot be drawn, all listed.
    """
    config.validate()
    subjects = [config.subject(index) for index in range(config.subjects)]
    jobs = [(index, emotion) for index in range(config.subjects) for emotion in TARGET.names]
    with atomic_folder(out, replaces="cohort.json" if overwrite else None) as draft:
        (draft / "videos").mkdir()
        clips, filmed_shots = list[dict[str, Any]](), list[Shot]()
        calls = [(config, index, emotion, draft) for index, emotion in jobs]
        videos = track(in_processes(_film_call, calls, workers), "filming", len(jobs))
        for (index, emotion), shots in zip(jobs, videos, strict=True):
            subject_id = subjects[index].traits.subject_id
            video = f"videos/{subject_id}-{emotion}.mp4"
            filmed_shots += shots
            for shot in shots:
                times = {"start_s": f"{shot.start_s:.3f}", "end_s": f"{shot.end_s:.3f}"}
                clips.append(
                    {
                        "clip_id": shot.clip_id,
                        "subject_id": subject_id,
                        "video": video,
                        **times,
                        "label": shot.label,
                        "context": shot.context,
                    }
                )
        _write_csv(draft / "subjects.csv", SUBJECT_COLUMNS, map(_subject_row, subjects))
        _write_csv(draft / "clips.csv", CLIP_ROW_COLUMNS, clips)
        _write_csv(draft / "annotations.csv", ANNOTATION_COLUMNS, _votes(filmed_shots, config.seed))
        _write_csv(draft / "consent.csv", CONSENT_COLUMNS, map(_consent_row, subjects))
        (draft / "README.txt").write_text(_ABOUT, encoding="utf-8")
        (draft / "cohort.json").write_text(json.dumps({"provenance": "synthetic"}) + "\n", encoding="utf-8")


def film(subject: Subject, emotion: str, config: SyntheticConfig, path: Path) -> list[Shot]:
    """Draw one video of a subject, its clips of one emotion in sequence, and return them."""
    shots, begin, length = list[Shot](), 0.0, config.frames / config.fps
    times = np.arange(round(length * VIDEO_FPS)) / VIDEO_FPS
    index = int(subject.traits.subject_id.rsplit("-", 1)[1])
    pictures = []
    for number in range(config.clips_per_emotion):
        rng = np.random.default_rng([config.seed, index, TARGET.index(emotion), number])
        performance = perform(subject, emotion, times, rng, config.subtlety, config.strays)
        pictures.append(draw_frames(ClipPainter(subject, performance, times, rng)))
        name = f"{subject.traits.subject_id}-{emotion}-{number:02d}"
        end = begin + len(times) / VIDEO_FPS
        shots.append(Shot(name, emotion, performance.context, begin, end, performance.intensity))
        begin = end
    write_video(path, (picture for clip in pictures for picture, _ in clip))
    return shots


def draw_frames(painter: ClipPainter) -> Iterator[tuple[NDArray[np.uint8], Array]]:
    """Yield pictures uint8 (480, 640, 3) of a clip, and their landmarks (68, 2), NaN where the face is hidden."""
    for frame in range(len(painter.times)):
        yield painter.paint(frame, (HEIGHT, WIDTH), _CAMERA)


def write_video(path: Path, pictures: Iterable[NDArray[np.uint8]], fps: int = VIDEO_FPS) -> None:
    """Write pictures (H, W, 3) as H.264 in an mp4; the same pictures give the same bytes."""
    import av

    with av.open(str(path), "w", options={"fflags": "+bitexact", "movflags": "+faststart"}) as container:
        stream: Any = None
        for picture in pictures:
            if stream is None:
                stream = container.add_stream(
                    "libx264", rate=fps, options={"crf": "20", "preset": "veryfast", "threads": "1"}
                )
                stream.height, stream.width, stream.pix_fmt = picture.shape[0], picture.shape[1], "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _film_call(call: tuple[SyntheticConfig, int, str, Path]) -> list[Shot]:
    config, index, emotion, draft = call
    subject = config.subject(index)
    return film(subject, emotion, config, draft / "videos" / f"{subject.traits.subject_id}-{emotion}.mp4")


def _subject_row(subject: Subject) -> dict[str, str]:
    traits = subject.traits
    return {
        "subject_id": traits.subject_id,
        "age_group": traits.age_group,
        "gender": traits.gender,
        "severity": traits.severity,
        "ethnicity": traits.ethnicity,
        "site": "drawn",
    }


def _consent_row(subject: Subject) -> dict[str, str]:
    """Return a row of full consent, since drawn people need no protection."""
    return {
        "subject_id": subject.traits.subject_id,
        "recorded_on": _RECORDED_ON,
        "status": "given",
        "guardian": "yes",
        "assent": "yes",
        "purposes": "training;evaluation;inference;media_sharing",
        "expires_on": _EXPIRES_ON,
        "ethics_ref": "",
    }


def _votes(shots: Iterable[Shot], seed: int) -> Iterator[dict[str, str]]:
    """Yield the votes of three simulated annotators, who err more often on weaker expressions."""
    rng = np.random.default_rng([seed, 1])
    for shot in shots:
        accuracy = 0.9 if shot.label == "neutral" else 0.45 + 0.5 * float(shot.intensity.max())
        for name in ("a", "b", "c"):
            vote = shot.label
            if rng.random() > accuracy:
                others = [label for label in TARGET.names if label != shot.label]
                chances = np.array([3.0 if label == "neutral" else 1.0 for label in others])
                vote = str(rng.choice(others, p=chances / chances.sum()))
            confidence = round(float(np.clip(accuracy + 0.15 * rng.normal(), 0.2, 1)), 2)
            yield {"clip_id": shot.clip_id, "annotator": name, "label": vote, "confidence": str(confidence)}


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    path.write_bytes(csv_text(columns, rows, ends="\r\n").encode())
