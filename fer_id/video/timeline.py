"""Predictions over the time of a video: windows with probabilities, joined to segments that a person reads.

A window is the model's input. Where windows overlap, each *stands for* the time up to the middle between its centre and
its neighbours', so that every moment has one answer. A window for review has probabilities and no answer, here and
therefore in every output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from fer_id.evaluation.config import LEAST_FACE
from fer_id.labels import LabelSpace
from fer_id.preprocessing.tracking import FOUND
from fer_id.types import AFFECT

ANSWERED, FOR_REVIEW, TOO_LITTLE, NO_FACE = "answered", "for review", "too little of the face", "no face"
STATUSES = (ANSWERED, FOR_REVIEW, TOO_LITTLE, NO_FACE)
ASSISTS = "It assists a person who knows the child. It does not diagnose, and an expression is not a feeling."

LEAST_S = 1.0
"""Seconds within which windows for review are joined to one segment: a model of single frames has five a second."""


class Segment(NamedTuple):
    """A stretch of the video (seconds) with one of :data:`STATUSES` and, where answered, a class. ``words`` are the
    mean probabilities of a segment for review, and the reason of a gap; else empty."""

    start_s: float
    end_s: float
    status: str
    answer: str | None
    words: str


@dataclass(frozen=True)
class Video:
    """A video file: identity, seconds to the end of its last picture, frames a second in its header, and whether it is
    HDR."""

    path: Path
    size: int
    sha256: str
    length_s: float
    fps: float
    hdr: bool = False

    @property
    def name(self) -> str:
        """The file's name, printable."""
        return printable(self.path.name)


@dataclass(frozen=True)
class About:
    """Facts and caveats of a model that accompany its answers."""

    model: str
    provenance: str  # of its evaluation data
    temperature: float | None  # divides the logits; None: the probabilities are raw
    threshold: float | None  # top probability below which a window is for review; None: every window is
    settings: Mapping[str, str | float]  # sampling and crop settings by name
    # caveats of the answers, the most important first, and of the video and the choice of the face
    notes: tuple[str, ...] = ()
    of_video: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """One line of use and provenance for every output file."""
        judged = f"judged on {self.provenance} data{'' if self.provenance == 'real' else ' only: no evidence'}"
        return f"{ASSISTS} Model: {self.model}, {judged}."


@dataclass(frozen=True)
class Timeline:
    """A video's predictions and all else that its outputs contain."""

    video: Video
    about: About
    labels: LabelSpace
    frames: pd.DataFrame  # ``time_s, outcome`` of every sampled frame
    windows: pd.DataFrame  # see judge_windows
    # thumbnail (JPEG) of the tracked face per window; None without a face; empty: no thumbnails
    faces: tuple[bytes | None, ...] = ()
    subject: str = ""  # pseudonym of the person whose face was tracked; empty: unknown

    @property
    def kind(self) -> str:
        """Prefix of the deciding probabilities: ``q``, or ``p`` without a calibration."""
        return "p" if self.about.temperature is None else "q"

    @property
    def seconds(self) -> dict[str, float]:
        """Total seconds of each of :data:`STATUSES`."""
        spans = (self.windows["to_s"] - self.windows["from_s"]).groupby(self.windows["status"]).sum()
        return {status: float(spans.get(status, 0.0)) for status in STATUSES}

    def segments(self) -> list[Segment]:
        """Return neighbouring windows of equal status and answer, joined; windows for review only within LEAST_S."""
        segments = []
        for (status, answer, _), group in groupby(self.windows.to_dict("records"), key=_stretch):
            rows = list(group)
            words = self.probabilities(rows) if status == FOR_REVIEW else ""
            segments.append(Segment(rows[0]["from_s"], rows[-1]["to_s"], status, answer, words))
        return segments

    def gaps(self) -> list[Segment]:
        """Return runs of frames without a usable face, with the reason as their words."""
        step = 1 / float(self.about.settings["fps"])
        gaps = []
        rows = zip(self.frames["time_s"], self.frames["outcome"], strict=True)
        for outcome, group in groupby(rows, key=lambda row: row[1]):
            times = [time for time, _ in group]
            if outcome != FOUND:
                end = min(times[-1] + step, self.video.length_s)
                gaps.append(Segment(times[0], end, NO_FACE, None, outcome))
        return gaps

    def probabilities(self, rows: Sequence[dict[Any, Any]]) -> str:
        """Return ``happy 41 %, sad 33 %, ...``, means over windows in the order of the classes, which is no ranking."""
        shares = [(name, np.mean([row[f"{self.kind}_{name}"] for row in rows])) for name in self.labels.names]
        return ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares)


def printable(text: str) -> str:
    """Return text with ``?`` for each unprintable character, which XML and tables cannot hold."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _stretch(row: dict[Any, Any]) -> tuple[str, str | None, int]:
    """Return the key (status, answer, second) that windows of one segment share."""
    second = int(round(row["from_s"], 6) / LEAST_S) if row["status"] == FOR_REVIEW else -1
    return row["status"], row["answer"], second


def spans(windows: Sequence[tuple[int, int]], fps: float, length_s: float) -> pd.DataFrame:
    """Return ``start_s, end_s, from_s, to_s`` of windows (start, end) in frames, ascending: when each begins and ends,
    and which time it stands for, without gap and overlap.

    There are ``fps`` frames a second; no window ends after the video's ``length_s``.
    """
    ends = np.minimum(np.array(windows, dtype=np.float64).reshape(-1, 2) / fps, length_s)
    centres = ends.mean(axis=1)
    middles = (centres[1:] + centres[:-1]) / 2
    return pd.DataFrame(
        {
            "start_s": ends[:, 0],
            "end_s": ends[:, 1],
            "from_s": np.concatenate([ends[:1, 0], middles]),
            "to_s": np.concatenate([middles, ends[-1:, 1]]),
        }
    )


def with_face(times: pd.DataFrame, frames: pd.DataFrame) -> NDArray[np.bool_]:
    """Return a mask (N,) of windows with a face in the time they stand for: a face elsewhere in them does not count."""
    face_times = frames["time_s"][frames["outcome"] == FOUND].to_numpy()
    tick = 1e-6  # a frame at the border belongs to the later window
    first, last = (np.searchsorted(face_times, times[name].to_numpy() - tick) for name in ("from_s", "to_s"))
    return np.asarray(last > first)


def with_affect(windows: pd.DataFrame, affect: NDArray[np.floating[Any]]) -> pd.DataFrame:
    """Add ``valence`` and ``arousal`` (N, 2) to the windows that have probabilities; NaN in the others."""
    judged = windows["status"].isin((ANSWERED, FOR_REVIEW)).to_numpy()
    rated = np.where(judged[:, None], affect, np.nan)
    return windows.assign(**{name: rated[:, k] for k, name in enumerate(AFFECT)})


def judge_windows(
    times: pd.DataFrame,
    valid: Sequence[tuple[int, int]],
    with_face: NDArray[np.bool_],
    logits: NDArray[np.floating[Any]],
    labels: LabelSpace,
    temperature: float | None,
    threshold: float | None,
    least_face: float = LEAST_FACE,
) -> pd.DataFrame:
    """Return the probabilities of every window with its status and answer.

    ``times`` is from :func:`spans`, the mask ``with_face`` (N,) from :func:`with_face`; ``valid`` has the frames with a
    face, and all frames, of each window, of which the share ``least_face`` must show the face for the model's output,
    ``logits`` (N, K), to count. ``temperature`` divides the logits for ``q_<class>``; None: those are NaN, and
    ``p_<class>`` decide. ``threshold`` is the top probability from which a window is answered; None: no window is.

    Columns: ``window, start_s, end_s, from_s, to_s, n_frames, n_valid, status, answer, p_<class>, q_<class>``;
    ``answer`` is None unless answered; the probabilities of a window without a face, or with too little of it, are NaN.
    """
    enough = np.array([n_valid >= least_face * total - 1e-9 for n_valid, total in valid], np.bool_)
    judged = with_face & enough
    raw = np.where(judged[:, None], special.softmax(np.asarray(logits, np.float64), axis=1), np.nan)
    scaled = np.asarray(logits, np.float64) / (temperature or 1.0)
    q = np.where(judged[:, None] & (temperature is not None), special.softmax(scaled, axis=1), np.nan)
    deciding = raw if temperature is None else q
    top = np.where(judged, deciding.max(axis=1, initial=0.0), 0.0)  # NaN where there is no face
    sure = judged & (threshold is not None) & (top >= (threshold or 0.0))
    best = np.nan_to_num(deciding).argmax(axis=1)
    answers = [labels.names[index] if is_sure else None for index, is_sure in zip(best, sure, strict=True)]
    status = np.select([sure, judged, with_face], [ANSWERED, FOR_REVIEW, TOO_LITTLE], NO_FACE)
    table = times.assign(
        n_frames=[total for _, total in valid],
        n_valid=[n_valid for n_valid, _ in valid],
        status=status.astype(object),
        answer=pd.Series(answers, index=times.index, dtype=object),
    )
    table.insert(0, "window", np.arange(len(table)))
    for prefix, values in (("p", raw), ("q", q)):
        table = table.assign(**{f"{prefix}_{name}": values[:, k] for k, name in enumerate(labels.names)})
    return table
