"""Base of the data modules of people on video: faces followed, clips of some frames, one shard per subject."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from data_modules.base import FerDataModule
from data_modules.face_jobs import Job
from data_modules.reader_checks import group_faults, licence_notes, read_records, require_facts, subject_faults
from data_modules.video_store import FacesConfig, VideoConfig, Videos, written_videos
from data_modules.videos import Stretch, VideoJob
from fer_id.errors import DataError, cut
from fer_id.preprocessing.video import pictures_end, video_facts
from fer_id.progress import say
from fer_id.reporting.audit import reasons_words
from fer_id.store.card import StoreCard
from fer_id.types import AFFECT


class Recording(NamedTuple):
    """A labelled stretch of a video of one person, as a dataset's ``read`` yields it.

    Attributes:
        clip_id: unique name; it is cut into windows, ``<clip_id>-000`` and so on.
        subject_id: person; names a file.
        label: class name, None where unlabelled.
        video: the file.
        start_s, end_s: seconds in the video; ``end_s`` None: to its end.
        split: published name of the split, a key of ``splits``; None where none is published.
        groups: value of each group column of the class, such as ``{"gender": "f"}``, None where unknown; the class
            names them.
        valence, arousal: of the whole stretch, from -1 to 1, None where not annotated.
    """

    clip_id: str
    subject_id: str
    label: str | None
    video: Path
    start_s: float = 0.0
    end_s: float | None = None
    split: str | None = None
    groups: Mapping[str, str | None] = {}
    valence: float | None = None
    arousal: float | None = None


class Recorded(NamedTuple):
    """Recordings of a dataset, and the card of its store, without audit."""

    recordings: list[Recording]
    card: StoreCard


class VideoDataModule(FerDataModule):
    """Data module of a dataset of people on video, with subject ids and without consent records.

    A subclass gives ``dataset``, ``label_space`` and ``read``, which yields :class:`Recording`, and ``splits`` where
    there are published ones. Faces are followed by MediaPipe; an interrupted preparation continues at the next video.
    Subjects that share a face are named in the card, and folds that separate them are refused. The people count as
    real: what may leave the machine is decided as for a cohort.
    """

    settings: ClassVar[type[FacesConfig]] = VideoConfig
    group_columns: ClassVar[tuple[str, ...]] = ()  # names of the columns of :attr:`Recording.groups`
    notes: ClassVar[tuple[str, ...]] = ()  # what a reader of the card has to know

    @classmethod
    def prepare(cls, config: Any, out: Path, *, overwrite: bool = False) -> StoreCard:
        """Follow the faces of all recordings and write the store, whole or not at all.

        Raises:
            ConfigError: missing facts, or no model of MediaPipe.
            DataError: bad input, all faults together; no face in any video.
        """
        videos, card = cls.videos(config)
        if not videos.jobs:
            words = f"; left out: {reasons_words(videos.left_out)}" if videos.left_out else ""
            raise DataError(
                f"{cls.dataset}: no recording to prepare in {config.source}; expected {cls.layout or 'some'}{words}"
            )
        card.notes += [*cls.notes, *licence_notes(cls, card)]
        with written_videos(videos, card, out, config, overwrite=overwrite) as several:
            frames = several.frames
        if frames:
            say(f"{frames} frames show several faces; the larger, more central one was followed: see {out / 'sheets'}")
        return card

    @classmethod
    def videos(cls, config: Any) -> tuple[Videos, StoreCard]:
        """Return the videos with their clips, and the card without audit; DataError for bad input, all faults."""
        left_out = Counter[str]()
        recordings, card = cls.recorded(config, left_out)
        rows = {
            record.clip_id: {
                **{name: getattr(record, name) for name in ("subject_id", "label", *AFFECT)},
                **{"split": cls.splits.get(record.split or ""), **record.groups},
            }
            for record in recordings
        }
        return Videos(_jobs(recordings, Path(str(config.source)), config), rows, left_out), card

    @classmethod
    def recorded(cls, config: Any, left_out: Counter[str]) -> Recorded:
        """Return checked recordings and card; overridden where classes or groups depend on the settings."""
        source = require_facts(cls, config.source)
        records = read_records(cls, Recording, source, left_out, cls.checked(_faults))
        return Recorded(list(records), cls.described(config))

    @classmethod
    def described(cls, config: Any) -> StoreCard:
        """Return the card of the store from the facts of the class, without audit."""
        card: StoreCard = config.card("real", cls.label_space, cls.dataset, list(cls.group_columns))
        return card

    @classmethod
    def checked(cls, faults: Callable[[Any], Iterator[str]]) -> Callable[[Any], Iterator[str]]:
        """Return a check of a record's subject and groups, followed by ``faults``."""
        return partial(_common_faults, groups=cls.group_columns, more=faults)


def _common_faults(record: Any, groups: tuple[str, ...], more: Callable[[Any], Iterator[str]]) -> Iterator[str]:
    yield from subject_faults(record.subject_id)
    yield from more(record)
    yield from group_faults(record.groups, groups)


def _faults(recording: Recording) -> Iterator[str]:
    """Yield the faults of a recording's file and times."""
    video: object = recording.video
    if not isinstance(video, Path):
        yield f"video is {type(video).__name__}, expected Path"
    elif not video.is_file():
        yield f"video {video}: no such file"
    start_s: object = recording.start_s
    end_s: object = math.inf if recording.end_s is None else recording.end_s
    if not (isinstance(start_s, int | float) and isinstance(end_s, int | float) and 0 <= start_s < end_s):
        times = f"start_s is {cut(repr(start_s))}, end_s is {cut(repr(recording.end_s))}"
        yield f"{times}, expected seconds in the video, the end after the start"


def _jobs(recordings: list[Recording], source: Path, config: VideoConfig) -> list[Job]:
    """Return one job per video file, in the order of the recordings."""
    stretches = defaultdict[Path, list[Stretch]](list)
    for record in recordings:
        end_s = _end(record.video, record.start_s + 1 / config.fps) if record.end_s is None else record.end_s
        stretch = Stretch(record.clip_id, record.subject_id, float(record.start_s), float(end_s))
        stretches[record.video].append(stretch)
    settings = config.min_eye_distance, config.colour == "gray", config.fps
    return [VideoJob(path, _video_id(path, source), tuple(own), *settings) for path, own in stretches.items()]


def _end(video: Path, otherwise: float) -> float:
    """Return the end of a video in seconds; ``otherwise`` for an unreadable one, which is reported when followed."""
    try:
        return video_facts(video).duration_s or pictures_end(video)
    except DataError:
        return otherwise


def _video_id(path: Path, source: Path) -> str:
    """Return the path below the source as one word."""
    return "-".join((path.relative_to(source) if path.is_relative_to(source) else path).with_suffix("").parts)
