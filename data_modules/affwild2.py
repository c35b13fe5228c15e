"""Aff-Wild2 (Kollias and Zafeiriou, 2019), expression challenge of ABAW: videos from the web, a label for each frame.

Published layout: ``EXPR_Recognition_Challenge`` (before 2024 ``EXPR_Classification_Challenge``) with
``Train_Set|Validation_Set/<video>.txt``, a header line and then one code for each frame, and the faces as
``cropped_aligned/<video>/00001.jpg`` (112x112; fifty videos in ``cropped_aligned_new_50_vids``), without those frames
in which no face was detected. ``VA_Estimation_Challenge`` beside it, which may be missing, has the same files with a
line ``valence,arousal`` and then a pair for each frame, -5 where there is none; a video that its sets divide otherwise
belongs to the set of its expressions. ``<video>_left`` and ``<video>_right`` are two people of one video.

The test labels are not public, so the published validation set is the test set here, as in the literature, and an inner
validation set is split off training, by video.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_modules.benchmark import final_splits
from data_modules.config import DividedConfig
from data_modules.frame_jobs import Numbered
from data_modules.frame_sequences import FrameSequence, FrameSequenceConfig, FrameSequenceDataModule, LabelledFrames
from data_modules.reader_checks import say_other_counts
from fer_id.errors import DataError, Problems, cut, quoted
from fer_id.inputs import MB, read_text
from fer_id.labels import FER7
from fer_id.preprocessing.tracking import windows
from fer_id.progress import say
from fer_id.settings import setting
from fer_id.types import AFFECT

CODES = ("neutral", "angry", "disgust", "fear", "happy", "sad", "surprise", "other")
"""Meaning of the codes from 0; the release of 2020 and 2021 has no ``other``."""

HEADER = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
UNLABELLED = -1
CHALLENGES = ("EXPR_Recognition_Challenge", "EXPR_Classification_Challenge")
VA_CHALLENGE = "VA_Estimation_Challenge"
ABSENT = -5.0
"""Valence and arousal of a frame without them."""

PICTURES = "cropped_aligned"
_PICTURE = re.compile(r"(\d{5,})\.jpg")
_PERSON = re.compile(r"_(left|right)$")
_MOST_LABELS = 64 * MB
_MOST_LINES = 3
"""Bad lines of a file that a message lists."""


@dataclass
class AffWild2Config(FrameSequenceConfig, DividedConfig):
    """Aff-Wild2's settings, and its rule: windows of every ``step``-th frame, labelled by the majority.

    Valence and arousal are the means over the frames that have them, where these are more than the share ``majority``.
    """

    surroundings: ClassVar[bool] = False
    recorded: ClassVar[tuple[str, ...]] = (
        *("step", "window", "stride", "majority", "affect_only", "validation_fraction", "split_seed"),
        *FrameSequenceConfig.recorded,
    )
    name: str = setting("affwild2", help="dataset, chosen by data=")
    landmarks: str = setting(
        "mediapipe",
        choices=("none", "mediapipe"),
        help="mediapipe: find 68 points and align the eyes; none: crops as published, which the store says",
    )
    step: int = setting(6, min=1, max=1000, help="every step-th frame is taken: at 30 frames per second, five of them")
    window: int = setting(10, min=1, max=1000, help="frames per clip of the store; the paper's T is 10")
    stride: int = setting(10, min=1, max=1000, help="frames from one window to the next; below `window` they overlap")
    majority: float = setting(
        0.5, min=0.5, below=1, help="share of a clip's frames that its label has to exceed; else it is left out"
    )
    affect_only: bool = setting(
        False, help="take clips of none of the classes too, unlabelled, if they have valence or arousal"
    )

    def clips(self, sequence: FrameSequence, left_out: Counter[str]) -> Iterator[LabelledFrames]:
        """Yield the windows of a video in which one class has the majority of the frames, with ``affect_only`` others
        with valence or arousal too."""
        taken = sequence.numbers[:: self.step]
        codes = np.asarray(sequence.labels)[:: self.step]
        affect = np.full((len(codes), len(AFFECT)), np.nan)
        if sequence.affect is not None:
            affect = sequence.affect[:: self.step]
        for start, end in windows(len(taken), self.window, self.stride):
            values, counts = np.unique(codes[start:end], return_counts=True)
            code, count = int(values[counts.argmax()]), int(counts.max())
            valence, arousal = self._affect(affect[start:end])
            clip = LabelledFrames(
                f"{sequence.clip_id}-{taken[start]:05d}", None, taken[start:end], valence=valence, arousal=arousal
            )
            if count > self.majority * (end - start) and code != UNLABELLED and CODES[code] in FER7.names:
                yield clip._replace(label=CODES[code])
            elif self.affect_only and (valence, arousal) != (None, None):
                yield clip
            elif count <= self.majority * (end - start):
                left_out["clip without a majority"] += 1
            elif code == UNLABELLED:
                left_out["clip without labels"] += 1
            else:
                left_out[f"clip of class {CODES[code]}"] += 1

    def _affect(self, frames: NDArray[np.float64]) -> list[float | None]:
        """Return valence and arousal of a clip, None where too few of its ``frames`` (T, 2) have them."""
        known = np.isfinite(frames)
        enough = known.sum(axis=0) > self.majority * len(frames)
        return [float(frames[known[:, k], k].mean()) if enough[k] else None for k in range(len(AFFECT))]


class AffWild2DataModule(FrameSequenceDataModule):
    """Aff-Wild2's videos in seven classes, one shard per video."""

    dataset = "affwild2"
    settings = AffWild2Config
    label_space = FER7.name
    splits = {"Train_Set": "train", "Validation_Set": "test"}
    counts = {"Train_Set": 248, "Validation_Set": 70}
    notes = ("subjects are videos: some people appear in several, which no published list names",)
    licence = "for non-commercial research, by agreement with its authors; not to be passed on"
    layout = (
        f"{' or '.join(CHALLENGES)} with Train_Set and Validation_Set/<video>.txt, and {PICTURES}/<video>/00001.jpg"
    )

    @classmethod
    def read(cls, source: Path, left_out: Counter[str]) -> Iterator[FrameSequence]:
        """Yield every annotated video; DataError lists every bad line and missing video before a picture is opened."""
        problems, sequences, seen = Problems(str(source)), list[FrameSequence](), dict[str, str]()
        folder, pictures = _challenge(source), _by_video(source, left_out)
        sizes, classes, affect = Counter[str](), set[int](), _affect_files(folder.parent, cls.splits, problems)
        for split in cls.splits:
            files = sorted((folder / split).glob("[!.]*.txt"))
            if not files:
                problems.add(f"{folder.name}/{split}: no annotation there", kind="no annotation")
            for path in files:
                video, labels = path.stem, _labels(path, classes, problems)
                if seen.setdefault(video, split) != split:
                    problems.add(f"{video} stands in both sets", kind="both sets")
                if (place := pictures.get(video)) is None:
                    problems.add(f"{split}/{path.name}: no folder {PICTURES}/{cut(video)}", kind="missing video")
                elif labels is not None:
                    sequences.append(_sequence(video, split, labels, place))
                sizes[split] += 1
        sequences = _with_affect(sequences, affect, seen, pictures, problems)
        for sequence in sequences:
            left_out.update(_beyond(sequence.pictures.folder, len(sequence.numbers), problems))
        problems.raise_if_any(DataError, f"Expected {cls.layout}.")
        if without := len(pictures.keys() - seen.keys() - affect.keys()):
            left_out["video without annotation"] += without
        if len(CODES) in classes:  # the earlier release has other videos
            say_other_counts(cls.dataset, sizes, cls.counts, "videos in {}")
        yield from sequences

    @classmethod
    def divided(cls, sequences: Sequence[FrameSequence], config: Any) -> list[str | None]:
        """Return the split of each video; two people of one video stay together in a validation split off training."""
        table = pd.DataFrame(
            [(sequence.split, "", _PERSON.sub("", sequence.clip_id)) for sequence in sequences],
            columns=["published", "label", "subject_id"],
            dtype=object,
        )
        return list(final_splits(table, cls.splits, config, by_person=True))


def _challenge(source: Path) -> Path:
    """Return the only folder of expression annotations, at most two folders below ``source``."""
    places = [
        place for name in CHALLENGES for depth in ("", "*/", "*/*/") for place in sorted(source.glob(f"{depth}{name}"))
    ]
    if len(places) != 1:
        listed = f"; there are {', '.join(map(str, places[:3]))}" if places else ""
        raise DataError(f"{source}: {len(places)} folders {' or '.join(CHALLENGES)}, expected one{listed}")
    return places[0]


def _by_video(source: Path, left_out: Counter[str]) -> dict[str, Path]:
    """Return the folder of the pictures of each video, the first of those in several folders; the others are counted
    as ``left_out``."""
    roots = [*sorted(source.glob(f"{PICTURES}*")), *sorted(source.glob(f"*/{PICTURES}*"))]
    videos = dict[str, Path]()
    for root in roots:
        for folder in sorted(root.iterdir()) if root.is_dir() else ():
            if not folder.is_dir() or folder in roots or folder.name.startswith("."):
                continue
            if videos.setdefault(folder.name, folder) != folder:
                left_out["further folder of pictures of a video"] += 1
    return videos


def _labels(path: Path, classes: set[int], problems: Problems) -> NDArray[np.int8] | None:
    """Return the code of each frame; None for a bad file. The number of classes of its header joins ``classes``."""
    names, lines = _lines(path, (HEADER, HEADER[:-1]), problems)
    codes = {str(code): code for code in range(UNLABELLED, len(names))}
    values = [codes.get(line.strip()) for line in lines]
    classes.update({len(names)} - {0})
    sound = _all_sound(path, lines, values, f"a code from {UNLABELLED} to {len(names) - 1}", problems)
    return np.array(values, np.int8) if sound else None


def _affect(path: Path, problems: Problems) -> NDArray[np.float64] | None:
    """Return valence and arousal of each frame (N, 2), NaN where there is none; None for a bad file."""
    _, lines = _lines(path, (AFFECT,), problems)
    pairs = [_pair(line) for line in lines]
    sound = _all_sound(path, lines, pairs, f"two numbers from -1 to 1, or {ABSENT:g} for none", problems)
    return np.array(pairs, np.float64) if sound else None


def _pair(line: str) -> tuple[float, float] | None:
    """Parse ``0.1,-0.2``; None for another number of values, or one out of range."""
    try:
        valence, arousal = (np.nan if float(text) == ABSENT else float(text) for text in line.split(","))
    except ValueError:
        return None
    return None if abs(valence) > 1 or abs(arousal) > 1 or "nan" in line.lower() else (valence, arousal)


def _lines(path: Path, headers: Sequence[tuple[str, ...]], problems: Problems) -> tuple[tuple[str, ...], list[str]]:
    """Return the names of a file's header, which is one of ``headers``, and its lines; nothing for a bad file."""
    place = "/".join(path.parts[-2:])
    try:
        header, *lines = read_text(path, DataError, most=_MOST_LABELS).rstrip().split("\n")
    except DataError as problem:
        problems.add(f"{place}: {str(problem).removeprefix(f'{path}: ')}", kind="unreadable")
        return (), []
    names = tuple(name.strip() for name in header.strip().strip(",").split(","))
    if names not in headers:
        problems.add(f"{place}, line 1: {quoted(cut(header))}, expected {','.join(headers[0])}", kind="header")
        return (), []
    if not lines:
        problems.add(f"{place}: no label below the header", kind="empty")
    return names, lines


def _all_sound(path: Path, lines: Sequence[str], values: Sequence[object], expected: str, problems: Problems) -> bool:
    """Add the lines whose value is None to the problems; return whether there are lines, and none such."""
    place, bad = "/".join(path.parts[-2:]), [number for number, value in enumerate(values) if value is None]
    for number in bad[:_MOST_LINES]:
        problems.add(f"{place}, line {number + 2}: {quoted(cut(lines[number]))}, expected {expected}", kind="line")
    if len(bad) > _MOST_LINES:
        problems.add(f"{place}: {len(bad) - _MOST_LINES:,} more bad lines", kind="more lines")
    return bool(lines) and not bad


def _sequence(video: str, split: str, labels: NDArray[np.int8], folder: Path) -> FrameSequence:
    numbers = range(1, len(labels) + 1)
    return FrameSequence(video, video, None, Numbered(folder, "{:05d}.jpg"), numbers, labels, split=split)


def _affect_files(folder: Path, splits: Iterable[str], problems: Problems) -> dict[str, tuple[str, Path]]:
    """Return set and file of the valence and arousal of each video; none where the challenge is not there."""
    files = dict[str, tuple[str, Path]]()
    for split in splits:
        for path in sorted((folder / VA_CHALLENGE / split).glob("[!.]*.txt")):
            if path.stem in files:
                problems.add(f"{VA_CHALLENGE}: {path.stem} stands in both sets", kind="both sets")
            files[path.stem] = split, path
    return files


def _with_affect(
    sequences: Sequence[FrameSequence],
    affect: Mapping[str, tuple[str, Path]],
    labelled: Mapping[str, str],
    pictures: Mapping[str, Path],
    problems: Problems,
) -> list[FrameSequence]:
    """Return the sequences with valence and arousal, and those of the videos that have nothing else.

    ``labelled`` has the set of every video with labels. An annotation that is shorter than the other lacks its last
    frames.
    """
    values, more = dict[str, NDArray[np.float64]](), list[FrameSequence]()
    for video, (split, path) in affect.items():
        read = _affect(path, problems)
        if video not in labelled and video not in pictures:
            problems.add(f"{VA_CHALLENGE}/{split}/{path.name}: no folder {PICTURES}/{cut(video)}", kind="missing video")
        if read is None:
            continue
        values[video] = read
        if video not in labelled and video in pictures:
            more.append(_sequence(video, split, np.full(len(read), UNLABELLED, np.int8), pictures[video]))
    if moved := sum(labelled.get(video, split) != split for video, (split, _) in affect.items()):
        say(f"affwild2: {moved} videos stand in the other set of {VA_CHALLENGE}; that of their expressions counts")
    return [_longest(sequence, values.get(sequence.clip_id)) for sequence in [*sequences, *more]]


def _longest(sequence: FrameSequence, affect: NDArray[np.float64] | None) -> FrameSequence:
    """Return a sequence with valence and arousal, as long as the longer of its annotations."""
    if affect is None or sequence.labels is None:
        return sequence
    length = max(len(sequence.labels), len(affect))
    labels = np.full(length, UNLABELLED, np.int8)
    labels[: len(sequence.labels)] = sequence.labels
    affect = np.pad(affect, ((0, length - len(affect)), (0, 0)), constant_values=np.nan)
    return sequence._replace(labels=labels, affect=affect, numbers=range(1, length + 1))


def _beyond(folder: Path, length: int, problems: Problems) -> dict[str, int]:
    """Count the pictures after the last label; a folder without any picture is added to ``problems``."""
    numbers = [int(match[1]) for path in folder.iterdir() if (match := _PICTURE.fullmatch(path.name))]
    if not any(number <= length for number in numbers):
        problems.add(f"{'/'.join(folder.parts[-2:])}: no picture 00001.jpg to {length:05d}.jpg", kind="no picture")
    beyond = sum(number > length for number in numbers)
    return {"picture after the last label": beyond} if beyond else {}
