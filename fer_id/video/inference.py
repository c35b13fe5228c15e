"""A whole video before a model: one face followed as `fer-id prepare data=cohort` does, cut into windows, and judged.

What is held in memory is one window of crops and one batch, however long the video is.
"""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fer_id.errors import DataError, RunError
from fer_id.labels import LabelSpace
from fer_id.preprocessing.damage import Mark, MarkedFace, follow_marks
from fer_id.preprocessing.landmarks import FaceLandmarker
from fer_id.preprocessing.tracking import FOUND, Follower, Seen, follow_face, sample_times, windows
from fer_id.preprocessing.video import check_damage, gap_s, pictures_end, sample_frames, video_facts
from fer_id.progress import track
from fer_id.types import ClipBatch, StoredClip
from fer_id.video.timeline import Video

if TYPE_CHECKING:
    from fer_id.models.network import ClipClassifier

_BATCH = 16  # windows


@dataclass(frozen=True)
class Watcher:
    """A model, and how a video has to be shown to it.

    Attributes:
        model: on its device, in evaluation mode.
        labels: its classes.
        fps: frames a second.
        frames: T of a window.
        gray: whether crops are without colour.
        min_eye_distance: pixels between the eyes below which a face is too small to read.
        test_views: views of a window whose logits are averaged, see ``fer_id.tasks.views``.
        precision: ``32`` or ``bf16``, in which it computes.
    """

    model: ClipClassifier
    labels: LabelSpace
    fps: float
    frames: int
    gray: bool
    min_eye_distance: float
    test_views: str = "one"
    precision: str = "32"


class Watched(NamedTuple):
    """What came of watching.

    Attributes:
        frames: ``time_s, outcome`` of every frame.
        windows: (start, end) in frames.
        valid: frames with a face, and all frames, of each window.
        logits: (N, K).
        restarts: how often the face was looked for anew.
        faces: a small picture (JPEG) of the followed face in each window; None where no frame shows it.
        several_faces: frames with more than one face.
    """

    frames: pd.DataFrame
    windows: list[tuple[int, int]]
    valid: list[tuple[int, int]]
    logits: NDArray[np.float64]
    restarts: int
    faces: list[bytes | None]
    several_faces: int = 0


def open_video(path: Path) -> Video:
    """What the video is.

    Raises:
        DataError: no such file, not a video, damaged, or without a picture.
    """
    facts = video_facts(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Video(path, path.stat().st_size, digest, pictures_end(path), facts.fps, facts.hdr)


def watch(
    video: Video,
    watcher: Watcher,
    landmarker: FaceLandmarker,
    *,
    stride: int,
    reacquire_s: float | None = None,
    marks: Sequence[Mark] = (),
) -> Watched:
    """Follows the face through the whole video and asks the model about every window.

    Args:
        video: of :func:`open_video`.
        watcher: the model.
        landmarker: with ``max_faces`` of ``MOST_FACES``.
        stride: frames from one window to the next, at most ``watcher.frames``.
        reacquire_s: see :class:`fer_id.preprocessing.tracking.Follower`; of no use with marks.
        marks: places on the face to follow; without any the larger, more central one is followed.

    Raises:
        MarkError: a mark is on no face.
        DataError: the video is damaged, most of its pictures are, or it is shorter than half a frame.
        RunError: the model gives no finite numbers.
    """
    times = sample_times(0.0, video.length_s, watcher.fps)
    cuts = windows(len(times), watcher.frames, stride)
    if not cuts:
        raise DataError(f"{video.path}: no frame in it")
    outcomes: list[str] = []
    face_counts: list[int] = []
    follower: Follower | MarkedFace = Follower(reacquire_s=reacquire_s)
    if marks:
        follower = follow_marks(video.path, marks, times.tolist(), watcher.fps, landmarker)
    seen = follow_face(
        sample_frames(video.path, times, gap_s(watcher.fps)),
        times,
        landmarker,
        min_eye_distance=watcher.min_eye_distance,
        gray=watcher.gray,
        follower=follower,
    )
    clips = cut(_noted(track(seen, "following the face", len(times)), outcomes, face_counts), cuts)
    valid: list[tuple[int, int]] = []
    parts, faces = [], list[bytes | None]()
    while batch := list(islice(clips, _BATCH)):
        valid += [(int(clip.valid.sum()), len(clip.valid)) for clip in batch]
        faces += [_thumbnail(clip) for clip in batch]
        parts.append(_logits(watcher, batch))
    check_damage(video.path, times.tolist(), outcomes)
    logits = np.concatenate(parts)
    covered = np.array([found > 0 for found, _ in valid])
    if not np.isfinite(logits[covered]).all():
        raise RunError("the model gives NaN or infinite logits; it is damaged, or its training failed: train it again")
    frames = pd.DataFrame({"time_s": times, "outcome": outcomes})
    several = sum(count > 1 for count in face_counts)
    return Watched(frames, cuts, valid, logits, follower.restarts, faces, several)


def cut(frames: Iterable[Seen], cuts: Sequence[tuple[int, int]]) -> Iterator[StoredClip]:
    """Windows of a stream of frames, one at a time; only frames that a later window needs are held.

    Args:
        frames: in order.
        cuts: (start, end), ascending, without a frame between two of them.
    """
    source, held, first = iter(frames), deque[Seen](), 0
    for start, end in cuts:
        for _ in range(start - first):
            held.popleft()
        held.extend(islice(source, end - start - len(held)))
        first = start
        yield StoredClip(
            np.stack([one.crop for one in held]),
            np.stack([one.landmarks for one in held]),
            np.array([one.outcome == FOUND for one in held], np.bool_),
        )


def _thumbnail(clip: StoredClip) -> bytes | None:
    """Return the crop in the middle of those that show the face, as a JPEG; nobody else's face is in it."""
    from PIL import Image

    found = np.flatnonzero(clip.valid)
    if not len(found):
        return None
    out = io.BytesIO()
    Image.fromarray(clip.frames[found[len(found) // 2]]).save(out, "JPEG", quality=80)
    return out.getvalue()


def _noted(frames: Iterable[Seen], outcomes: list[str], face_counts: list[int]) -> Iterator[Seen]:
    for one in frames:
        outcomes.append(one.outcome)
        face_counts.append(len(one.boxes))
        yield one


def _logits(watcher: Watcher, clips: list[StoredClip]) -> NDArray[np.float64]:
    """Logits (B, K) of windows of one length."""
    import torch

    from fer_id.tasks.numerics import autocast
    from fer_id.tasks.views import views

    device = next(watcher.model.parameters()).device
    frames = torch.from_numpy(np.stack([clip.frames for clip in clips])).to(device)
    batch: ClipBatch = {
        "frames": frames.permute(0, 1, 4, 2, 3).float().div_(255),
        "valid": torch.from_numpy(np.stack([clip.valid for clip in clips])).to(device),
        "landmarks": torch.from_numpy(np.stack([clip.landmarks for clip in clips])).to(device),
        "label": torch.full((len(clips),), -1, device=device),
        "clip_id": [],
        "subject_id": [],
    }
    with torch.inference_mode(), autocast(watcher.precision, device):
        asked = [
            watcher.model(view["frames"], view["valid"], view["landmarks"]) for view in views(batch, watcher.test_views)
        ]
        answered: Any = torch.stack(asked).mean(dim=0).double().cpu().numpy()
    return np.asarray(answered, np.float64)
