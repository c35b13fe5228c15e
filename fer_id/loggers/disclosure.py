"""Rules of disclosure: numbers, settings and pictures of a run that may leave the machine.

No number of fewer than five real children leaves: neither a test score of a fold that leaves one child out, nor a
learning curve of an inner validation of three. A trial of a sweep sends no test score at all, so that no configuration
is chosen by one. Paths and names of places or people never leave. Pictures leave where every face
is drawn; a real face needs the child's consent to ``media_sharing`` and a logger with ``faces=True``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_id.evaluation.groups.suppression import FEWEST_SUBJECTS

if TYPE_CHECKING:
    import pandas as pd

    from fer_id.runs.job import Job
    from fer_id.runs.metrics import Metrics

_PLACES = ("source", "store", "root", "run", "encoder_from", "weights", "entity", "images", "face_landmarker")
PRIVATE_KEYS = frozenset((*_PLACES, "head_from", "votes", "row_flags", "only", "corrections", "annotator"))
"""Settings whose values are paths, or names of places or people (a fold is named after its child): never sent."""

NAME_KEYS = frozenset({"name", "group", "tags", "monitor", "encoder"})
"""Settings that may hold a slash or a list of words without being a path; other such values are not sent."""

SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""First part of a number's name -> its split in ``job.json``."""

OF_NO_SPLIT = re.compile(r"(epoch|step|seconds|folds|lr([-/].*)?|trainer/global_step)")
"""Names of numbers that are of no split."""

OF_ALL = ("confusion_matrix", "per_class", "reliability", "risk_coverage")
"""Figures over all test clips together; other figures show groups, subjects, or the curve of every fold."""

FEW = "of fewer than five children nothing is told"
CHOSEN_BY = "a trial is chosen by inner validation; nothing is told of its test clips"
TRIAL = "trial"
"""Job type of a training that a sweep compares with others."""


@dataclass(frozen=True)
class Rules:
    """Rules of disclosure of one run.

    ``hidden``: first parts of the names of withheld numbers -> the reason, see :func:`withheld`. ``real``: whether real
    children are among the subjects, as far as is known. ``drawn``: whether every face is drawn, so that pictures may
    leave. ``subjects``: pseudonyms, which no name of a number may hold.
    """

    hidden: Mapping[str, str] = field(default_factory=dict)
    real: bool = True
    drawn: bool = False
    subjects: frozenset[str] = frozenset()

    @classmethod
    def of(cls, job: Job, job_type: str, hidden: Mapping[str, str] | None = None) -> Rules:
        """Return the rules for a run; with an empty ``job.json`` only numbers of no split may leave. ``hidden`` has the
        withheld numbers of a run that is a mean over others; None: those of :func:`withheld`."""
        real = job.children is None or any(job.children.values())
        hidden = withheld(job, job_type) if hidden is None else hidden
        return cls(hidden, real, job.store.drawn and not real, job.everyone if real else frozenset())

    def numbers(self, values: Mapping[str, object]) -> dict[str, float]:
        """Return the finite numbers that may leave."""
        return {name: value for name, value in disclosed(values, self.hidden).items() if not self.names_subject(name)}

    def settings(self, config: Mapping[str, object]) -> dict[str, object]:
        """Return the settings that may leave: no path, no list of names, and no pseudonym, as key or as text."""
        return public(config, self.names_subject)

    def names_subject(self, name: str) -> bool:
        """Return whether a name holds the pseudonym of a subject as a word."""
        return not self.subjects.isdisjoint([*re.split(r"[^A-Za-z0-9-]+", name), *name.split("/")])


def withheld(job: Job, job_type: str) -> dict[str, str]:
    """Return the withheld numbers of a run: first part of their names -> the reason. ``job.children`` counts the real
    children of each split; without it all splits are withheld. A :data:`TRIAL` withholds test scores."""
    return few_validated([job]) | ({"test": CHOSEN_BY} if job_type == TRIAL else {})


def few_validated(jobs: Sequence[Job]) -> dict[str, str]:
    """Return the withheld means over trainings, by their ``job.json``: first part of names -> the reason."""
    return {word: FEW for word in SPLITS if few_of_split(word, jobs)}


def few_of_split(word: str, jobs: Sequence[Job]) -> bool:
    """Return whether the real children of a split (key of :data:`SPLITS`) are too few, over all these trainings
    together."""
    split = SPLITS[word]
    by_job = [job.children for job in jobs if job.children is not None]
    if len(by_job) < len(jobs):
        return True
    counts = [children.get(split, 0) for children in by_job]
    names = [job.subjects_of(split) for job in jobs]
    # Drawn subjects among the names cannot be told from real ones; the largest count is a lower bound then.
    all_real = all(count == len(known) for count, known in zip(counts, names, strict=True))
    children = len(set().union(*names)) if all_real else max(counts, default=0)
    return 0 < children < FEWEST_SUBJECTS


def disclosed(numbers: Mapping[str, object], hidden: Mapping[str, str]) -> dict[str, float]:
    """Return the finite numbers that are not withheld, see :func:`withheld`. A number whose name begins with no split
    may be of any split: it is withheld where a split has few children."""
    few = FEW in hidden.values()
    return {
        name: value
        for name, value in numbers.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if (word := name.partition("/")[0]) not in hidden
        if not few or word in SPLITS or OF_NO_SPLIT.fullmatch(name)
    }


def public(config: Mapping[str, object], secret: Callable[[str], bool] = lambda _: False) -> dict[str, object]:
    """Return a configuration without the settings that hold paths, names of people or a ``secret`` text."""
    return {
        key: public(value, secret) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if not (key in PRIVATE_KEYS or secret(key) or (isinstance(value, str) and secret(value)))
        and (key in NAME_KEYS or not holds_place(value))
    }


def holds_place(value: object) -> bool:
    """Return whether a value may be a path, or a list of names of anything."""
    if isinstance(value, list | tuple):
        return any(isinstance(item, str | Path) or holds_place(item) for item in value)
    return isinstance(value, str | Path) and bool(set(str(value)) & set("/\\~"))


def public_figures(names: Iterable[str], provenance: str, *, real: bool) -> list[str]:
    """Return the names of the figures that may leave, none of which may show a person. Where real children are among
    the subjects (``real``), all but :data:`OF_ALL` stay; the figure that names subjects leaves where they are drawn."""
    leaving = [name for name in names if name in OF_ALL or not real]
    return [name for name in leaving if name != "subjects" or provenance == "synthetic"]


def result_numbers(metrics: Metrics, per_class: pd.DataFrame, *, real: bool) -> dict[str, float | str]:
    """Return ``metrics.json`` as numbers under ``test/``: scores with their intervals, by class, and by group.
    ``per_class`` has a row per class, its name in column ``class``. Of the groups of real children only the public view
    is returned."""
    from fer_id.evaluation.groups.disclosure import public_view

    numbers: dict[str, float | str] = {f"test/{name}": value for name, value in disclosed(dict(metrics), {}).items()}
    for name, bounds in metrics.intervals.items():
        if bounds is not None:
            numbers |= {f"test/{name}_low": bounds.low, f"test/{name}_high": bounds.high}
    for row in per_class.to_dict("records"):
        scores = disclosed({str(name): value for name, value in row.items()}, {})
        numbers |= {f"test/{row['class']}/{name}": value for name, value in scores.items()}
    if metrics.subgroups is not None:
        numbers |= group_numbers(public_view(metrics.subgroups) if real else metrics.subgroups.model_dump())
    return numbers


def group_numbers(subgroups: Mapping[str, Any]) -> dict[str, float | str]:
    """Return subgroups as numbers to compare runs by: ``test/group/<column>/<group>/<score>``, and of every column
    ``test/gap/<column>/<score>`` with its ``p`` and its verdict in words."""
    numbers: dict[str, float | str] = {}
    for column, parts in subgroups["columns"].items():
        for group, scores in parts["groups"].items():
            plain = {name: value for name, value in scores.items() if isinstance(value, int | float)}
            numbers |= {f"test/group/{column}/{group}/{name}": value for name, value in plain.items()}
        for score, gap in parts["gaps"].items():
            values = {"": gap["gap"], "/ratio": gap["ratio"], "/p": gap["p_holm"], "/verdict": gap["verdict"]}
            gaps = {f"test/gap/{column}/{score}{name}": value for name, value in values.items()}
            numbers |= {name: value for name, value in gaps.items() if value is not None}
    return numbers
