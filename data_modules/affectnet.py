"""AffectNet (Mollahosseini et al., 2017): web faces with 68 landmarks each, in two published layouts.

Original release: ``training.csv`` and ``validation.csv`` (perhaps in ``Manually_Annotated_file_lists``) and the images
that they name. 2021 release: ``train_set|val_set/images/<id>.jpg`` with ``annotations/<id>_{exp,lnd,val,aro}.npy``.
Valence and arousal are numbers from -1 to 1; -2 stands for a face without them, as do missing files of both.

No test set is public, so the published validation set is the test set here, as in the literature, and an inner
validation set is split off training.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from data_modules.benchmark import Benchmark, BenchmarkConfig
from data_modules.pictures import PictureDataModule
from data_modules.reader_checks import require_facts
from data_modules.stills import Still
from data_modules.tables import Table
from fer_id.errors import DataError, Problems, cut
from fer_id.inputs import MB, read_bytes
from fer_id.labels import AFFECTNET8
from fer_id.settings import setting
from fer_id.types import AFFECT, LANDMARKS

CODES = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt", "none", "uncertain", "no face")
"""Meaning of the codes in column ``expression``; from 8 on they are no emotions."""

BOX = ("face_x", "face_y", "face_width", "face_height")
COLUMNS = ("subDirectory_filePath", *BOX, "facial_landmarks", "expression", "valence", "arousal")
SETS = {"training": "train_set", "validation": "val_set"}
ABSENT = -2.0
"""Valence or arousal of a picture that is annotated with none."""

AFFECT_FILES = {"valence": "val", "arousal": "aro"}


@dataclass
class AffectNetConfig(BenchmarkConfig):
    """AffectNet's own settings; ``source`` is the folder with the CSVs, or with train_set and val_set."""

    landmarks: ClassVar[str] = "published"
    landmarks_from: ClassVar[str] = "published"
    name: str = setting("affectnet", help="dataset, chosen by data=")
    images: str | None = setting(
        None, help="folder that the CSVs' paths start from; looked for beside the CSVs where empty"
    )
    affect_only: bool = setting(False, help="take faces of no emotion too, unlabelled, if they have valence or arousal")
    unreadable: str = setting(
        "error",
        choices=("error", "leave_out"),
        help="a picture that is missing, damaged or whose landmarks fix no eyes: stop, or leave it out and count it",
    )


MOST_ANNOTATION = MB
"""Bytes of a .npy file with the code or the landmarks of a face."""


class AffectNetDataModule(PictureDataModule):
    """AffectNet in either release: eight classes; ``card.audit["left_out"]`` counts codes without an emotion."""

    dataset = "affectnet"
    settings = AffectNetConfig
    label_space = AFFECTNET8.name
    splits = {"training": "train", "validation": "test"}
    licence = "for research only, by agreement with its authors; not to be passed on"
    layout = (
        "training.csv and validation.csv (original release; perhaps in Manually_Annotated_file_lists), or train_set "
        "and val_set, each with images and annotations (2021 release)"
    )

    @classmethod
    def benchmark(cls, config: AffectNetConfig) -> Benchmark:
        """Return the faces of the release that ``config.source`` holds, aligned by their published landmarks."""
        root, left_out = require_facts(cls, config.source), Counter[str]()
        folders = [root, root / "Manually_Annotated_file_lists"]
        lists = next((folder for folder in folders if any((folder / f"{split}.csv").is_file() for split in SETS)), None)
        card = cls.card(config)
        if lists is not None:
            card.parameters["release"] = "original"
            faces = list_faces(lists, _images(root, config.images), affect_only=config.affect_only)
        elif all((root / name).is_dir() for name in SETS.values()):
            card.parameters["release"], faces = "2021", numpy_faces(root)
        else:
            raise DataError(f"{root}: no AffectNet here. Expected {cls.layout}.")
        return Benchmark(emotional(faces, left_out, affect_only=config.affect_only), card, left_out)


def emotional(faces: Iterable[Still], left_out: Counter[str], *, affect_only: bool = False) -> Iterator[Still]:
    """Yield the faces that show an emotion and, with ``affect_only``, those with valence or arousal alone, unlabelled;
    others are counted by their code."""
    for face in faces:
        if face.label in AFFECTNET8.names:
            yield face
        elif affect_only and (face.valence, face.arousal) != (None, None):
            yield face._replace(label=None)
        else:
            left_out[str(face.label)] += 1


def _images(root: Path, chosen: str | None) -> Path:
    if chosen is not None:
        return Path(chosen)
    usual = (root / "Manually_Annotated_Images", root / "Manually_Annotated" / "Manually_Annotated_Images")
    return next((folder for folder in usual if folder.is_dir()), root)


def list_faces(lists: Path, images: Path, *, affect_only: bool = False) -> Iterator[Still]:
    """Yield the faces of the original release; DataError lists every bad cell before the first picture is opened. The
    landmarks of faces without an emotion are read with ``affect_only``."""
    for split in SETS:
        for _ in _rows(lists / f"{split}.csv", split, images, affect_only):
            pass
    for split in SETS:
        yield from _rows(lists / f"{split}.csv", split, images, affect_only)


def _rows(path: Path, split: str, images: Path, affect_only: bool) -> Iterator[Still]:
    table = Table(path, COLUMNS)
    codes = {str(code): code for code in range(len(CODES))}
    no_landmarks = np.full((LANDMARKS, 2), np.nan, np.float32)
    for number, row in table.rows("Expected AffectNet's tables as published."):
        code, name = codes.get(row["expression"].strip()), Path(row["subDirectory_filePath"].strip())
        affect = dict[str, float | None]()
        for column in AFFECT:
            try:
                affect[column] = parse_affect(row[column])
            except DataError as problem:
                table.add(number, column, str(problem), row[column])
        if code is None:
            table.add(number, "expression", f"expected a number from 0 to {len(CODES) - 1}", row["expression"])
            continue
        if name.is_absolute() or ".." in name.parts or not name.name:
            table.add(number, "subDirectory_filePath", "expected a path below the folder of images", str(name))
        points = no_landmarks
        used = affect_only and any(value is not None for value in affect.values())
        if code < len(AFFECTNET8) or used:  # others are left out
            try:
                points = parse_landmarks(row["facial_landmarks"])
            except DataError as problem:
                table.add(number, "facial_landmarks", str(problem), row["facial_landmarks"])
        clip_id = f"affectnet-{split}-{number:06d}"
        yield Still(
            clip_id,
            split,
            CODES[code],
            images / name,
            landmarks=points,
            valence=affect.get("valence"),
            arousal=affect.get("arousal"),
        )


def parse_affect(text: str) -> float | None:
    """Parse valence or arousal; None for :data:`ABSENT`, DataError for anything else outside of -1 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value == ABSENT:
        return None
    if not -1 <= value <= 1:
        raise DataError(f"expected a number from -1 to 1, or {ABSENT:g} for none")
    return value


def parse_landmarks(text: str) -> NDArray[np.float32]:
    """Parse ``"x;y;x;y;..."`` to float32 (68, 2); DataError for other values, or another number of them."""
    try:
        points = np.array(text.strip().rstrip(";").split(";"), np.float32)
    except ValueError:
        raise DataError(f"expected {2 * LANDMARKS} numbers x;y;...") from None
    return _as_points(points)


def _as_points(values: NDArray[np.float32]) -> NDArray[np.float32]:
    if values.size != 2 * LANDMARKS:
        raise DataError(f"expected {2 * LANDMARKS} numbers x;y;..., not {values.size}")
    if not np.isfinite(values).all():
        raise DataError("expected finite numbers")
    return values.reshape(LANDMARKS, 2)


def numpy_faces(root: Path) -> Iterator[Still]:
    """Yield the faces of the 2021 release, in the order of their numbers.

    DataError: a set without pictures; at the end of each set, every missing or bad annotation.
    """
    for split, name in SETS.items():
        folder, problems = root / name, Problems(str(root / name))
        pictures = sorted((folder / "images").glob("*.jpg"), key=lambda path: (len(path.stem), path.stem))
        if not pictures:
            problems.add("images: no .jpg there")
        for picture in pictures:
            try:
                code, points, affect = _annotation(folder / "annotations", picture.stem)
            except DataError as problem:
                problems.add(str(problem))
                continue
            if not problems:
                clip_id = f"affectnet-{split}-{picture.stem}"
                yield Still(
                    clip_id,
                    split,
                    CODES[code],
                    picture,
                    landmarks=points,
                    valence=affect.get("valence"),
                    arousal=affect.get("arousal"),
                )
        problems.raise_if_any(DataError, f"Expected {AffectNetDataModule.layout}.")


def _annotation(folder: Path, stem: str) -> tuple[int, NDArray[np.float32], dict[str, float | None]]:
    """Return code, landmarks, and valence and arousal of a face; DataError for a bad file."""
    code = _text(folder / f"{stem}_exp.npy")
    if not code.isdigit() or int(code) >= len(CODES):
        raise DataError(f"annotations/{stem}_exp.npy: {code!r}, expected a number from 0 to {len(CODES) - 1}")
    try:
        points = _as_points(_load(folder / f"{stem}_lnd.npy").astype(np.float32))
    except (DataError, ValueError) as problem:
        raise DataError(f"annotations/{stem}_lnd.npy: {problem}") from None
    return int(code), points, _affect(folder, stem)


def _affect(folder: Path, stem: str) -> dict[str, float | None]:
    """Return valence and arousal of a face; none where neither file is there."""
    files = {name: folder / f"{stem}_{short}.npy" for name, short in AFFECT_FILES.items()}
    if not any(os.path.lexists(path) for path in files.values()):
        return {}
    affect, faults = dict[str, float | None](), list[str]()
    for name, path in files.items():
        try:
            text = _text(path)
        except DataError as problem:
            faults.append(str(problem))
            continue
        try:
            affect[name] = parse_affect(text)
        except DataError as problem:
            faults.append(f"annotations/{path.name}: {cut(repr(text))}, {problem}")
    if faults:
        raise DataError("; ".join(faults))
    return affect


def _text(path: Path) -> str:
    """Return a value that is published as text in a zero-dimensional array."""
    return str(_load(path).reshape(-1)[:1].tolist()).strip("[]' ")


def _load(path: Path) -> NDArray[np.generic]:
    try:
        content = io.BytesIO(read_bytes(path, DataError, most=MOST_ANNOTATION))
        array: NDArray[np.generic] = np.load(content, allow_pickle=False)
    except DataError as problem:
        reason = str(problem).removeprefix(f"{path}: ")
        raise DataError(f"annotations/{path.name}: {reason.replace('no such file', 'missing')}") from None
    except (OSError, ValueError, EOFError, MemoryError, SyntaxError) as problem:
        raise DataError(f"annotations/{path.name}: cannot be read ({cut(problem, 200)})") from None
    return array
