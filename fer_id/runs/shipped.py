"""Runs that travel with fer_id: ``shipped:NAME`` is a finished run with the weights of a benchmark, to start from.

The prefix alone decides, before any folder is looked for: a folder of that name hides none. A run that started from a
shipped one records it as ``shipped:NAME@FINGERPRINT``, the first digits of the SHA-256 of its weights, the same on
every machine. Where another version of fer_id ships other weights under the name, the fingerprint tells the two apart.
"""

from __future__ import annotations

from pathlib import Path

from fer_id.errors import RunError, cut

PREFIX = "shipped:"
FOLDER = Path(__file__).resolve().parents[1] / "shipped"
"""Folder of the shipped runs, inside the package."""

_DIGITS = 12  # of a fingerprint


def shipped_names() -> list[str]:
    """Return the names of the runs that this installation ships, such as ``shipped:fer2013``."""
    return [f"{PREFIX}{path.parent.name}" for path in sorted(FOLDER.glob("*/DONE"))]


def is_shipped(path: str | Path) -> bool:
    """Return whether a run is named ``shipped:...``, not by its folder."""
    return str(path).startswith(PREFIX)


def located(path: str | Path, *, changing: bool = False) -> Path:
    """Return the folder of a run: that of a shipped one by its name, with or without a fingerprint, else the path
    itself. Raises RunError: no run of that name is shipped, the one that is has other weights, or it is shipped and
    the caller computes from its predictions or writes into its folder (``changing``)."""
    if not is_shipped(path):
        return Path(path)
    name, _, digits = str(path).rstrip("/").partition("@")
    if name not in shipped_names():
        known = ", ".join(shipped_names()) or "none, in this installation"
        raise RunError(f"{cut(path)}: no run of that name travels with fer_id. Known: {known}")
    folder = FOLDER / name.removeprefix(PREFIX)
    if digits and digits != _fingerprint(folder):
        raise RunError(
            f"{cut(path)}: this version of fer_id ships other weights under that name ({_fingerprint(folder)}); "
            "install the version that the run was started with"
        )
    if changing:
        raise RunError(
            f"{name} travels with fer_id without predictions, and stays as it is: it starts a training (init.run=, "
            "init.encoder_from=) and reads a video (fer-id predict VIDEO run=), and fer-id card has its numbers. On "
            f"your own store it is judged by fer-id adapt init.run={name} adapt.strategy=source_only"
        )
    return folder


def recorded_name(path: Path) -> str:
    """Return the name under which another run records the run in a folder: ``shipped:NAME@FINGERPRINT``, or the path as
    it was typed."""
    return f"{PREFIX}{path.name}@{_fingerprint(path)}" if path.parent == FOLDER else str(path)


def _fingerprint(folder: Path) -> str:
    return (folder / "DONE").read_text("utf-8")[:_DIGITS]
