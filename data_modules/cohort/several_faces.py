"""Where a child is not alone in the picture: counts, sheets to look at, and whose face has to be said."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from data_modules.cohort.videos import FollowedClip, Stretch, VideoJob, sheet_of
from fer_id.errors import SHOWN

STEADY = 0.2
"""Share of the frames with a face that have more than one, from which on somebody has to say whose the child's is.

A face that is there all the time is not found all the time: the detector misses small ones in most frames."""


class SeveralFaces:
    """Frames with more than one face, of each child in each video."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, VideoJob], Counter[str]] = {}

    def add(self, job: VideoJob, stretch: Stretch, clip: FollowedClip) -> None:
        """Counts the frames of a clip."""
        counts = self._counts.setdefault((stretch.subject_id, job), Counter())
        counts.update(faces=clip.with_faces, several=clip.several_faces, marked=bool(stretch.marks))

    def audit(self) -> dict[str, Any]:
        """For the card: how many frames, and how many of each child (pseudonym) in each video (pseudonym)."""
        by_subject: dict[str, dict[str, int]] = {}
        for (subject, job), counts in self._of_several():
            by_subject.setdefault(subject, {})[job.video_id] = counts["several"]
        return {"frames": sum(counts["several"] for _, counts in self._of_several()), "by_subject": by_subject}

    def copy_sheets(self, parts: Path, store: Path) -> None:
        """Puts the sheets beside the contact sheets of a store."""
        for (subject, job), _ in self._of_several():
            if (sheet := sheet_of(job, subject, parts)).exists():
                shutil.copy(sheet, _in_store(store, subject, job))

    def sentences(self, store: Path) -> list[str]:
        """A line for each child and video, those first that need a row in ``faces.csv``."""
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
