"""Base of the typed records of a run, :class:`Part`: validated at reading, since files may have been edited.

A key that an older version did not write may be missing; a value has the type of its field, and is null only where it
may be undefined. Each page that reads a record checks which keys it needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from fer_id.errors import RunError
from fer_id.files import read_json, write_json
from fer_id.shapes import Count, Number, Text, record

Share = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0.0, le=1.0)]
Numbers = dict[str, Number | None]
Provenance = Literal["real", "simulated", "synthetic"]


def null_as(value: Any) -> BeforeValidator:
    """Return a validator that reads null, as older versions wrote it, as ``value``."""
    return BeforeValidator(lambda given: value if given is None else given)


class Part(BaseModel):
    """A part of a run's files; keys without a field are left as they are."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())

    def __getitem__(self, name: str) -> Any:
        """Return the value of a field whose name is not known before, such as each score of a table."""
        return getattr(self, name)

    def write(self, path: Path) -> None:
        """Write the keys that are set as JSON, in the order of the fields."""
        write_json(path, self.model_dump(exclude_unset=True, by_alias=True))


PartType = TypeVar("PartType", bound=Part)


class Size(Part):
    """Numbers of clips and subjects of a group."""

    n_clips: Count = 0
    n_subjects: Count = 0


class Interval(Part):
    """The confidence interval of a score."""

    low: Number
    high: Number
    level: Share | None = None
    method: Text | None = None
    n_subjects: Count | None = None


Intervals = dict[str, Interval | None]


def read_record(shape: type[PartType], path: Path, hint: str = "") -> PartType:
    """Return a run's file as a typed record; ``hint`` is how it can be made again. Raises RunError where the file is
    missing, damaged, or does not match the class; each place is named."""
    try:
        return record(shape, read_json(path, RunError), str(path), RunError)
    except RunError as problem:
        raise RunError(f"{problem}; {hint}" if hint else str(problem)) from None
