"""Tamper-evident audit log of the subjects (pseudonyms) that enter and leave stores and runs.

Each line carries a keyed hash (HMAC) over itself and the line before; the head, a file beside the key and sealed with
it, holds the last hash and the number of lines. An edited, inserted or removed line breaks the chain; a log truncated
at its end no longer matches the head. Restoring an older copy of both files is not detected: keep a copy of the head
elsewhere.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict, cast

from fer_id.consent.keys import Key
from fer_id.errors import FerIdError
from fer_id.files import atomic_write_text
from fer_id.inputs import MB, parse_json, read_bytes, read_text

MOST_LOG = 1024 * MB
_START = "0" * 64


class Line(TypedDict, total=False):
    """Line of the log, as far as it is read again; ``admitted`` holds the pseudonyms of a preparation."""

    n: int
    time: str
    event: str
    subject: str
    admitted: Mapping[str, list[str]]
    mac: str


class AuditError(FerIdError):
    """The audit log was changed outside this program."""


class AuditLog:
    """Append-only log of a site: ``audit.jsonl`` in the folder of the key, with its head ``audit.head.json``."""

    def __init__(self, home: Path, key: Key) -> None:
        self.path, self._head, self._key = home / "audit.jsonl", home / "audit.head.json", key

    def append(self, event: str, **facts: Any) -> None:
        """Append an event such as ``prepared`` or ``withdrawn``, with plain values; people, clips and videos by
        pseudonym only. Raises AuditError where the log was changed; nothing is appended to a broken chain."""
        with self._locked():
            lines = self.verify()
            before = lines[-1]["mac"] if lines else _START
            time = datetime.now(UTC).isoformat(timespec="seconds")
            line = {"n": len(lines), "time": time, "event": event, **facts}
            mac = self._mac(line, before)
            self._cut_torn_line()
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(json.dumps({**line, "mac": mac}, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
            self._write_head(len(lines) + 1, mac)

    def verify(self) -> list[Line]:
        """Return all lines after checking the chain and the head. Raises AuditError that names the first changed line,
        or the head's disagreement with the log."""
        lines, before = list[Line](), _START
        for number, line in enumerate(self._read()):
            if not isinstance(line, dict) or line.get("n") != number or line.get("mac") != self._mac(line, before):
                raise AuditError(f"{self.path}: line {number + 1} was changed, inserted, or follows a removed one")
            lines.append(cast("Line", line))
            before = line["mac"]
        try:
            head = parse_json(read_text(self._head, AuditError, most=MB), self._head, AuditError)
        except AuditError:
            raise AuditError(f"{self._head}: missing or unreadable; the log cannot be checked without it") from None
        # An interruption between line and head leaves one more line, whose HMAC only the key's owner can compute.
        if lines and head == self._sealed(len(lines) - 1, lines[-2]["mac"] if len(lines) > 1 else _START):
            self._write_head(len(lines), before)
        elif head != self._sealed(len(lines), before):
            length = head.get("length") if isinstance(head, dict) else "nothing"
            raise AuditError(
                f"{self.path}: {len(lines)} lines, but its head speaks of {length}: lines were removed at the "
                "end, or the head was changed"
            )
        return lines

    def lines(self) -> list[Line]:
        """Return the readable lines unchecked, so that an erasure finds a subject even in a damaged log."""
        return [cast("Line", line) for line in self._read() if isinstance(line, dict)]

    def begin(self) -> None:
        """Start the log of a new key with an empty head; a log or head that is missing later is an error."""
        with self._locked():
            if not self._head.exists() and not self.path.exists():
                self._write_head(0, _START)

    def _write_head(self, length: int, mac: str) -> None:
        self._head.touch(mode=0o600)
        atomic_write_text(self._head, json.dumps(self._sealed(length, mac)) + "\n")

    def _sealed(self, length: int, mac: str) -> dict[str, object]:
        return {"length": length, "mac": mac, "seal": self._key.mac(f"head {length} {mac}".encode())}

    def _cut_torn_line(self) -> None:
        """Remove the incomplete line that a full disk or a power cut left at the end."""
        content = read_bytes(self.path, AuditError, most=MOST_LOG) if self.path.exists() else b""
        if content and not content.endswith(b"\n"):
            os.truncate(self.path, content.rfind(b"\n") + 1)

    def _read(self) -> Iterator[Any]:
        """Yield the lines, None for one that is no JSON, without the incomplete line after the last line end."""
        content = read_bytes(self.path, AuditError, most=MOST_LOG) if os.path.lexists(self.path) else b""
        for line in content.decode("utf-8", "replace").split("\n")[:-1]:
            try:
                yield parse_json(line, self.path, AuditError)
            except AuditError:
                yield None

    def _mac(self, line: Mapping[str, object], before: str) -> str:
        content = {key: value for key, value in line.items() if key != "mac"}
        return self._key.mac((before + json.dumps(content, sort_keys=True)).encode())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the log's lock: one writer at a time."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self.path.with_suffix(".lock"), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
