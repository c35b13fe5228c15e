"""Conversion of people on video to a ClipStore: followed faces cut into clips, and the audit of the store."""

from __future__ import annotations

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_modules.config import SourceConfig
from data_modules.face_jobs import Clip, FollowedClip, Job, follow_jobs, read_part
from data_modules.reader_checks import say_left_out
from data_modules.several_faces import SeveralFaces
from fer_id.errors import DataError, Problems
from fer_id.evaluation.duplicates import alike
from fer_id.files import locked
from fer_id.preprocessing.alignment import crop_geometry
from fer_id.preprocessing.display import HDR_NOTE
from fer_id.preprocessing.face_marks import MarkError
from fer_id.preprocessing.landmarker_file import BUNDLE_SHA256, find_bundle
from fer_id.preprocessing.landmarks import MESH_MAPPING
from fer_id.preprocessing.tracking import FOUND, OUTCOMES, windows
from fer_id.preprocessing.video import DAMAGED, NO_PICTURE
from fer_id.progress import say, track
from fer_id.reporting.sheets import Strip, contact_sheet
from fer_id.reporting.words import counted
from fer_id.runs.records import Provenance
from fer_id.settings import setting
from fer_id.store.card import StoreCard
from fer_id.store.writer import ClipStoreWriter

AUDITED_FRAMES = 100
"""Faces of each subject that are compared with those of all other subjects."""

VERSIONS = ("numpy", "opencv-python-headless", "mediapipe", "av")


@dataclass
class FacesConfig(SourceConfig):
    """Settings of ``prepare`` for people on video, in files or as pictures of the frames.

    ``recorded`` names the settings that the card holds.
    """

    recorded: ClassVar[tuple[str, ...]] = ("colour", "min_eye_distance")
    colour: str = setting("rgb", choices=("rgb", "gray"), help="gray: to adapt a model that learned from gray faces")
    min_eye_distance: float = setting(
        8.0, above=0, max=1000, help="pixels between the eyes below which a face is too small to read"
    )
    workers: int = setting(0, min=0, max=256, help="processes that follow faces; 0: one per core")
    unreadable: str = setting(
        "error", choices=("error", "leave_out"), help="a damaged video: stop, or leave its clips out and count them"
    )
    face_landmarker: str | None = setting(
        None,
        help="file of MediaPipe's model, face_landmarker.task; null: $FER_ID_FACE_LANDMARKER, else fetched once (4 MB)",
    )

    @property
    def landmarks_from(self) -> str:
        """Origin of the landmarks, for the card."""
        return MESH_MAPPING

    def bundle(self) -> Path | None:
        """Return MediaPipe's model; None where the landmarks have another origin."""
        return find_bundle(self.face_landmarker) if self.landmarks_from == MESH_MAPPING else None

    def windows(self, clip_id: str, length: int) -> Iterator[tuple[str, int, int]]:
        """Yield name, start and end of each clip of the store that a followed clip of ``length`` frames becomes."""
        yield clip_id, 0, length

    def card(self, provenance: Provenance, label_space: str, source: str, groups: list[str]) -> StoreCard:
        """Return the card of a store of people on video, with these settings and without audit."""
        settings: dict[str, object] = {name: getattr(self, name) for name in self.recorded}
        model = {"landmark_model_sha256": BUNDLE_SHA256} if self.landmarks_from == MESH_MAPPING else {}
        return StoreCard(
            provenance=provenance,
            label_space=label_space,
            shard_by="subject_id",
            source=source,
            geometry=crop_geometry(aligned=self.landmarks_from != "none", colour=self.colour),
            parameters={**settings, **model},
            groups=groups,
            landmarks_from=self.landmarks_from,
        )


@dataclass
class VideoConfig(FacesConfig):
    """Settings of ``prepare`` for people in video files, whose clips are cut into windows."""

    recorded: ClassVar[tuple[str, ...]] = ("fps", "window", "stride", *FacesConfig.recorded)
    fps: float = setting(
        5.0, above=0, max=120, help="frames per second taken from the videos: ten frames then span two seconds"
    )
    window: int = setting(10, min=1, max=1000, help="frames per clip of the store; the paper's T is 10")
    stride: int = setting(10, min=1, max=1000, help="frames from one window to the next; below `window` they overlap")

    def windows(self, clip_id: str, length: int) -> Iterator[tuple[str, int, int]]:
        """Yield the windows of a clip, numbered."""
        for number, (start, end) in enumerate(windows(length, self.window, self.stride)):
            yield f"{clip_id}-{number:03d}", start, end


class Videos(NamedTuple):
    """Input of :func:`written_videos`."""

    jobs: Sequence[Job]  # the videos with their clips
    rows: Mapping[str, Mapping[str, object]]  # clip id of a job's clip -> its columns of the store
    left_out: Counter[str]  # samples left out, by reason; clips of unreadable videos are added
    annotators: Mapping[str, object] | None = None  # their agreement; None where each clip has one label


@contextmanager
def written_videos(
    videos: Videos, card: StoreCard, out: Path, config: FacesConfig, *, overwrite: bool
) -> Iterator[SeveralFaces]:
    """Follow the faces, write every window, fill ``card.audit``; yield the counts of frames with several faces.

    The store appears after the block. DataError: unreadable videos, all together; no face in any of them.
    """
    with _parts_folder(out) as parts:
        done, several = _follow(videos.jobs, parts, config, videos.left_out), SeveralFaces()
        hdr = sum(job.hdr for job in done)
        card.versions = {name: version(name) for name in VERSIONS}
        with ClipStoreWriter(out, card, overwrite=overwrite) as writer:
            by_subject = _write(done, videos.rows, parts, config, writer, several)
            frames = sum(by_subject.values(), Counter[str]())
            _check_found(frames, config)
            outcomes = {name: {key: counts[key] for key in OUTCOMES} for name, counts in by_subject.items()}
            total = {outcome: frames[outcome] for outcome in OUTCOMES}
            card.audit |= {
                "coverage": {"frames": frames.total(), **total, "by_subject": outcomes},
                "annotators": videos.annotators,
                "left_out": dict(videos.left_out),
                "frames_without_face": frames.total() - frames[FOUND],
                "several_faces": several.audit(),
                "hdr_videos": hdr,
            }
            yield several
    say_left_out(card.source, videos.left_out)
    for outcome in (NO_PICTURE, DAMAGED):
        if frames[outcome]:
            say(f"{frames[outcome]} of {frames.total()} frames: {outcome}; they count as not found")
    if hdr:
        say(f"{counted(hdr, 'video')}: {HDR_NOTE}")


@contextmanager
def _parts_folder(out: Path) -> Iterator[Path]:
    """Return a folder for finished videos beside the store, readable by its owner only, since it holds faces.

    It stays where the preparation is interrupted, and is removed once the store is written.
    """
    parts = out.with_name(f".{out.name}.parts")
    parts.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(parts, DataError):
        try:
            yield parts
        except BaseException:
            _keep_whole(parts)
            raise
        shutil.rmtree(parts)


def _keep_whole(parts: Path) -> None:
    """Remove unfinished parts, and the folder without a finished part, so that a refusal leaves nothing behind."""
    done = tuple(f"{path.stem}." for path in parts.glob("*.json"))
    for path in parts.iterdir():
        if not path.name.startswith(done):
            path.unlink(missing_ok=True)
    if not done:
        parts.rmdir()


def _follow(jobs: Sequence[Job], parts: Path, config: FacesConfig, left_out: Counter[str]) -> list[Job]:
    """Track the faces of all videos; return the finished jobs, in their order.

    Unreadable videos are reported together, or left out and counted.
    """
    problems, failed, marks = Problems("videos"), set[str](), False
    workers = config.workers or os.cpu_count() or 1
    for job, problem in track(follow_jobs(jobs, parts, workers, config.bundle()), "following faces", total=len(jobs)):
        if problem:
            problems.add(str(problem))
            marks |= isinstance(problem, MarkError)  # a mistake in a table is an error also with unreadable=leave_out
            failed.add(job.video_id)
            left_out["unreadable video"] += len(job.stretches)
    if config.unreadable == "error" or marks or len(failed) == len(jobs):
        mend = "Mend faces.csv. " if marks else "Replace these videos, or say data.unreadable=leave_out. "
        problems.raise_if_any(DataError, f"{mend}What is done is kept for the next time.")
    for line in problems.found:
        say(f"left out: {line}")
    return [job for job in jobs if job.video_id not in failed]


def _write(
    jobs: list[Job],
    rows: Mapping[str, Mapping[str, object]],
    parts: Path,
    config: FacesConfig,
    writer: ClipStoreWriter,
    several: SeveralFaces,
) -> dict[str, Counter[str]]:
    """Write every clip and the sheets of each subject; return the frames of each subject, by outcome."""
    by_subject, jobs_of = defaultdict[str, Counter[str]](Counter), defaultdict[str, dict[Job, None]](dict)
    for job in jobs:
        for place, (stretch, clip) in enumerate(read_part(job, parts)):
            row = {**rows[stretch.clip_id], "video_id": job.video_id, "fps": job.fps, "source": writer.card.source}
            for clip_id, start, end in config.windows(stretch.clip_id, len(clip.valid)):
                own, part = {"clip_id": clip_id, "t0_s": job.second(place, start)}, slice(start, end)
                writer.add_clip({**row, **own}, clip.crops[part], clip.landmarks[part], clip.valid[part])
            by_subject[stretch.subject_id].update(clip.frames.outcomes)
            jobs_of[stretch.subject_id][job] = None
            several.add(job, stretch, clip)
    audited = _sheets(jobs_of, rows, parts, writer.draft / "sheets")
    writer.card.audit["alike"] = {**alike(audited)}
    several.copy_sheets(parts, writer.draft)
    return by_subject


def _sheets(
    jobs_of: Mapping[str, Iterable[Job]], rows: Mapping[str, Mapping[str, object]], parts: Path, folder: Path
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Write the contact sheet of each subject; yield at most :data:`AUDITED_FRAMES` of its faces, evenly spaced.

    The parts are opened again, one subject after the other: a process may open fewer files than there are videos.
    """
    for subject, jobs in jobs_of.items():
        own = (pair for job in jobs for pair in read_part(job, parts) if pair[0].subject_id == subject)
        strips = [_strip(stretch, clip, rows[stretch.clip_id]["label"] or "unlabelled") for stretch, clip in own]
        contact_sheet(strips, f"{subject}: {len(strips)} clips", folder / f"{subject}.png")
        places = [(frames, number) for _, frames, _, valid in strips for number in np.flatnonzero(valid)]
        for frames, number in places[:: -(-len(places) // AUDITED_FRAMES) or 1]:
            yield subject, frames[number]


def _strip(stretch: Clip, clip: FollowedClip, label: object) -> Strip:
    """Return at most ten frames, evenly spaced; a slice, so that the arrays stay views of the memory map."""
    few = slice(0, None, -(-len(clip.valid) // 10))
    return f"{stretch.clip_id} {label}", clip.crops[few], clip.landmarks[few], clip.valid[few]


def _check_found(frames: Counter[str], config: FacesConfig) -> None:
    if not frames[FOUND]:
        seen = ", ".join(f"{frames[key]} {key}" for key in OUTCOMES[1:])
        raise DataError(
            f"{config.source}: no face of a child in any of {frames.total()} frames ({seen}); look at the videos. "
            "A face has to be seen from the front, with at least data.min_eye_distance pixels between the eyes"
        )
