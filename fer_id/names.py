"""Names of runs and studies, which become folders, rows of tables and lines on a screen."""

from __future__ import annotations

import unicodedata

RESERVED = ("checkpoints", "crossfit", "figures", "folds")
"""Folders inside a run: a run of that name would look like a part of another one."""
LONGEST = 100
"""Characters of one part of a name; most file systems bear 255 bytes."""


def name_problem(name: str) -> str | None:
    """Return why ``name`` cannot name a run below the folder of all runs, or None where it can.

    A name has parts with ``/`` between, such as ``study/run``; each is printable text that begins with a letter, a
    digit or ``_``, so that it is no hidden file, no way out of the folder, no option and no formula of a spreadsheet.

    >>> name_problem("site_a/gradual, 2nd try") is None
    True
    >>> name_problem("../x")
    "'..': expected a name that begins with a letter, a digit or _"
    """
    if not name:
        return "is empty; leave name= out, or give a name such as study/run"
    for part in name.split("/"):
        shown = repr(part[:LONGEST])
        if len(part) > LONGEST or len(part.encode("utf-8", "surrogateescape")) > 2 * LONGEST:
            return f"has a part of {len(part)} characters, at most {LONGEST} are allowed"
        if not (part[:1].isalnum() or part[:1] == "_"):
            return f"{shown}: expected a name that begins with a letter, a digit or _"
        if part != part.strip() or any(unicodedata.category(letter)[0] in "CZ" and letter != " " for letter in part):
            return f"{shown}: expected printable text, without line ends, control characters or blanks at its ends"
        if "\\" in part:
            return f"{shown}: has a backslash; parts of a name are divided by /"
        if part.casefold() in RESERVED:
            return f"{shown}: is the name of a folder inside a run; choose another"
    return None
