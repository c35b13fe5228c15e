"""Frames with several faces in a cohort's videos: counts, sheets to look at, and requests for ``faces.csv`` rows."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from pathlib import Path

from data_modules.face_jobs import Clip, FollowedClip, Job, sheet_of
from fer_id.errors import SHOWN

STEADY = 0.2
"""Share of several faces among the frames with a face from which on a row in ``faces.csv`` is requested.

It is low since a person who is always in the picture is not always detected: small faces are missed in most frames."""


NEEDS_A_ROW = "NEEDS A ROW in faces.csv (video, time_s, x, y): until then the larger, more central face is followed"
CENTRAL_FACE = "the larger, more central face was followed"
MARKED_FACE = "the face that faces.csv says was followed"


class SeveralFaces:
    """Counts of frames with more than one face, by child and video."""

    def __init__(self) -> None:
        self._counts = defaultdict[tuple[str, Job], Counter[str]](Counter)

    def add(self, job: Job, stretch: Clip, clip: FollowedClip) -> None:
        """Add the counts of a clip."""
        faces, counts = clip.frames.faces, self._counts[stretch.subject_id, job]
        counts.update(faces=sum(n > 0 for n in faces), several=sum(n > 1 for n in faces), marked=stretch.is_marked)

    @property
    def frames(self) -> int:
        """Number of frames with several faces."""
        return sum(counts["several"] for _, counts in self._of_several())

    def audit(self) -> dict[str, object]:
        """Return the audit for the card: frames in all, and frames by child and video (pseudonyms)."""
        by_subject = defaultdict[str, dict[str, int]](dict)
        for (subject, job), counts in self._of_several():
            by_subject[subject][job.video_id] = counts["several"]
        return {"frames": self.frames, "by_subject": dict(by_subject)}

    def copy_sheets(self, parts: Path, store: Path) -> None:
        """Copy the sheets to the contact sheets of a store."""
        for (subject, job), _ in self._of_several():
            if (sheet := sheet_of(job, subject, parts)).exists():
                shutil.copy(sheet, _in_store(store, subject, job))

    def sentences(self, store: Path) -> list[str]:
        """Return a line per child and video with several faces, :data:`SHOWN` at most, those that need a row in
        ``faces.csv`` first, and a count of the others; the lines name sheets in the folder ``store``."""
        lines: dict[str, list[str]] = {NEEDS_A_ROW: [], CENTRAL_FACE: [], MARKED_FACE: []}
        for (subject, job), counts in self._of_several():
            steady = counts["several"] >= STEADY * counts["faces"]
            followed = MARKED_FACE if counts["marked"] else NEEDS_A_ROW if steady else CENTRAL_FACE
            share = f"{counts['several']} of {counts['faces']} frames with a face"
            sheet = _in_store(store, subject, job)
            lines[followed].append(f"{job.path}: more than one face in {share}; {followed}; see {sheet}")
        ordered = [line for same in lines.values() for line in same]
        more = [f"... and {len(ordered) - SHOWN} more videos with several faces, see the sheets"]
        return ordered[:SHOWN] + (more if len(ordered) > SHOWN else [])

    def _of_several(self) -> list[tuple[tuple[str, Job], Counter[str]]]:
        return [(key, counts) for key, counts in self._counts.items() if counts["several"]]


def _in_store(store: Path, subject: str, job: Job) -> Path:
    return store / "sheets" / f"{subject}-{job.video_id}-faces.png"
