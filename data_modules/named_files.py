"""Datasets of files whose names hold label, subject, split and groups: their settings, and the files with these facts.

See :mod:`data_modules.patterns` for the names, and ``docs/DATASETS.md`` for a dataset in one YAML file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from data_modules.patterns import FACTS, TAKEN, compile_pattern, group_fields, matched_files
from data_modules.reader_checks import Attributes, say_other_counts, subject_faults
from data_modules.tables import Table
from fer_id.errors import ConfigError, DataError, Problems, cut, quoted
from fer_id.labels import SPACES, LabelSpace, get_space
from fer_id.settings import Clash, setting

SPLITS = {
    **{"train": "train", "training": "train", "test": "test", "testing": "test"},
    **{"val": "validation", "valid": "validation", "validation": "validation"},
}
"""Names of splits in paths (lower case) and the splits."""

ALIASES = {
    **{"anger": "angry", "disgusted": "disgust", "fearful": "fear", "afraid": "fear"},
    **{"happiness": "happy", "sadness": "sad", "surprised": "surprise"},
}
"""Other words for the class names of :mod:`fer_id.labels`."""


@dataclass
class NamesConfig:
    """Settings of a dataset whose file names hold its facts; in one YAML file they describe the whole dataset."""

    pattern: str = setting(
        "", help="what a file's path below the source holds, such as **/{subject}-{label}-{age_group}.jpg"
    )
    names: dict[str, str] = setting({}, help="label in the names: its class; an empty class leaves the files out")
    people: str | None = setting(
        None, help="table (CSV) of further group columns: subject_id and a column each; with {subject} in data.pattern"
    )
    label_space: str | None = setting(None, help="label space of the classes; empty: the smallest that has them")
    title: str = setting("", help="name of the dataset on cards and in runs; empty: that of the folder")
    licence: str = setting("", help="licence of the raw data, for model cards")
    counts: dict[str, int] = setting(
        {}, help="published numbers, compared with those found: files, subjects, or a split's name", min=0
    )

    def clashes(self) -> Iterator[Clash]:
        """Yield a malformed pattern, and settings that need a pattern, or another one."""
        if not self.pattern:
            for name in ("names", "people", "counts"):
                if getattr(self, name):
                    yield Clash((name,), "belongs to data.pattern, which is empty")
            return
        try:
            fields = compile_pattern(self.pattern).groupindex
        except ConfigError as problem:
            yield Clash(("pattern",), str(problem))
            return
        if self.people and "subject" not in fields:
            yield Clash(("people", "pattern"), "data.pattern has no field {subject} to find people by")

    @property
    def facts(self) -> dict[str, object]:
        """Parameters of the store's card: what describes the dataset, without what is empty."""
        named = {name: getattr(self, name) for name in ("pattern", "names", "title", "licence", "counts")}
        return {name: value for name, value in named.items() if value}


class NamedFile(NamedTuple):
    """File with the facts in its name; ``clip_id`` is its path below the source, ``-`` for ``/``."""

    path: Path
    clip_id: str
    label: str
    subject: str | None
    split: str | None
    groups: dict[str, str | None]


class NamedFiles(NamedTuple):
    """All files of a dataset that have a class, their label space, and their group columns."""

    files: list[NamedFile]
    space: LabelSpace
    groups: list[str]


def read_names(
    source: str | None, config: NamesConfig, suffixes: Collection[str], left_out: Counter[str]
) -> NamedFiles:
    """Return the files below ``source`` that ``config.pattern`` matches, with the facts in their names.

    What is left out is counted in ``left_out``; other numbers than the published ones are printed.

    Raises:
        ConfigError: no source, or settings that do not fit.
        DataError: nothing matches; or labels without a class (one line each, with the number of files), unknown
            splits, names of subjects that cannot name a file, two files of one name, people without a row; all listed.
    """
    if source is None:
        raise ConfigError("data.source is empty; say data.source=FOLDER of the files that data.pattern describes")
    root, problems = Path(source), Problems(str(source))
    pattern = _checked(config)
    matches = matched_files(root, pattern, suffixes, left_out)
    space, classes = _classes(matches, config, problems)
    columns, people = _people(config, pattern)
    files = list[NamedFile]()
    for place, fields in matches:
        if (label := classes.get(str(fields["label"]))) == "":
            left_out[f"label {fields['label']}"] += 1
            continue
        subject, split = fields.get("subject"), fields.get("split")
        groups = {name: fields[name] for name in group_fields(pattern)} | people.get(subject or "", {})
        clip_id = place.replace("/", "-")
        files.append(NamedFile(root / place, clip_id, label or "", subject, SPLITS.get((split or "").lower()), groups))
    _check_names(matches, pattern, problems)
    if config.people:
        for subject in sorted({str(file.subject) for file in files} - set(people)):
            problems.add(f"{config.people}: no row of {cut(subject)}", kind="no row")
    problems.raise_if_any(DataError, f"Expected names as data.pattern={cut(config.pattern, 200)} says.")
    if not files:
        raise DataError(f"{root}: data.names leaves out every file")
    _say_other_counts(files, config, root)
    return NamedFiles(files, space, [*group_fields(pattern), *columns])


def _checked(config: NamesConfig) -> re.Pattern[str]:
    """Return the compiled pattern; ConfigError lists what does not fit."""
    problems = Problems("settings", [f"data.{'/'.join(clash.keys)}: {clash.message}" for clash in config.clashes()])
    if not config.pattern:
        problems.add("data.pattern: is empty; say what the names hold, such as {subject}-{label}.jpg")
    problems.raise_if_any(ConfigError)
    return compile_pattern(config.pattern)


def _classes(
    matches: list[tuple[str, dict[str, str | None]]], config: NamesConfig, problems: Problems
) -> tuple[LabelSpace, dict[str, str]]:
    """Return the label space, and the class of each label in the names (empty: left out); add the others, with their
    numbers, to ``problems``."""
    labelled = [(str(fields["label"]), place) for place, fields in matches if fields["label"] is not None]
    counts, examples = Counter(code for code, _ in labelled), dict(reversed(labelled))
    lower = {code.lower(): name for code, name in config.names.items()}
    classes = {}
    for code in counts:
        word = config.names.get(code, lower.get(code.lower(), code.lower()))
        classes[code] = ALIASES.get(word.lower(), word.lower())
    known = {name for space in SPACES.values() for name in space.names}
    if config.label_space:
        space = get_space(config.label_space)
    else:
        present = {name for name in classes.values() if name in known}
        space = min((space for space in SPACES.values() if present <= set(space.names)), key=len)
    for code, name in classes.items():
        if name and name not in space.names:
            meant = "" if name == code.lower() else f", data.names gives it {quoted(name)}"
            files = f"{counts[code]} file{'s' if counts[code] > 1 else ''}, such as {cut(examples[code], 80)}"
            problems.add(
                f"label {quoted(code)} ({files}): no class of {space.name} ({', '.join(space.names)}){meant}; give it "
                "one in data.names, or '' to leave these files out",
                kind="label",
            )
    return space, classes


def _people(config: NamesConfig, pattern: re.Pattern[str]) -> tuple[list[str], Mapping[str, dict[str, str | None]]]:
    """Return the group columns of the table ``data.people``, and the values of each subject; empty cells are None."""
    if not config.people:
        return [], {}
    table, people, columns = Table(Path(config.people), ["subject_id"], extra=True), dict[str, Any](), list[str]()
    for number, row in table.rows("Expected subject_id and group columns, a row for each subject."):
        name = row.pop("subject_id").strip()
        columns = columns or list(row)
        if name in people:
            table.add(number, "subject_id", "expected each subject once", name)
        people[name] = {column: cell.strip() or None for column, cell in row.items()}
    if wrong := sorted(({*TAKEN, *FACTS} | {*group_fields(pattern)}).intersection(columns)):
        raise DataError(f"{config.people}: the columns {', '.join(wrong)} mean something else, or stand in the names")
    return columns, people


def _check_names(
    matches: list[tuple[str, dict[str, str | None]]], pattern: re.Pattern[str], problems: Problems
) -> None:
    """Add files that cannot be told apart, have no label, an unknown split, no subject, or a subject of another gender
    (or the like) than an earlier file, to ``problems``."""
    seen, splits, people = dict[str, str](), Counter[str](), Attributes()
    for place, fields in matches:
        if not place.isprintable():
            problems.add(f"{cut(place)}: the name is no printable text; rename the file or folder", kind="unprintable")
        if (other := seen.setdefault(place.replace("/", "-"), place)) != place:
            problems.add(f"{cut(place)}: cannot be told from {cut(other)}; rename one of them", kind="twice")
        if fields["label"] is None:
            problems.add(f"{cut(place, 80)}: data.pattern captures no label", kind="no label")
        if "subject" in fields:
            for fault in subject_faults(fields["subject"]):
                problems.add(f"{cut(place, 80)}: {fault}", kind="subject")
            for fault in people.faults(place, fields["subject"], fields):
                problems.add(f"{cut(place, 80)}: {fault}", kind="attributes")
        if "split" in fields and str(fields["split"]).lower() not in SPLITS:
            splits[str(fields["split"])] += 1
    for split, count in splits.items():
        files = f"{count} file{'s' if count > 1 else ''}"
        problems.add(f"split {quoted(split)} ({files}): expected one of {', '.join(SPLITS)}", kind="split")


def _say_other_counts(files: list[NamedFile], config: NamesConfig, root: Path) -> None:
    """Print where the numbers of files, subjects or a split differ from the published ones."""
    sizes = Counter(file.split for file in files if file.split)
    sizes |= {"files": len(files), "subjects": len({file.subject for file in files if file.subject})}
    say_other_counts(config.title or root.name, {what: sizes[what] for what in config.counts}, config.counts)
