"""Record of pictures of real faces that a run sent to W&B, ``uploads.jsonl``; a withdrawal of consent lists them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from fer_id.errors import RunError
from fer_id.files import atomic_write_text, read_json_lines
from fer_id.runs.run_dir import RunDir
from fer_id.shapes import record

NAME = "uploads.jsonl"


def note_uploads(run: RunDir, wandb_run: str, pictures: Sequence[Mapping[str, str]]) -> None:
    """Append pictures that a W&B run of this id was sent: ``key``, ``clip_id`` and ``subject_id`` of each."""
    if pictures:
        write_uploads(run, [*read_uploads(run), *({"wandb_run": wandb_run, **picture} for picture in pictures)])


def read_uploads(run: RunDir) -> list[dict[str, str]]:
    """Return ``wandb_run``, ``key``, ``clip_id`` and ``subject_id`` of each picture that was sent."""
    return record(list[dict[str, str]], read_json_lines(run.path / NAME, RunError), str(run.path / NAME), RunError)


def write_uploads(run: RunDir, lines: Sequence[Mapping[str, str]]) -> None:
    """Replace the record; without a line it is empty."""
    atomic_write_text(run.path / NAME, "".join(f"{json.dumps(line)}\n" for line in lines))
