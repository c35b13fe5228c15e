"""Conversion of a site's cohort folder (tables, consent, videos) to a ClipStore of pseudonymous aligned clips."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from data_modules.cohort.admission import Cohort, admit, open_keys
from data_modules.cohort.corrections import add_corrections
from data_modules.cohort.face_rows import marks_of
from data_modules.cohort.manifests import read_manifests
from data_modules.cohort.several_faces import SeveralFaces
from data_modules.cohort.videos import FollowedClip, Stretch, VideoJob, follow_videos, read_part
from data_modules.config import SourceConfig
from fer_id.consent.keys import keys_home
from fer_id.consent.records import known_withdrawals, snapshot
from fer_id.errors import ConfigError, DataError, Problems
from fer_id.evaluation.agreement import agreement, vote_shares
from fer_id.evaluation.duplicates import alike
from fer_id.files import locked
from fer_id.labels import TARGET
from fer_id.preprocessing.alignment import crop_geometry
from fer_id.preprocessing.face_marks import MarkError
from fer_id.preprocessing.hdr import HDR_NOTE
from fer_id.preprocessing.landmarker_file import BUNDLE_SHA256, find_bundle
from fer_id.preprocessing.landmarks import MESH_MAPPING
from fer_id.preprocessing.tracking import OUTCOMES, windows
from fer_id.preprocessing.video import DAMAGED, NO_PICTURE, video_facts
from fer_id.progress import say, track
from fer_id.reporting.sheets import Strip, contact_sheet
from fer_id.reporting.words import counted
from fer_id.settings import Clash, setting
from fer_id.store.card import StoreCard
from fer_id.store.writer import ClipStoreWriter

AUDITED_FRAMES = 100
"""Faces of each subject that are compared with those of all other subjects."""

VERSIONS = ("numpy", "opencv-python-headless", "mediapipe", "av")


@dataclass
class CohortConfig(SourceConfig):
    """Settings of a cohort; ``source`` is its folder."""

    name: str = setting("cohort", help="dataset, chosen by data=")
    fps: float = setting(
        5.0, above=0, max=120, help="frames per second taken from the videos: ten frames then span two seconds"
    )
    window: int = setting(10, min=1, max=1000, help="frames per clip of the store; the paper's T is 10")
    stride: int = setting(10, min=1, max=1000, help="frames from one window to the next; below `window` they overlap")
    colour: str = setting("rgb", choices=("rgb", "gray"), help="gray: to adapt a model that learned from gray faces")
    min_eye_distance: float = setting(
        8.0, above=0, max=1000, help="pixels between the eyes below which a face is too small to read"
    )
    workers: int = setting(0, min=0, max=256, help="processes that follow faces; 0: one per core")
    unreadable: str = setting(
        "error", choices=("error", "leave_out"), help="a damaged video: stop, or leave its clips out and count them"
    )
    retention_days: int = setting(365, min=1, max=36500, help="days after which the store refuses to open")
    face_landmarker: str | None = setting(None, help="file of MediaPipe's model, face_landmarker.task")
    corrections: list[str] = setting(
        [], help="files of fer-id predict that a person corrected in ELAN or BORIS; first added to annotations.csv"
    )
    groups: list[str] = setting(
        [], help="further columns of subjects.csv and clips.csv that become group columns of the store"
    )
    annotator: str = setting("", help="who corrected them, as annotations.csv is to call them")

    def clashes(self) -> Iterator[Clash]:
        """Yield the clashes of ``corrections`` and ``annotator``."""
        if bool(self.corrections) != bool(self.annotator.strip()):
            yield Clash(("corrections", "annotator"), "belong together: data.corrections=FILE data.annotator=NAME")
        if self.annotator.strip()[:1] in tuple("=+@-") or not self.annotator.isprintable() or len(self.annotator) > 200:
            yield Clash(("annotator",), f"{self.annotator[:60]!r}: expected a name, at most 200 characters, no formula")


def prepare(config: CohortConfig, out: Path, *, overwrite: bool = False) -> StoreCard:
    """Convert a cohort folder to a ClipStore; an interrupted preparation continues at the next video.

    Raises:
        ConfigError: no source, or no key.
        DataError: bad tables or videos, all problems together; corrections that contradict ``annotations.csv``; nobody
            admitted; no face in any video.
    """
    if config.source is None:
        raise ConfigError("data.source is empty; say data.source=FOLDER of the cohort")
    home, manifests = keys_home(), read_manifests(Path(config.source), config.groups)
    for note in manifests.notes:
        say(note)
    key, log = open_keys(home)
    gone = known_withdrawals(home, log)
    cohort = admit(manifests, key, gone, date.today())
    if config.corrections:
        for line in add_corrections(cohort, [Path(path) for path in config.corrections], config.annotator, log):
            say(line)
        cohort = admit(read_manifests(Path(config.source), config.groups), key, gone, date.today())
    jobs = list(_jobs(cohort, config))
    with _parts_folder(out) as parts:
        done, several = _follow(jobs, parts, config, cohort), SeveralFaces()
        card, hdr = _card(cohort, config), sum(video_facts(job.path).hdr for job in done)
        with ClipStoreWriter(out, card, overwrite=overwrite) as writer:
            coverage = _write(cohort, done, parts, config, writer, several)
            _check_found(coverage, config)
            card.audit |= {
                "coverage": coverage,
                "annotators": None if cohort.votes is None or cohort.votes.empty else agreement(cohort.votes, TARGET),
                "left_out": dict(cohort.left_out),
                "frames_without_face": int(sum(coverage[key] for key in OUTCOMES[1:])),
                "several_faces": several.audit(),
                "hdr_videos": hdr,
            }
            admitted = {subject: consent["purposes"] for subject, consent in card.consent.items()}
            log.append("prepared", admitted=admitted, left_out=dict(cohort.left_out))  # before the store can be opened
    for outcome in (NO_PICTURE, DAMAGED):
        if coverage[outcome]:
            say(f"{coverage[outcome]} of {coverage['frames']} frames: {outcome}; they count as not found")
    for line in [f"{counted(hdr, 'video')}: {HDR_NOTE}"] * bool(hdr) + several.sentences(out):
        say(line)
    return card


def _jobs(cohort: Cohort, config: CohortConfig) -> Iterator[VideoJob]:
    """Yield one job per video file, under any spelling of its path, in the order of the clips."""
    key, folder, faces = cohort.key, cohort.manifests.folder.resolve(), cohort.manifests.faces
    files = cohort.clips["video"].map(lambda video: (folder / video).resolve().relative_to(folder).as_posix())
    for video, rows in cohort.clips.groupby(files, sort=False):
        path = cohort.manifests.folder / str(video)
        marks = {name: marks_of(folder, faces, path, name) for name in rows["subject_id"].unique()}
        stretches = tuple(
            Stretch(key.pseudonym("clip", clip_id), cohort.subject(name), start_s, end_s, marks[name])
            for clip_id, name, start_s, end_s in rows[["clip_id", "subject_id", "start_s", "end_s"]].itertuples(
                index=False
            )
        )
        name = key.pseudonym("video", str(video))
        yield VideoJob(path, name, stretches, config.fps, config.min_eye_distance, config.colour == "gray")


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
    done = {path.stem for path in parts.glob("*.json")}
    for path in parts.iterdir():
        if path.stem not in done:
            path.unlink(missing_ok=True)
    if not done:
        parts.rmdir()


def _follow(jobs: list[VideoJob], parts: Path, config: CohortConfig, cohort: Cohort) -> list[VideoJob]:
    """Track the faces of all videos; unreadable ones are reported together, or left out and counted.

    Returns:
        the finished jobs, in their order.
    """
    problems, failed, marks = Problems("videos"), set[str](), False
    workers = config.workers or os.cpu_count() or 1
    for job, problem in track(
        follow_videos(jobs, parts, workers, find_bundle(config.face_landmarker)), "following faces", total=len(jobs)
    ):
        if problem:
            problems.add(str(problem))
            marks |= isinstance(problem, MarkError)  # a mistake in a table is an error also with unreadable=leave_out
            failed.add(job.video_id)
            cohort.left_out["unreadable video"] += len(job.stretches)
    if config.unreadable == "error" or marks or len(failed) == len(jobs):
        mend = "Mend faces.csv. " if marks else "Replace these videos, or say data.unreadable=leave_out. "
        problems.raise_if_any(DataError, f"{mend}What is done is kept for the next time.")
    for line in problems.found:
        say(f"left out: {line}")
    return [job for job in jobs if job.video_id not in failed]


def _write(
    cohort: Cohort,
    jobs: list[VideoJob],
    parts: Path,
    config: CohortConfig,
    writer: ClipStoreWriter,
    several: SeveralFaces,
) -> dict[str, Any]:
    """Write every window and the sheets of each subject; return the coverage table."""
    rows, by_subject = _rows(cohort, writer.card.groups), dict[str, Counter[str]]()
    strips: dict[str, list[Strip]] = {}
    for job in jobs:
        for stretch, clip in read_part(job, parts):
            row = {**rows[stretch.clip_id], "video_id": job.video_id, "fps": config.fps, "source": "cohort"}
            for number, (start, end) in enumerate(windows(len(clip.valid), config.window, config.stride)):
                own = {"clip_id": f"{stretch.clip_id}-{number:03d}", "t0_s": float(clip.times[start])}
                part = slice(start, end)
                writer.add_clip({**row, **own}, clip.crops[part], clip.landmarks[part], clip.valid[part])
            by_subject.setdefault(row["subject_id"], Counter()).update(clip.outcomes)
            several.add(job, stretch, clip)
            strips.setdefault(row["subject_id"], []).append(_strip(stretch.clip_id, row["label"], clip))
    card = writer.card
    card.consent = {subject: consent for subject, consent in card.consent.items() if subject in by_subject}
    for subject, clips in strips.items():
        contact_sheet(clips, f"{subject}: {len(clips)} clips", writer.draft / "sheets" / f"{subject}.png")
    card.audit["alike"] = alike(_some_faces(strips))
    several.copy_sheets(parts, writer.draft)
    totals = sum(by_subject.values(), Counter[str]())
    return {
        "frames": totals.total(),
        **{outcome: totals[outcome] for outcome in OUTCOMES},
        "by_subject": {subject: {key: counts[key] for key in OUTCOMES} for subject, counts in by_subject.items()},
    }


def _rows(cohort: Cohort, groups: list[str]) -> dict[str, dict[str, Any]]:
    """Return subject, labels and groups of each annotated clip, by its pseudonym."""
    soft = {} if cohort.votes is None else vote_shares(cohort.votes, TARGET)
    people = cohort.manifests.subjects.set_index("subject_id").to_dict("index")
    rows = {}
    for clip in cohort.clips.to_dict("records"):
        shares, columns = soft.get(clip["clip_id"]), {**people[clip["subject_id"]], **clip}
        rows[cohort.key.pseudonym("clip", clip["clip_id"])] = {
            "subject_id": cohort.subject(clip["subject_id"]),
            "label": clip["label"] or _majority(shares),
            "soft_label": shares,
            **{name: columns[name] for name in groups},
        }
    return rows


def _majority(shares: list[float] | None) -> str | None:
    """Return the class with the largest share; None for a tie or without shares."""
    if shares is None or sorted(shares)[-1] == sorted(shares)[-2]:
        return None
    return TARGET.names[int(np.argmax(shares))]


def _strip(clip_id: str, label: str | None, clip: FollowedClip) -> Strip:
    """Return at most ten frames of a clip, evenly spaced, for the contact sheet."""
    frames = slice(0, None, -(-len(clip.valid) // 10))  # a slice, so that the arrays stay views of the memory map
    return f"{clip_id} {label or 'unlabelled'}", clip.crops[frames], clip.landmarks[frames], clip.valid[frames]


def _some_faces(strips: Mapping[str, list[Strip]]) -> Iterator[tuple[str, Any]]:
    """Yield at most :data:`AUDITED_FRAMES` faces of each subject, evenly over its clips."""
    for subject, clips in strips.items():
        places = [(frames, number) for _, frames, _, valid in clips for number in np.flatnonzero(valid)]
        for frames, number in places[:: -(-len(places) // AUDITED_FRAMES) or 1]:
            yield subject, frames[number]


def _check_found(coverage: dict[str, Any], config: CohortConfig) -> None:
    if not coverage["found"]:
        seen = ", ".join(f"{coverage[key]} {key}" for key in OUTCOMES[1:])
        raise DataError(
            f"{config.source}: no face of a child in any of {coverage['frames']} frames ({seen}); look at the videos. "
            "A face has to be seen from the front, with at least data.min_eye_distance pixels between the eyes"
        )


def _card(cohort: Cohort, config: CohortConfig) -> StoreCard:
    admitted = cohort.clips["subject_id"].unique().tolist()
    return StoreCard(
        provenance=cohort.manifests.provenance,
        label_space=TARGET.name,
        shard_by="subject_id",
        source="cohort",
        geometry=crop_geometry(aligned=True, colour=config.colour),
        parameters={
            **{name: getattr(config, name) for name in ("fps", "window", "stride", "colour", "min_eye_distance")},
            "landmark_model_sha256": BUNDLE_SHA256,
            "key_id": cohort.key.id,
        },
        versions={name: version(name) for name in VERSIONS},
        groups=cohort.manifests.groups,
        landmarks_from=MESH_MAPPING,
        consent={cohort.subject(name): snapshot(cohort.decisions[name]) for name in admitted},
        expires_on=(date.today() + timedelta(days=config.retention_days)).isoformat(),
    )
