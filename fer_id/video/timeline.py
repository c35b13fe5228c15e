"""What a model says of a video over time: windows with probabilities, and the stretches that a person reads.

A window is what the model sees at once; where windows overlap, each *stands for* the time up to the middle between its
centre and its neighbours', so that every moment has one answer. A window that is left to a person has probabilities and
no answer: not here, and so nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
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

ANSWERED, FOR_REVIEW, TOO_LITTLE, NO_FACE = "answered", "for review", "too little of the face", "no face"
STATUSES = (ANSWERED, FOR_REVIEW, TOO_LITTLE, NO_FACE)
ASSISTS = "It assists a person who knows the child. It does not diagnose, and an expression is not a feeling."


LEAST_S = 1.0
"""Windows for review that begin within so many seconds are read as one stretch: a model of single frames has five."""


class Segment(NamedTuple):
    """A stretch of the video that is read as one.

    Attributes:
        start_s, end_s: seconds.
        status: one of :data:`STATUSES`.
        answer: the class, of an answered one; else None.
        words: its probabilities, of one for review (the mean of its windows); else empty.
    """

    start_s: float
    end_s: float
    status: str
    answer: str | None
    words: str


@dataclass(frozen=True)
class Video:
    """What tells a video from others.

    Attributes:
        path: the file.
        size: bytes.
        sha256: of its content.
        length_s: seconds to the end of its last picture.
        fps: frames a second that its header says.
        hdr: whether its colours are of a high dynamic range.
    """

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
    """What has to be known of the model whenever its answers are seen.

    Attributes:
        model: how it is called.
        provenance: of the data that it was judged on.
        temperature: divides the logits; None: the probabilities are raw.
        threshold: top probability below which a window is left to a person; None: all are.
        settings: how the video was shown to it.
        notes: sentences for whoever reads the answers, the most important first.
        of_video: sentences on whose face was followed, and on what of the video may mislead.
    """

    model: str
    provenance: str
    temperature: float | None
    threshold: float | None
    settings: dict[str, Any]
    notes: tuple[str, ...] = ()
    of_video: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """One line that goes with every file."""
        judged = f"judged on {self.provenance} data{'' if self.provenance == 'real' else ' only: no evidence'}"
        return f"{ASSISTS} Model: {self.model}, {judged}."


@dataclass(frozen=True)
class Timeline:
    """Everything that the outputs are made of.

    Attributes:
        video, about, labels: whose, by what, in which classes.
        frames: ``time_s, outcome`` of every frame that was looked at.
        windows: see :func:`judge_windows`.
        faces: a small picture (JPEG) of the followed face in each window; None where there is none; empty: not wanted.
        subject: pseudonym of the person whose face was followed; empty: nobody said.
    """

    video: Video
    about: About
    labels: LabelSpace
    frames: pd.DataFrame
    windows: pd.DataFrame
    faces: tuple[bytes | None, ...] = ()
    subject: str = ""

    @property
    def kind(self) -> str:
        """Prefix of the probabilities that decided: ``q``, or ``p`` where nothing is calibrated."""
        return "p" if self.about.temperature is None else "q"

    @property
    def seconds(self) -> dict[str, float]:
        """How long each of :data:`STATUSES` lasts."""
        spans = (self.windows["to_s"] - self.windows["from_s"]).groupby(self.windows["status"]).sum()
        return {status: float(spans.get(status, 0.0)) for status in STATUSES}

    def segments(self) -> list[Segment]:
        """Neighbouring windows of one answer, or without a face, as one; those for review one by one, unless they are
        shorter than :data:`LEAST_S`."""
        found = []
        for (status, answer, _), group in groupby(self.windows.to_dict("records"), key=_stretch):
            rows = list(group)
            words = self.probabilities(rows) if status == FOR_REVIEW else ""
            found.append(Segment(rows[0]["from_s"], rows[-1]["to_s"], status, answer, words))
        return found

    def gaps(self) -> list[Segment]:
        """Runs of frames without a usable face, with the reason as their words."""
        step = 1 / self.about.settings["fps"]
        found = []
        rows = zip(self.frames["time_s"], self.frames["outcome"], strict=True)
        for outcome, group in groupby(rows, key=lambda row: row[1]):
            times = [time for time, _ in group]
            if outcome != FOUND:
                end = min(times[-1] + step, self.video.length_s)
                found.append(Segment(times[0], end, NO_FACE, None, outcome))
        return found

    def probabilities(self, rows: Sequence[dict[Any, Any]]) -> str:
        """``happy 41 %, sad 33 %, ...``, the mean of windows, in the order of the classes: the first is no answer."""
        shares = [(name, np.mean([row[f"{self.kind}_{name}"] for row in rows])) for name in self.labels.names]
        return ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares)


def printable(text: str) -> str:
    """Text without what no XML, table or page can hold, such as a file's name in another encoding."""
    return "".join(one if one.isprintable() else "?" for one in text)


def _stretch(row: dict[Any, Any]) -> tuple[str, str | None, int]:
    """What neighbouring windows have in common that are read as one."""
    second = int(round(row["from_s"], 6) / LEAST_S) if row["status"] == FOR_REVIEW else -1
    return row["status"], row["answer"], second


def spans(windows: Sequence[tuple[int, int]], fps: float, length_s: float) -> pd.DataFrame:
    """When windows of frames begin and end, and which time each stands for.

    Args:
        windows: (start, end) in frames, ascending.
        fps: frames a second.
        length_s: of the video; nothing ends after it.

    Returns:
        ``start_s, end_s, from_s, to_s``, a row each; from the first ``from_s`` to the last ``to_s`` no moment lacks,
        and none has two.
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
    """Whether there is a face in the time that each window stands for; elsewhere in the window does not count.

    Args:
        times: of :func:`spans`.
        frames: ``time_s, outcome``.
    """
    found = frames["time_s"][frames["outcome"] == FOUND].to_numpy()
    tick = 1e-6  # a frame at the border belongs to the later window
    first, last = (np.searchsorted(found, times[name].to_numpy() - tick) for name in ("from_s", "to_s"))
    return np.asarray(last > first)


def judge_windows(
    times: pd.DataFrame,
    valid: Sequence[tuple[int, int]],
    seen: NDArray[np.bool_],
    logits: NDArray[np.floating[Any]],
    labels: LabelSpace,
    temperature: float | None,
    threshold: float | None,
    least_face: float = LEAST_FACE,
) -> pd.DataFrame:
    """Probabilities of every window, and whether they are an answer.

    Args:
        times: of :func:`spans`.
        valid: frames with a face, and all frames, of each window.
        seen: of :func:`with_face`.
        logits: (N, K); of a window without a face they mean nothing.
        labels: the K classes.
        temperature: divides the logits for ``q_<class>``; None: there are none, and ``p_<class>`` decide.
        threshold: top probability from which a window is answered; None: none is.
        least_face: share of a window's frames that must show the face; below it the model is not listened to.

    Returns:
        ``window, start_s, end_s, from_s, to_s, n_frames, n_valid, status, answer, p_<class>, q_<class>``; ``answer`` is
        None unless answered; the probabilities of a window without a face, or with too little of it, are NaN.
    """
    enough = np.array([found >= least_face * total - 1e-9 for found, total in valid], np.bool_)
    face, seen = seen, seen & enough
    raw = np.where(seen[:, None], special.softmax(np.asarray(logits, np.float64), axis=1), np.nan)
    scaled = np.asarray(logits, np.float64) / (temperature or 1.0)
    q = np.where(seen[:, None] & (temperature is not None), special.softmax(scaled, axis=1), np.nan)
    deciding = raw if temperature is None else q
    top = np.where(seen, deciding.max(axis=1, initial=0.0), 0.0)  # NaN where there is no face
    sure = seen & (threshold is not None) & (top >= (threshold or 0.0))
    best = np.nan_to_num(deciding).argmax(axis=1)
    answers = [labels.names[index] if one else None for index, one in zip(best, sure, strict=True)]
    status = np.select([sure, seen, face], [ANSWERED, FOR_REVIEW, TOO_LITTLE], NO_FACE)
    table = times.assign(
        n_frames=[total for _, total in valid],
        n_valid=[found for found, _ in valid],
        status=status.astype(object),
        answer=pd.Series(answers, index=times.index, dtype=object),
    )
    table.insert(0, "window", np.arange(len(table)))
    for prefix, values in (("p", raw), ("q", q)):
        table = table.assign(**{f"{prefix}_{name}": values[:, k] for k, name in enumerate(labels.names)})
    return table
