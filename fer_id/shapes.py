"""Validation of untrusted JSON into typed records (pydantic), with the place of each problem."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import Annotated, Any, TypeVar, cast

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from fer_id.errors import FerIdError, Problems, quoted

T = TypeVar("T")
LATEST_S = float(2**31 - 1)  # largest moment in seconds, the limit of BORIS
_QUOTED = 60
_EXPECTED = {
    **dict.fromkeys(("float_type", "float_parsing", "finite_number", "int_type", "int_from_float"), "a finite number"),
    **dict.fromkeys(("list_type", "tuple_type", "named_tuple_type", "set_type"), "a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "dataclass_type"), "an object"),
    "string_type": "text",
    "bool_type": "true or false",
    "none_required": "null",
}


def _seconds(value: object) -> float:
    """Return a moment in seconds, or raise an error that pydantic reports with the field's place."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LATEST_S:
        raise PydanticCustomError("expected", "seconds")
    return float(value)


def where(holds: Callable[[Any], bool], words: str) -> AfterValidator:
    """Return a validator of values for which ``holds`` is true; any other is reported with ``expected <words>``."""

    def check(value: T) -> T:
        if not holds(value):
            raise ValueError(words)
        return value

    return AfterValidator(check)


def one_of(choices: Collection[str]) -> AfterValidator:
    """Return a validator of texts among some choices."""
    return where(lambda value: value in choices, f"one of {', '.join(choices)}")


Text = Annotated[str, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=0, le=2**53)]
Seconds = Annotated[float, BeforeValidator(_seconds)]


def misfits(shape: Any, value: object) -> list[str]:
    """Return the problems of a value against a shape, one line each: ``time is null, expected seconds``."""
    try:
        _adapter(shape).validate_python(value)
    except ValidationError as problem:
        return _lines(problem)
    return []


def _lines(problem: ValidationError) -> list[str]:
    """Return a line for each problem."""
    return list(dict.fromkeys(_line(error) for error in problem.errors(include_url=False)))


def checked(shape: Any, value: T, where: str, error: type[FerIdError], hint: str = "") -> T:
    """Return a JSON value unchanged after validating its shape; raise as :func:`record`."""
    Problems(where, misfits(shape, value)).raise_if_any(error, hint)
    return value


def record(shape: type[T], value: object, where: str, error: type[FerIdError], hint: str = "") -> T:
    """Return parsed JSON as a typed record, of a model, a named tuple, or any annotation that pydantic validates. Raise
    ``error``, with the remedy ``hint``, where a part has another shape; each is listed by its place in ``where``."""
    try:
        result: T = _adapter(cast("Any", shape)).validate_python(value)
    except ValidationError as found:
        Problems(where, _lines(found)).raise_if_any(error, hint)
        raise
    return result


def place(path: Sequence[int | str]) -> str:
    """Return a place in a value as text, items counted from 1: ``subjects.train, item 3``."""
    parts = ""
    for part in path:
        if isinstance(part, int):
            parts += f", item {part + 1}"
        else:
            parts += f".{shown(part)}" if parts else shown(part)
    return parts.removeprefix(", ")


def shown(value: object) -> str:
    """Return any value as a short quotation on one line."""
    if isinstance(value, dict | list | tuple):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, float) and not math.isfinite(value):
        return "not finite"
    if isinstance(value, int) and abs(value) >= 10**_QUOTED:
        return f"a number of more than {_QUOTED} digits"
    text = value if isinstance(value, str) and value.isprintable() else json.dumps(value, default=repr)
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."


@cache
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def _line(error: ErrorDetails) -> str:
    """Return the line of one problem: place, actual value, expected value."""
    where = place(
        [part for part in error["loc"] if not str(part).startswith(("function-", "lax-or-strict", "nullable"))]
    )
    if error["type"] == "missing":
        return f"{where} is missing"
    expected = _EXPECTED.get(error["type"]) or error["msg"].removeprefix("Input should be ").removeprefix(
        "Value error, "
    )
    value = error["input"]
    return f"{where or 'it'} is {quoted(value) if isinstance(value, str) else shown(value)}, expected {expected}"
