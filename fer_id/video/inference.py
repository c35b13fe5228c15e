"""Inference on a whole video: the face is tracked as in `fer-id prepare data=cohort` and classified window by window.

Memory holds one window of crops and one batch, however long the video is.
"""

from __future__ import annotations

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
from fer_id.files import sha256
from fer_id.labels import LabelSpace
from fer_id.preprocessing.face_marks import Mark, follow_marks
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
class VideoModel:
    """A clip classifier, on its device and in evaluation mode, with the sampling and crops that it was trained with."""

    model: ClipClassifier
    labels: LabelSpace
    fps: float  # sampled frames per second
    frames: int  # T, frames in a window
    gray: bool  # whether crops are grayscale
    min_eye_distance: float  # pixels between the eyes below which a face is too small
    test_views: str = "one"  # views of a window whose logits are averaged, see ``fer_id.tasks.views``
    precision: str = "32"  # ``32`` or ``bf16``


class VideoPrediction(NamedTuple):
    """Logits of every window of a video, with the face tracking that they rest on."""

    frames: pd.DataFrame  # ``time_s, outcome`` of every frame
    windows: list[tuple[int, int]]  # (start, end) in frames
    valid: list[tuple[int, int]]  # frames with a face, and all frames, of each window
    logits: NDArray[np.float64]  # (N, K)
    restarts: int  # number of times that tracking began anew
    faces: list[bytes | None]  # thumbnail (JPEG) of the tracked face per window; None where no frame shows the face
    several_faces: int = 0  # frames with more than one face
    affect: NDArray[np.float64] | None = None  # valence and arousal (N, 2) of a model that has them


def open_video(path: Path) -> Video:
    """Return a video's identity, length and frame rate; DataError where it is none, damaged, or without a picture."""
    facts = video_facts(path)
    return Video(path, path.stat().st_size, sha256(path), pictures_end(path), facts.fps, facts.hdr)


def predict_windows(
    video: Video,
    model: VideoModel,
    landmarker: FaceLandmarker,
    *,
    stride: int,
    reacquire_s: float | None = None,
    marks: Sequence[Mark] = (),
) -> VideoPrediction:
    """Track the face through the whole video and classify every window of ``model.frames`` frames.

    The landmarker has ``max_faces`` of ``MOST_FACES``; ``stride``, at most ``model.frames``, is the number of frames
    from one window to the next. With ``marks`` the face at these positions is tracked, otherwise the larger, more
    central face, as :class:`fer_id.preprocessing.tracking.Follower` explains ``reacquire_s``.

    Raise MarkError where a mark is on no face; DataError where the video is damaged, most of its pictures are, or it is
    shorter than half a frame; RunError where a logit is NaN or infinite.
    """
    times = sample_times(0.0, video.length_s, model.fps)
    cuts = windows(len(times), model.frames, stride)
    if not cuts:
        raise DataError(f"{video.path}: no frame in it")
    outcomes, face_counts = list[str](), list[int]()
    follower = Follower(reacquire_s=reacquire_s)
    if marks:
        follower = follow_marks(video.path, marks, times.tolist(), model.fps, landmarker)
    tracked = follow_face(
        sample_frames(video.path, times, gap_s(model.fps)),
        times,
        landmarker,
        min_eye_distance=model.min_eye_distance,
        gray=model.gray,
        follower=follower,
    )
    clips = cut(_recorded(track(tracked, "following the face", len(times)), outcomes, face_counts), cuts)
    valid, parts, faces = list[tuple[int, int]](), [], list[bytes | None]()
    while batch := list(islice(clips, _BATCH)):
        valid += [(int(clip.valid.sum()), len(clip.valid)) for clip in batch]
        faces += [_thumbnail(clip) for clip in batch]
        parts.append(_outputs(model, batch))
    check_damage(video.path, times.tolist(), outcomes)
    logits = np.concatenate([part for part, _ in parts])
    affect = [rated for _, rated in parts if rated is not None]
    covered = np.array([n_valid > 0 for n_valid, _ in valid])
    if not np.isfinite(logits[covered]).all():
        raise RunError("the model gives NaN or infinite logits; it is damaged, or its training failed: train it again")
    frames = pd.DataFrame({"time_s": times, "outcome": outcomes})
    several = sum(count > 1 for count in face_counts)
    return VideoPrediction(
        frames, cuts, valid, logits, follower.restarts, faces, several, np.concatenate(affect) if affect else None
    )


def cut(frames: Iterable[Seen], cuts: Sequence[tuple[int, int]]) -> Iterator[StoredClip]:
    """Yield the windows (start, end in frames; ascending, no gaps) of a stream, holding only frames that a later one
    needs."""
    source, held, first = iter(frames), deque[Seen](), 0
    for start, end in cuts:
        for _ in range(start - first):
            held.popleft()
        held.extend(islice(source, end - start - len(held)))
        first = start
        yield StoredClip(
            np.stack([frame.crop for frame in held]),
            np.stack([frame.landmarks for frame in held]),
            np.array([frame.outcome == FOUND for frame in held], np.bool_),
        )


def _thumbnail(clip: StoredClip) -> bytes | None:
    """Return the middle one of the crops with a valid face as a JPEG (no other face is in a crop), or None."""
    from PIL import Image

    valid = np.flatnonzero(clip.valid)
    if not len(valid):
        return None
    out = io.BytesIO()
    Image.fromarray(clip.frames[valid[len(valid) // 2]]).save(out, "JPEG", quality=80)
    return out.getvalue()


def _recorded(frames: Iterable[Seen], outcomes: list[str], face_counts: list[int]) -> Iterator[Seen]:
    """Yield the frames, adding each one's outcome and number of faces to the two lists."""
    for frame in frames:
        outcomes.append(frame.outcome)
        face_counts.append(len(frame.boxes))
        yield frame


def _outputs(model: VideoModel, clips: list[StoredClip]) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return the logits (B, K) of windows of equal length, and valence and arousal (B, 2) of a model that has them,
    averaged over the test views."""
    import torch

    from fer_id.tasks.numerics import autocast
    from fer_id.tasks.views import averaged

    classifier: Any = model.model
    device = next(classifier.parameters()).device

    def answer(view: ClipBatch) -> tuple[Any, Any]:
        inputs = view["frames"], view["valid"], view["landmarks"]
        rates = getattr(classifier, "affect", None) is not None
        return classifier.answer(*inputs) if rates else (classifier(*inputs), None)

    frames = torch.from_numpy(np.stack([clip.frames for clip in clips])).to(device)
    batch: ClipBatch = {
        "frames": frames.permute(0, 1, 4, 2, 3).float().div_(255),
        "valid": torch.from_numpy(np.stack([clip.valid for clip in clips])).to(device),
        "landmarks": torch.from_numpy(np.stack([clip.landmarks for clip in clips])).to(device),
        "label": torch.full((len(clips),), -1, device=device),
        "clip_id": [],
        "subject_id": [],
    }
    with torch.inference_mode(), autocast(model.precision, device):
        logits, affect = averaged(answer, batch, model.test_views)
    return logits.double().numpy(), None if affect is None else affect.double().numpy()
