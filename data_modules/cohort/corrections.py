"""Corrected predictions come home: what a person said of stretches of a video becomes rows of ``annotations.csv``.

A clip gets the label that covers more than half of it. Nothing is overwritten: rows are added, an opinion that stands
there already is passed over, and one that contradicts it is refused.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from data_modules.cohort.admission import Cohort
from data_modules.cohort.face_rows import same_file
from data_modules.tables import append_rows
from fer_id.cohort_tables import ANNOTATION_COLUMNS
from fer_id.consent.audit_log import AuditLog
from fer_id.errors import DataError, FerIdError, Problems
from fer_id.labels import TARGET
from fer_id.preprocessing.video import MISSING_S, pictures_end
from fer_id.reporting.words import counted
from fer_id.shapes import shown
from fer_id.video.corrections import Corrected, Opinion
from fer_id.video.reader import read_corrected

MAJORITY = 0.5
"""Share of a clip that one label has to cover more of."""

Votes = dict[str, str]  # clip_id -> label


def add_corrections(cohort: Cohort, paths: Sequence[Path], annotator: str, log: AuditLog) -> list[str]:
    """Adds what the files say to the cohort's ``annotations.csv``: all of it, or nothing.

    Args:
        cohort: admitted; clips of nobody else are spoken of, and no other video is looked at.
        paths: corrected files.
        annotator: who corrected them.
        log: of the site.

    Returns:
        a sentence on each file: how many opinions it gave, and what had no place.

    Raises:
        DataError: a file that cannot be read, of another video, without any label, with an unknown label, or at odds
            with what this annotator said before; all problems together.
    """
    problems, votes, said = Problems("corrections"), dict[str, Votes](), list[str]()
    name = unicodedata.normalize("NFC", annotator.strip())
    known = _known(cohort, name)
    for path in paths:
        try:
            corrected = read_corrected(path)
            video, clips = _clips_of(cohort, corrected)
            end_s = pictures_end(cohort.manifests.folder / video)
        except FerIdError as problem:
            problems.add(str(problem))
            continue
        for misfit in _misfits(corrected, end_s):
            problems.add(f"{path}: {misfit}")
        found, lost = votes_of(corrected.opinions, clips)
        votes[str(path)] = found
        before = sum(known.get(clip) == label for clip, label in found.items())
        said.append(_sentence(corrected, len(found), before, lost))
    for line in _contradictions(votes, known, name):
        problems.add(line)
    problems.raise_if_any(DataError, "annotations.csv is as it was.")
    new = {clip: label for found in votes.values() for clip, label in found.items() if clip not in known}
    if new:
        rows = [{"clip_id": clip, "annotator": name, "label": label} for clip, label in new.items()]
        append_rows(cohort.manifests.folder / "annotations.csv", ANNOTATION_COLUMNS, rows)
        log.append("annotated", clips=[cohort.key.pseudonym("clip", clip) for clip in new])
    return said


def votes_of(opinions: Iterable[Opinion], clips: pd.DataFrame) -> tuple[Votes, Counter[str]]:
    """Labels of clips, from labelled stretches of their video.

    Args:
        opinions: stretches.
        clips: ``clip_id, start_s, end_s`` of the clips of that video.

    Returns:
        clip -> the label that covers more than half of it, and how many stretches and clips got nothing from it, by
        reason.
    """
    votes: Votes = {}
    lost = Counter[str]()
    opinions = list(opinions)
    for clip, start, end in clips[["clip_id", "start_s", "end_s"]].itertuples(index=False):
        shares = Counter({label: _covered(opinions, label, start, end) for label in {one.label for one in opinions}})
        (first, most), (_, second) = [*shares.most_common(2), ("", 0.0), ("", 0.0)][:2]
        if most > MAJORITY >= second:
            votes[clip] = first
        elif most > 0:
            lost["clips without one label on more than half of them"] += 1
    lost["stretches outside of all clips"] += sum(
        not ((clips["start_s"] < one.end_s) & (clips["end_s"] > one.start_s)).any() for one in opinions
    )
    return votes, +lost


def _covered(opinions: Sequence[Opinion], label: str, start: float, end: float) -> float:
    """Share of the time from ``start`` to ``end`` that has a label, twice labelled time counted once."""
    total, until = 0.0, start
    for one in sorted(one for one in opinions if one.label == label):
        first, last = max(one.start_s, until), min(one.end_s, end)
        total, until = total + max(0.0, last - first), max(until, last)
    return total / (end - start)


def _known(cohort: Cohort, annotator: str) -> Votes:
    """What this annotator said before."""
    votes = cohort.manifests.annotations
    if votes is None:
        return {}
    own = votes[votes["annotator"] == annotator]
    return dict(zip(own["clip_id"], own["label"], strict=True))


def _clips_of(cohort: Cohort, corrected: Corrected) -> tuple[str, pd.DataFrame]:
    """The video that was reviewed, known again by its content (by its name first, which is mostly kept), and its clips.

    Where the video shows several children, its clips are those of the one whose face was followed.

    Raises:
        DataError: no video of anybody who takes part has that content, or nobody can tell which child was followed.
    """
    folder = cohort.manifests.folder
    videos = sorted(cohort.clips["video"].unique(), key=lambda video: (Path(video).name != corrected.video, video))
    for video in videos:
        with (folder / video).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == corrected.sha256:
                return video, _of_followed(cohort, corrected, video)
    same = [video for video in videos if Path(video).name == corrected.video]
    hint = f"; {same[0]} has that name and another content" if same else "; a new one has to stand in clips.csv first"
    raise DataError(
        f"{corrected.path}: belongs to another video ({corrected.video}, sha256 {corrected.sha256[:16]}...): none of "
        f"those who take part in {folder} has it{hint}"
    )


def _of_followed(cohort: Cohort, corrected: Corrected, video: str) -> pd.DataFrame:
    """The clips of a video; where it shows several children, those of the one whose face was followed.

    Raises:
        DataError: nobody can tell whose face that was.
    """
    folder, every = cohort.manifests.folder, cohort.manifests.clips
    here = every["video"].map(lambda other: same_file(folder, other)) == same_file(folder, video)
    clips: pd.DataFrame = cohort.clips[cohort.clips["clip_id"].isin(every.loc[here, "clip_id"])]
    if every.loc[here, "subject_id"].nunique() == 1:
        return clips
    own = clips[[cohort.subject(name) == corrected.subject for name in clips["subject_id"]]]
    if own.empty:
        raise DataError(
            f"{corrected.path}: clips.csv has several children in {video}, and the file does not say which of those "
            f"who take part was followed; predict it again: fer-id predict {folder / video} cohort={folder} "
            "subject=NAME"
        )
    return own


def _misfits(corrected: Corrected, end_s: float) -> list[str]:
    """What is wrong with the labels of a file about a video whose pictures end after ``end_s`` seconds."""
    if not corrected.opinions:
        return ["nobody has labelled anything in it yet"]
    last = max(corrected.opinions, key=lambda opinion: opinion.end_s)
    if last.end_s > end_s + MISSING_S:
        return [
            f"{shown(last.label)!r} ends at {last.end_s:.2f} s, the video at {end_s:.2f} s: what was watched was "
            "another video, or another offset; link the reviewed one"
        ]
    expected = f"expected one of {', '.join(TARGET.names)}"
    return [
        f"{one.start_s:.2f} to {one.end_s:.2f} s: {shown(one.label)!r}, {expected}"
        for one in corrected.opinions
        if one.label not in TARGET.names
    ]


def _contradictions(votes: dict[str, Votes], known: Votes, annotator: str) -> Iterable[str]:
    """Clips of which this annotator says, or said before, something else."""
    said = {clip: (label, "annotations.csv") for clip, label in known.items()}
    for path, found in votes.items():
        for clip, label in found.items():
            other, where = said.setdefault(clip, (label, path))
            if other != label:
                yield f"{path}: {annotator} calls {clip} {label}, but {other} in {where}"


def _sentence(corrected: Corrected, found: int, before: int, lost: Counter[str]) -> str:
    again = f" ({before} of them stood there already)" if before else ""
    rest = "".join(f"; {count} {reason}" for reason, count in lost.items())
    return f"{corrected.path}: opinions about {counted(found, 'clip')}{again}{rest}"
