"""Hints on keys that no setting has: a similar key, the keys of the section, or the verb that takes it."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from fer_id.errors import SHOWN
from fer_id.runs.configs import RETIRED_KEYS

RETIRED = frozenset(f"data.{key}" for key in RETIRED_KEYS)
"""Keys that only earlier versions of a training had."""

_LONGEST_KEY = 200


def unknown_key(key: str, known: Collection[str], listed: list[str]) -> str:
    """Return a hint on an unknown key: a similar key, and the keys of its section unless that is among ``listed``, the
    sections of the unknown keys so far, to which it is added."""
    if key in RETIRED and "data.store" in known:
        return "unknown key; fer-id prepare takes it"
    section, _, name = key.rpartition(".")
    listed.append(section)
    if len(listed) > SHOWN or len(key) > _LONGEST_KEY:
        return "unknown key"
    if within := [other for other in known if other.startswith(f"{key}.")]:
        return f"is a section; set one of its keys: {', '.join(within)}"
    near = get_close_matches(key, known, n=1, cutoff=0.75) or [key for key in known if key.rpartition(".")[2] == name]
    while section and not (siblings := [other for other in known if other.startswith(f"{section}.")]):
        section = section.rpartition(".")[0]
    if not section:
        siblings = list(dict.fromkeys(key if "." not in key else f"{key.split('.')[0]}.*" for key in known))
    keys = "" if key.rpartition(".")[0] in listed[:-1] else f" Known here: {', '.join(siblings)}"
    return f"unknown key{f', did you mean {near[0]}?' if near else '.'}{keys}"
