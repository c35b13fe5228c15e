"""Import of predictions corrected in ELAN or BORIS: labelled stretches of a video become rows of ``annotations.csv``.

A clip gets the label that covers more than half of it. Existing rows stay: new rows are appended, equal labels are
skipped, and contradicting labels are refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from data_modules.cohort.admission import Cohort
from data_modules.cohort.manifest_cells import name_of
from data_modules.tables import append_rows
from fer_id.cohort_tables import ANNOTATION_COLUMNS
from fer_id.consent.audit_log import AuditLog
from fer_id.errors import DataError, FerIdError, Problems
from fer_id.files import sha256
from fer_id.labels import TARGET
from fer_id.preprocessing.video import MISSING_S, pictures_end
from fer_id.reporting.words import counted
from fer_id.shapes import shown
from fer_id.video.annotation_reader import read_corrected
from fer_id.video.corrections import Corrected, Opinion

MAJORITY = 0.5
"""A label has to cover more than this share of a clip."""

Votes = dict[str, str]  # clip_id -> label


def add_corrections(cohort: Cohort, paths: Sequence[Path], annotator: str, log: AuditLog) -> list[str]:
    """Append the labels of the files, corrected by ``annotator``, to the cohort's ``annotations.csv``: all, or none.

    Admitted clips are labelled, and only their videos are opened. Return a sentence per file: the number of clips it
    labels, and of stretches and clips without a label. DataError: a file that cannot be read, of another video, without
    any label, with an unknown label, or with labels that contradict earlier ones of this annotator; all together.
    """
    problems, votes, sentences = Problems("corrections"), dict[str, Votes](), list[str]()
    name = name_of(annotator)
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
        labels, lost = votes_of(corrected.opinions, clips)
        votes[str(path)] = labels
        before = sum(known.get(clip) == label for clip, label in labels.items())
        sentences.append(_sentence(corrected, len(labels), before, lost))
    for line in _contradictions(votes, known, name):
        problems.add(line)
    problems.raise_if_any(DataError, "annotations.csv is as it was.")
    new = {clip: label for labels in votes.values() for clip, label in labels.items() if clip not in known}
    if new:
        rows = [{"clip_id": clip, "annotator": name, "label": label} for clip, label in new.items()]
        append_rows(cohort.manifests.folder / "annotations.csv", ANNOTATION_COLUMNS, rows)
        log.append("annotated", clips=[cohort.key.pseudonym("clip", clip) for clip in new])
    return sentences


def votes_of(opinions: Iterable[Opinion], clips: pd.DataFrame) -> tuple[Votes, Counter[str]]:
    """Return the labels of the clips (``clip_id, start_s, end_s``) of a video, from labelled stretches of it.

    Clip id -> the label that covers more than half of the clip; and the number of clips without such a label and of
    stretches outside all clips, by reason.
    """
    votes: Votes = {}
    lost = Counter[str]()
    opinions = list(opinions)
    for clip, start, end in clips[["clip_id", "start_s", "end_s"]].itertuples(index=False):
        shares = {label: _covered(opinions, label, start, end) for label in {opinion.label for opinion in opinions}}
        major = [label for label, share in shares.items() if share > MAJORITY]
        if len(major) == 1:
            votes[clip] = major[0]
        elif any(shares.values()):
            lost["clips without one label on more than half of them"] += 1
    lost["stretches outside of all clips"] += sum(
        not ((clips["start_s"] < opinion.end_s) & (clips["end_s"] > opinion.start_s)).any() for opinion in opinions
    )
    return votes, +lost


def _covered(opinions: Sequence[Opinion], label: str, start: float, end: float) -> float:
    """Return the share of the time from ``start`` to ``end`` with a label; overlaps count once."""
    total, until = 0.0, start
    for opinion in sorted(opinion for opinion in opinions if opinion.label == label):
        first, last = max(opinion.start_s, until), min(opinion.end_s, end)
        total, until = total + max(0.0, last - first), max(until, last)
    return total / (end - start)


def _known(cohort: Cohort, annotator: str) -> Votes:
    """Return this annotator's labels in ``annotations.csv``, by clip id."""
    votes = cohort.manifests.annotations
    if votes is None:
        return {}
    own = votes[votes["annotator"] == annotator]
    return dict(zip(own["clip_id"], own["label"], strict=True))


def _clips_of(cohort: Cohort, corrected: Corrected) -> tuple[str, pd.DataFrame]:
    """Return the reviewed video, found by its sha256 (files of the same name first), and the followed child's clips.

    DataError: no video of an admitted subject has that content, or the followed child is unknown.
    """
    folder = cohort.manifests.folder
    videos = sorted(cohort.clips["video"].unique(), key=lambda video: (Path(video).name != corrected.video, video))
    for video in videos:
        if sha256(folder / video) == corrected.sha256:
            return video, _of_followed(cohort, corrected, video)
    same = [video for video in videos if Path(video).name == corrected.video]
    hint = f"; {same[0]} has that name and another content" if same else "; a new one has to stand in clips.csv first"
    raise DataError(
        f"{corrected.path}: belongs to another video ({corrected.video}, sha256 {corrected.sha256[:16]}...): none of "
        f"those who take part in {folder} has it{hint}"
    )


def _of_followed(cohort: Cohort, corrected: Corrected, video: str) -> pd.DataFrame:
    """Return the clips of a video; where it shows several children, those of the child whose face was followed."""
    folder, here = cohort.manifests.folder, cohort.manifests.clips_of(cohort.manifests.folder / video)
    clips: pd.DataFrame = cohort.clips[cohort.clips["clip_id"].isin(here["clip_id"])]
    if here["subject_id"].nunique() == 1:
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
    """Return the faults of a file's labels; ``end_s`` is the time of the video's last picture in seconds."""
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
        f"{opinion.start_s:.2f} to {opinion.end_s:.2f} s: {shown(opinion.label)!r}, {expected}"
        for opinion in corrected.opinions
        if opinion.label not in TARGET.names
    ]


def _contradictions(votes: dict[str, Votes], known: Votes, annotator: str) -> Iterable[str]:
    """Yield a problem for each clip with two different labels of this annotator."""
    sources = {clip: (label, "annotations.csv") for clip, label in known.items()}
    for path, labels in votes.items():
        for clip, label in labels.items():
            other, where = sources.setdefault(clip, (label, path))
            if other != label:
                yield f"{path}: {annotator} calls {clip} {label}, but {other} in {where}"


def _sentence(corrected: Corrected, labelled: int, before: int, lost: Counter[str]) -> str:
    again = f" ({before} of them stood there already)" if before else ""
    rest = "".join(f"; {count} {reason}" for reason, count in lost.items())
    return f"{corrected.path}: opinions about {counted(labelled, 'clip')}{again}{rest}"
