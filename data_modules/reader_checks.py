"""Checks of a dataset's facts and of what its ``read`` yields: a mistake names the reader and what was expected."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from data_modules.config import NO_LICENCE
from fer_id.errors import ConfigError, DataError, FerIdError, Problems, cut
from fer_id.evaluation.config import SPLITS
from fer_id.inputs import is_file_name
from fer_id.labels import SPACES, get_space
from fer_id.progress import say
from fer_id.reporting.audit import reasons_words
from fer_id.store.card import StoreCard
from fer_id.store.format import affect_problems, label_problems
from fer_id.store.writer import SHARD_NAME
from fer_id.types import AFFECT

if TYPE_CHECKING:
    from data_modules.base import FerDataModule

Record = TypeVar("Record", bound=NamedTuple)

OF_A_PERSON = ("age_group", "gender", "severity", "ethnicity", "site")
"""Group columns that do not change from clip to clip of a person: those of a cohort's ``subjects.csv``."""

MOST_WRONG = 1000
"""Wrong records after which the others are not read."""


def say_left_out(source: str, left_out: Mapping[str, int]) -> None:
    """Print the number of samples left out, by reason, if there are any."""
    if left_out:
        say(f"{source}: left out: {reasons_words(left_out)}")


def say_other_counts(source: str, sizes: Mapping[str, int], published: Mapping[str, int], words: str = "{}") -> None:
    """Print the sizes that are other than their authors state; ``words`` says what a key counts."""
    for key, size in sizes.items():
        if size != published.get(key, size):
            say(f"{source}: {size:,} {words.format(key)}, and {published[key]:,} are published")


def require_facts(dataset: type[FerDataModule], source: str | None, needed: Sequence[str] = ()) -> Path:
    """Return the path ``source`` of the raw data; the published splits have to cover the splits ``needed``.

    Raises:
        ConfigError: no source, an unknown label space, or splits of other kinds than ``SPLITS``; all listed.
        DataError: the raw data are not there.
    """
    problems = Problems(f"dataset {dataset.dataset} ({dataset.__module__}.{dataset.__qualname__})")
    if dataset.label_space not in SPACES:
        problems.add(f"label_space is {dataset.label_space!r}, expected one of {', '.join(SPACES)}")
    roles = set(dataset.splits.values())
    if not roles <= set(SPLITS) or not set(needed) <= roles:
        wanted = f", {' and '.join(needed)} among them" if needed else ""
        problems.add(f"splits is {cut(dict(dataset.splits))}, expected published name -> {', '.join(SPLITS)}{wanted}")
    if strange := set(dataset.counts) - set(dataset.splits):
        problems.add(f"counts has {', '.join(map(cut, sorted(strange)))}, which are no names of splits")
    layout = f" Expected {dataset.layout}." if dataset.layout else ""
    if not source:
        problems.add(f"data.source is empty; say data.source=FILE or FOLDER.{layout}")
    problems.raise_if_any(ConfigError)
    if not Path(str(source)).exists():
        raise DataError(f"{source}: no such file or folder.{layout}")
    return Path(str(source))


def read_records(
    dataset: type[FerDataModule],
    kind: type[Record],
    source: Path,
    left_out: Counter[str],
    faults: Callable[[Record], Iterator[str]],
) -> Iterator[Record]:
    """Yield the records of ``dataset.read(source, left_out)``, which are of class ``kind``, checked.

    ``faults`` yields the faults of a record beyond clip_id, split and label.
    DataError: ``read`` raises another error than DataError, or at the end all that it yields as a DataError, and every
    wrong record; the same fault of several records, such as a mistyped class, is one line.
    """
    name = f"{dataset.__module__}.{dataset.__qualname__}.read"
    faulty, seen, people, number = dict[str, list[str]](), set[str](), Attributes(), 0
    try:
        records = dataset.read(source, left_out)
        if not isinstance(records, Iterable):
            raise DataError(
                f"{name} returns a {type(records).__name__}, expected a class method that yields {kind.__name__}"
            )
        for record in records:
            number += 1
            if isinstance(record, DataError):
                faulty.setdefault(str(record), [])
            elif not isinstance(record, kind):
                raise DataError(f"{name} yields a {type(record).__name__}, expected {kind.__name__}")
            else:
                of_person = people.faults(record[0], record.subject_id, record.groups)  # type: ignore[attr-defined]
                for fault in [*_common_faults(dataset, record, seen), *faults(record), *of_person]:
                    faulty.setdefault(fault, []).append(f"{kind.__name__} {number} ({cut(record[0])})")
            if sum(max(len(of), 1) for of in faulty.values()) >= MOST_WRONG:
                break
            if not faulty and isinstance(record, kind):
                yield record
    except (FerIdError, MemoryError):
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        file = getattr(getattr(dataset.read, "__code__", None), "co_filename", "")
        own = ([frame for frame in frames if frame.filename == file] or frames)[-1]  # not a line of a library
        raised = (
            f"raises {type(error).__name__} ({Path(own.filename).name}, line {own.lineno}) after {number} records: "
            f"{cut(error, 300)}. Expected: it yields {kind.__name__}, and a DataError for each faulty one"
        )
        if not faulty:
            raise DataError(f"{name} {raised}") from error
        faulty = {raised: [], **faulty}
    lines = (fault if not of else f"{of[0]}: {fault}{_and_more(of)}" for fault, of in faulty.items())
    Problems(name, lines).raise_if_any(DataError, f"Expected: fields of {kind.__name__}, see docs/DATASETS.md.")


def _and_more(records: Sequence[str]) -> str:
    return f" (and so {len(records) - 1:,} more)" if len(records) > 1 else ""


def licence_notes(dataset: type[FerDataModule], card: StoreCard) -> list[str]:
    """Return the note for the card of a dataset that states no licence, after printing it; else none."""
    if dataset.licence != NO_LICENCE or card.settings.licence:
        return []
    say(f"{dataset.dataset}: {NO_LICENCE}; {dataset.__qualname__}.licence says it, for model cards")
    return [NO_LICENCE]


def _common_faults(dataset: type[FerDataModule], record: Any, seen: set[str]) -> Iterator[str]:
    """Yield the faults of clip_id, split and label of a record, whose fields begin alike in all kinds."""
    clip_id, label, split, soft = record.clip_id, record.label, record.split, getattr(record, "soft_label", None)
    if not isinstance(clip_id, str) or not is_file_name(clip_id):
        yield f"clip_id is {cut(repr(clip_id))}, expected text that can name a file"
    elif clip_id in seen:
        yield "clip_id stands twice, expected a name of its own for every record"
    else:
        seen.add(clip_id)
    if dataset.splits and split not in dataset.splits:
        yield f"split is {cut(repr(split))}, expected one of {', '.join(dataset.splits)}"
    if not dataset.splits and split is not None:
        yield f"split is {cut(repr(split))}, and {dataset.__qualname__}.splits names none"
    if label is not None and not isinstance(label, str):
        yield f"label is {cut(repr(label))}, expected a class name or None"
    yield from label_problems(label, soft, get_space(dataset.label_space))
    yield from affect_problems({name: getattr(record, name, None) for name in AFFECT})


def group_faults(groups: Mapping[str, str | None], columns: Sequence[str]) -> Iterator[str]:
    """Yield the fault of a record's groups: other columns than its class names."""
    if set(groups) != set(columns):
        yield f"groups names {sorted(groups)}, expected group_columns: {sorted(columns)}"


class Attributes:
    """Values of the columns :data:`OF_A_PERSON` of each subject, by the first record that has them."""

    def __init__(self) -> None:
        self._first: dict[tuple[object, str], tuple[object, str]] = {}

    def faults(self, record: str, subject: str | None, groups: Mapping[str, str | None]) -> Iterator[str]:
        """Yield each value of a subject that an earlier record contradicts; an unknown one contradicts nothing."""
        for column in OF_A_PERSON if isinstance(subject, str) and isinstance(groups, Mapping) else ():
            if (value := groups.get(column)) is not None:
                before, where = self._first.setdefault((subject, column), (value, record))
                if before != value:
                    contradicted = f"{cut(repr(value))}, and {cut(repr(before))} in {cut(where)}"
                    yield f"{column} of {cut(subject)} is {contradicted}; a column that may change needs another name"


def subject_faults(subject_id: object) -> Iterator[str]:
    """Yield the fault of a record's subject, whose name its files have."""
    if not isinstance(subject_id, str) or not SHARD_NAME.fullmatch(subject_id):
        yield f"subject_id is {cut(repr(subject_id))}, expected letters, digits, _ . - that can name a file"
