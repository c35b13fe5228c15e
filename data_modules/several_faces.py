"""Frames with several faces in a cohort's videos: counts, sheets to look at, and requests for ``faces.csv`` rows."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from data_modules.videos import FollowedClip, Stretch, VideoJob, sheet_of
from fer_id.errors import SHOWN

STEADY = 0.2
"""Share of several faces among the frames with a face from which on a row in ``faces.csv`` is requested.

It is low since a person who is always in the picture is not always detected: small faces are missed in most frames."""


class SeveralFaces:
    """Counts of frames with more than one face, by child and video."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, VideoJob], Counter[str]] = {}

    def add(self, job: VideoJob, stretch: Stretch, clip: FollowedClip) -> None:
        """Add the counts of a clip."""
        counts = self._counts.setdefault((stretch.subject_id, job), Counter())
        counts.update(faces=clip.with_faces, several=clip.several_faces, marked=bool(stretch.marks))

    def audit(self) -> dict[str, Any]:
        """Return the audit for the card: frames in all, and frames by child and video (pseudonyms)."""
        by_subject: dict[str, dict[str, int]] = {}
        for (subject, job), counts in self._of_several():
            by_subject.setdefault(subject, {})[job.video_id] = counts["several"]
        return {"frames": sum(counts["several"] for _, counts in self._of_several()), "by_subject": by_subject}

    def copy_sheets(self, parts: Path, store: Path) -> None:
        """Copy the sheets to the contact sheets of a store."""
        for (subject, job), _ in self._of_several():
            if (sheet := sheet_of(job, subject, parts)).exists():
                shutil.copy(sheet, _in_store(store, subject, job))

    def sentences(self, store: Path) -> list[str]:
        """Return a line per child and video, first where a row in ``faces.csv`` is needed."""
        lines = []
        for (subject, job), counts in self._of_several():
            steady = counts["several"] >= STEADY * counts["faces"]
            rank = 2 if counts["marked"] else 0 if steady else 1
            followed = (
                "NEEDS A ROW in faces.csv (video, time_s, x, y): until then the larger, more central face is followed",
                "the larger, more central face was followed",
                "the face that faces.csv says was followed",
            )[rank]
            share = f"{counts['several']} of {counts['faces']} frames with a face"
            lines.append(
                (rank, f"{job.path}: more than one face in {share}; {followed}; see {_in_store(store, subject, job)}")
            )
        ordered = [line for _, line in sorted(lines, key=lambda ranked: ranked[0])]
        more = [f"... and {len(ordered) - SHOWN} more videos with several faces, see the sheets"]
        return ordered[:SHOWN] + (more if len(ordered) > SHOWN else [])

    def _of_several(self) -> list[tuple[tuple[str, VideoJob], Counter[str]]]:
        return [(key, counts) for key, counts in self._counts.items() if counts["several"]]


def _in_store(store: Path, subject: str, job: VideoJob) -> Path:
    return store / "sheets" / f"{subject}-{job.video_id}-faces.png"
