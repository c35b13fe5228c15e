"""RAF-DB (Li, Deng and Du, 2017), basic emotions: web faces with gender, ethnicity and age group of each.

Published layout: ``EmoLabel/list_patition_label.txt``, ``Image/aligned/<name>_aligned.jpg`` (100x100), and for the
groups ``Annotation/manual/<name>_manu_attri.txt``: five points, then the codes of gender, race and age, a number each.
There are no subject ids, so near-identical pictures are grouped, as for FER2013.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_modules.pictures import PictureDataModule, StillsConfig
from data_modules.stills import Still
from fer_id.errors import DataError, Problems, cut, quoted
from fer_id.inputs import MB, read_text
from fer_id.labels import FER7
from fer_id.progress import say
from fer_id.settings import setting

CODES = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")  # from 1
GROUPS = {
    "gender": ("male", "female", None),  # the third: unsure
    "ethnicity": ("caucasian", "african-american", "asian"),
    "age_group": ("00-03", "04-19", "20-39", "40-69", "70+"),
}
"""Group column -> meaning of its published codes, which count from 0; in the order of an attribute file."""

LIST = Path("EmoLabel", "list_patition_label.txt")
ATTRIBUTES = Path("Annotation", "manual")
_POINTS = 10  # numbers of an attribute file before its codes
_NAME = re.compile(r"(train|test)_\w+")


@dataclass
class RAFDBConfig(StillsConfig):
    """RAF-DB's settings; ``source`` is the folder ``basic``."""

    name: str = setting("rafdb", help="dataset, chosen by data=")
    landmarks: str = setting(
        "mediapipe",
        choices=("none", "mediapipe"),
        help="mediapipe: find 68 points and align the eyes; none: crops as published, which the store says",
    )


class RAFDBDataModule(PictureDataModule):
    """RAF-DB's single labels, with three group columns where ``Annotation/manual`` is there."""

    dataset = "rafdb"
    settings = RAFDBConfig
    label_space = FER7.name
    splits = {"train": "train", "test": "test"}
    counts = {"train": 12_271, "test": 3_068}
    group_columns = tuple(GROUPS)
    licence = "for non-commercial research, by agreement with its authors; not to be passed on"
    layout = f"{LIST}, Image/aligned/<name>_aligned.jpg and {ATTRIBUTES}/<name>_manu_attri.txt (folder basic)"

    @classmethod
    def read(cls, source: Path, left_out: Counter[str]) -> Iterator[Still]:
        """Yield every picture of the list; DataError lists every bad line and attribute file before any picture."""
        grouped = (source / ATTRIBUTES).is_dir()
        if not grouped:
            say(f"rafdb: no {ATTRIBUTES} in {source}, so nobody's gender, ethnicity and age group are known")
        problems, stills = Problems(str(source)), list[Still]()
        for name, label in _listed(source / LIST, problems).items():
            picture = source / "Image" / "aligned" / f"{name}_aligned.jpg"
            groups: dict[str, str | None] = dict.fromkeys(GROUPS)
            try:
                groups |= read_groups(source / ATTRIBUTES / f"{name}_manu_attri.txt") if grouped else {}
            except DataError as problem:
                problems.add(str(problem).replace(f"{source}/", "", 1), kind="attributes")
            stills.append(Still(name, name.partition("_")[0], label, picture, groups=groups))
        problems.raise_if_any(DataError, f"Expected {cls.layout}.")
        listed, folder = {still.image for still in stills}, source / "Image" / "aligned"
        if unlisted := sum(path not in listed for path in folder.glob("[!.]*.jpg")):
            left_out["picture that the list does not name"] += unlisted
        yield from stills


def _listed(path: Path, problems: Problems) -> dict[str, str]:
    """Return name, such as ``train_00001``, -> label; add every bad line to ``problems``."""
    labels: dict[str, str] = {}
    for number, line in enumerate(read_text(path, DataError, most=16 * MB).splitlines(), start=1):
        words = line.split()
        name, code = (Path(words[0]).stem, words[1]) if len(words) == 2 else ("", "")
        if not _NAME.fullmatch(name) or code not in map(str, range(1, len(CODES) + 1)):
            wanted = f"a picture train_... or test_... and a code from 1 to {len(CODES)}"
            problems.add(f"{LIST}, line {number}: {quoted(cut(line, 80))}, expected {wanted}", kind="line")
        elif name in labels:
            problems.add(f"{LIST}, line {number}: {name} stands twice", kind="twice")
        else:
            labels[name] = CODES[int(code) - 1]
    return labels


def read_groups(path: Path) -> dict[str, str | None]:
    """Return the value of each group column from an attribute file; DataError where it is missing or malformed."""
    words = read_text(path, DataError, most=MB).split()
    codes = words[_POINTS:]
    if len(words) != _POINTS + len(GROUPS) or not all(map(str.isdigit, codes)):
        raise DataError(f"{path}: {len(words)} numbers, expected five points and {len(GROUPS)} codes")
    groups: dict[str, str | None] = {}
    for (column, values), code in zip(GROUPS.items(), map(int, codes), strict=True):
        if code >= len(values):
            raise DataError(f"{path}: the code of {column} is {code}, expected 0 to {len(values) - 1}")
        groups[column] = values[code]
    return groups
