"""CK+ (Lucey et al., 2010): posed and spontaneous expressions of adults in a laboratory, from neutral to the apex.

Published layout: ``cohn-kanade-images/S005/001/S005_001_00000001.png`` and on; for part of the sequences
``Emotion/S005/001/S005_001_00000011_emotion.txt`` with a code, named after the apex; and 68 points of every picture in
``Landmarks/S005/001/S005_001_00000001_landmarks.txt``. No split is published: a protocol divides the subjects.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from data_modules.frame_jobs import Numbered, resampled
from data_modules.frame_sequences import FrameSequence, FrameSequenceConfig, FrameSequenceDataModule, LabelledFrames
from data_modules.reader_checks import say_other_counts
from fer_id.errors import DataError, Problems, cut, quoted
from fer_id.inputs import MB, read_text
from fer_id.labels import AFFECTNET8
from fer_id.settings import setting

CODES = ("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise")
"""Meaning of the codes in an emotion file."""

IMAGES, EMOTION, LANDMARKS = "cohn-kanade-images", "Emotion", "Landmarks"
_SUBJECT, _SEQUENCE = re.compile(r"S\d{3}"), re.compile(r"\d{3}")
_FRAME = re.compile(r"(S\d{3}_\d{3})_(\d{8})(?:_emotion)?")


@dataclass
class CKPlusConfig(FrameSequenceConfig):
    """CK+'s settings, and its rule: the frames up to the apex, resampled; ``source`` is the folder of the three."""

    recorded: ClassVar[tuple[str, ...]] = ("frames", "neutral_frames", *FrameSequenceConfig.recorded)
    name: str = setting("ckplus", help="dataset, chosen by data=")
    landmarks: str = setting(
        "mediapipe",
        choices=("mediapipe", "published"),
        help="mediapipe: find 68 points in every frame and align the eyes; published: align by the 68 points of CK+",
    )
    colour: str = setting("gray", choices=("rgb", "gray"), help="gray: as most of the sequences are published")
    frames: int = setting(
        10, min=1, max=1000, help="frames of a clip, those nearest to evenly spaced places from the first to the apex"
    )
    neutral_frames: int = setting(
        0, min=0, max=100, help="first frames of a labelled sequence that also become a clip of class neutral; 0: none"
    )

    def clips(self, sequence: FrameSequence, left_out: Counter[str]) -> Iterator[LabelledFrames]:
        """Yield a labelled sequence resampled to ``frames``, and where asked for its first frames as neutral."""
        if sequence.label is None:
            left_out["sequence without emotion file"] += 1
            return
        numbers, name = sequence.numbers, sequence.clip_id
        yield LabelledFrames(name, sequence.label, [numbers[place] for place in resampled(len(numbers), self.frames)])
        if 0 < self.neutral_frames <= len(numbers) // 2:
            first = [numbers[place] for place in resampled(self.neutral_frames, self.frames)]
            yield LabelledFrames(f"{name}-neutral", CODES[0], first)
        elif self.neutral_frames:
            left_out["neutral clip of a sequence shorter than twice its frames"] += 1


class CKPlusDataModule(FrameSequenceDataModule):
    """CK+'s labelled sequences in eight classes, one shard per subject."""

    dataset = "ckplus"
    settings = CKPlusConfig
    label_space = AFFECTNET8.name
    licence = "for research, by agreement with its authors; not to be passed on"
    layout = (
        f"{IMAGES}/S005/001/S005_001_00000001.png, {EMOTION}/S005/001/S005_001_00000011_emotion.txt and, for "
        f"data.landmarks=published, {LANDMARKS}/S005/001/S005_001_00000001_landmarks.txt"
    )
    published: ClassVar[dict[str, int]] = {
        **{"subjects": 123, "sequences": 593, "sequences of angry": 45, "sequences of contempt": 18},
        **{"sequences of disgust": 59, "sequences of fear": 25, "sequences of happy": 69, "sequences of sad": 28},
        "sequences of surprise": 83,
    }

    @classmethod
    def read(cls, source: Path, left_out: Counter[str]) -> Iterator[FrameSequence]:
        """Yield every sequence up to its apex; DataError lists every bad file before any picture is opened."""
        problems, sequences = Problems(str(source)), list[FrameSequence]()
        for part in (IMAGES, EMOTION):
            if not (source / part).is_dir():
                problems.add(f"{part}: no such folder", kind="missing")
        problems.raise_if_any(DataError, f"Expected {cls.layout}.")
        labels = _emotions(source, problems)
        for folder in _folders(source / IMAGES, problems):
            name = "_".join(folder.parts[-2:])
            numbers = _frames(folder, name, problems)
            apex, label = labels.pop(name, (numbers[-1] if numbers else 0, None))
            if numbers and apex not in numbers:
                pictures = f"its pictures are {numbers[0]} to {numbers[-1]}"
                problems.add(f"{EMOTION}: {name} has its apex at frame {apex}, and {pictures}", kind="apex")
            elif numbers and apex != numbers[-1]:
                left_out["frame after the apex"] += numbers[-1] - apex
                numbers = range(numbers[0], apex + 1)
            sequences.append(_sequence(source, folder, label, numbers))
        for name in labels:
            problems.add(f"{EMOTION}: {name} has a label, and no pictures in {IMAGES}", kind="no pictures")
        problems.raise_if_any(DataError, f"Expected {cls.layout}.")
        sizes = {"subjects": len({sequence.subject_id for sequence in sequences}), "sequences": len(sequences)}
        of_label = Counter(f"sequences of {sequence.label}" for sequence in sequences if sequence.label)
        say_other_counts(cls.dataset, sizes | of_label, cls.published)
        yield from sequences


def _sequence(source: Path, folder: Path, label: str | None, numbers: range) -> FrameSequence:
    subject, name = folder.parent.name, f"{folder.parent.name}_{folder.name}"
    pictures = Numbered(folder, name + "_{:08d}.png")
    points = Numbered(source / LANDMARKS / subject / folder.name, name + "_{:08d}_landmarks.txt")
    return FrameSequence(name, subject, label, pictures, numbers, points=points)


def _folders(root: Path, problems: Problems) -> list[Path]:
    """Return the folders ``S005/001`` below ``root``; one of another name is added to ``problems``."""
    folders = list[Path]()
    for subject in _subfolders(root):
        if not _SUBJECT.fullmatch(subject.name):
            problems.add(f"{root.name}/{cut(subject.name)}: expected a subject such as S005", kind="folder")
            continue
        for folder in _subfolders(subject):
            if _SEQUENCE.fullmatch(folder.name):
                folders.append(folder)
            else:
                place = f"{root.name}/{subject.name}/{cut(folder.name)}"
                problems.add(f"{place}: expected a sequence such as 001", kind="folder")
    return folders


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _numbered(folder: Path, name: str, suffix: str, problems: Problems) -> dict[int, Path]:
    """Return the files ``<name>_<number>...`` of a folder by number; others are added to ``problems``."""
    files = dict[int, Path]()
    for path in sorted(folder.glob(f"*{suffix}")):
        match = _FRAME.fullmatch(path.stem)
        if path.name.startswith("."):  # what other systems leave beside a file
            continue
        if match and match[1] == name:
            files[int(match[2])] = path
        else:
            problems.add(f"{_place(path)}: expected a name such as {name}_00000001{suffix}", kind="name")
    return files


def _frames(folder: Path, name: str, problems: Problems) -> range:
    """Return the numbers of a sequence's pictures, which have no gap."""
    numbers = sorted(_numbered(folder, name, ".png", problems))
    if not numbers:
        problems.add(f"{IMAGES}/{name.replace('_', '/')}: no picture", kind="no picture")
        return range(0)
    frames = range(numbers[0], numbers[-1] + 1)
    if gap := sorted(set(frames) - set(numbers)):
        listed = ", ".join(map(str, gap[:5])) + (", ..." if len(gap) > 5 else "")
        problems.add(f"{IMAGES}/{name.replace('_', '/')}: {len(gap)} pictures are missing: {listed}", kind="gap")
    return frames


def _emotions(source: Path, problems: Problems) -> dict[str, tuple[int, str]]:
    """Return name of a labelled sequence -> number of its apex, and its label."""
    labels = dict[str, tuple[int, str]]()
    for folder in _folders(source / EMOTION, problems):
        name = "_".join(folder.parts[-2:])
        files = _numbered(folder, name, "_emotion.txt", problems)
        if len(files) > 1:
            problems.add(f"{EMOTION}/{name.replace('_', '/')}: {len(files)} files, expected one at most", kind="files")
        for apex, path in files.items():
            try:
                text = read_text(path, DataError, most=MB).strip()
                labels[name] = apex, CODES[_code(text)]
            except DataError as problem:
                problems.add(f"{_place(path)}: {str(problem).removeprefix(f'{path}: ')}", kind="label")
    return labels


def _code(text: str) -> int:
    """Return the code of an emotion file, ``   3.0000000e+00``; DataError for another content."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value not in range(len(CODES)):
        raise DataError(f"{quoted(cut(text, 40))}, expected a code from 0 to {len(CODES) - 1}")
    return int(value)


def _place(path: Path) -> str:
    return "/".join(path.parts[-4:])
