"""Models for new videos, opened from a run or a released bundle; refused unless trained on crops as of a video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.training.parents import mappings_of, require_one_mapping
from fer_id.errors import ConfigError, RunError
from fer_id.preprocessing.alignment import crop_geometry
from fer_id.preprocessing.landmarks import MESH_MAPPING
from fer_id.release.bundle import POLICY
from fer_id.runs.job import Geometry
from fer_id.runs.metrics import Metrics
from fer_id.runs.run_dir import RunDir
from fer_id.store.card import readable_cards
from fer_id.types import CROP
from fer_id.video.inference import VideoModel
from fer_id.video.timeline import About

if TYPE_CHECKING:
    from fer_id.release.bundle import Unfit

STILLS_FPS = 5.0
"""Frames per second for a model of single frames, as in the store of a cohort."""

MIN_EYE_DISTANCE = 8.0
"""Default of ``CohortConfig``, in pixels, for a model whose training data were no videos."""


@dataclass(frozen=True)
class Opened:
    """A model opened for videos, with its input format, and facts on it, whose ``settings`` are filled in later;
    pseudonyms of the people in its training data (a bundle records none), groups that it must not be used with, and
    whether the bundle is a demonstration, not released for use with children."""

    watcher: VideoModel
    about: About
    learned_from: frozenset[str] = frozenset()
    unfit: tuple[Unfit, ...] = ()
    demonstration: bool = False


def open_run(path: str, fps: float | None) -> Opened:
    """Open the model of a finished training; ``fps`` counts where neither the run nor its store records it.

    Raises:
        RunError: no finished run, a cross-validation, or crops that are made otherwise than those of a video.
        DataError: the model takes landmarks, and learned from another mapping than that of a video.
        ConfigError: its frames per second are unknown, or ``fps`` contradicts the run.
    """
    from experiments.training.trained_model import TrainedModel

    run = RunDir.open(path)
    if run.folds:
        raise RunError(
            f"{path} is a cross-validation: it has a model for each fold, and none of them is the one for a new video. "
            "Train one model on all children (protocol=holdout), or, to see what a left-out child's own fold says of "
            f"it, name that fold: run={run.folds[0].path}"
        )
    job, review = run.job(), run.metrics()
    store = job.store
    gray = _gray(store.geometry, path)
    known = {path: mappings_of(store.mesh_mappings, drawn=job.drawn), "the video": [MESH_MAPPING]}
    require_one_mapping(known, landmarks=run.config()["model"].get("landmarks", 0) > 0)
    trained = TrainedModel.open(run)
    frames = job.cost.frames or 1
    settings = [card.settings for card in readable_cards(trained.config.data.store)]
    rates, distances = {each.fps for each in settings}, (each.min_eye_distance for each in settings)
    known_fps = store.fps or (STILLS_FPS if frames == 1 else rates.pop() if len(rates) == 1 else None)
    fold = job.fold if (run.path / POLICY).is_file() else None  # released without predictions
    temperature, threshold, notes = _judged(review, fold or str(run.predictions()["fold"].iloc[0]), path)
    notes = (*_released_words(run, review), *notes)
    return Opened(
        VideoModel(
            model=trained.model,
            labels=trained.labels,
            fps=_agreed(float(known_fps or 0) or None, fps, path),
            frames=frames,
            gray=gray,
            min_eye_distance=float(store.min_eye_distance or next(filter(None, distances), MIN_EYE_DISTANCE)),
            test_views=trained.config.trainer.test_views,
            precision=trained.precision,
        ),
        About(Path(path).as_posix(), str(store.provenance), temperature, threshold, {}, notes),
        job.learned_from,
    )


def open_bundle(path: str, trusted_key: str | None, fps: float | None) -> Opened:
    """Open the model of a released bundle, after verifying its signature (BundleError, SignatureError); raise as
    :func:`open_run`."""
    from fer_id.release.bundle import BundleError, Input, Landmarks, load_bundle
    from fer_id.shapes import record

    released = load_bundle(path, trusted_key)
    takes = record(Input, released.contract.input or {}, f"{path}: contract.json, input", BundleError)
    points = takes.landmarks or Landmarks()
    drawn = released.provenance == "synthetic" and not points.model_sha256
    known = mappings_of(points.mesh_mappings, drawn=drawn)
    require_one_mapping({path: known, "the video": [MESH_MAPPING]}, landmarks=released.model.landmarks is not None)
    groups: dict[str, list[str]] = {}
    for unfit in released.not_for_use_with:
        groups.setdefault(unfit.reason, []).append(f"{unfit.column} {unfit.group}")
    notes = [f"It must not be used with {', '.join(names)}: {reason}." for reason, names in groups.items()]
    notes.append(f"The bundle is {released.verified}.")
    if released.demonstration:
        notes.insert(0, "This bundle is a demonstration: it was not released for use with children.")
    if released.threshold is None:
        notes.insert(0, "Every window is for review: its release has no threshold that keeps the risk asked for.")
    named = f"{released.verified.name} (bundle {Path(path).name})"
    return Opened(
        VideoModel(
            model=released.model,
            labels=released.labels,
            fps=_agreed(takes.fps or (STILLS_FPS if takes.frames == 1 else None), fps, path),
            frames=takes.frames,
            gray=_gray(Geometry.model_validate(takes.geometry or {}), path),
            min_eye_distance=takes.min_eye_distance or MIN_EYE_DISTANCE,
        ),
        About(named, released.provenance, released.temperature, released.threshold, {}, tuple(notes)),
        unfit=released.not_for_use_with,
        demonstration=released.demonstration,
    )


def _released_words(run: RunDir, metrics: Metrics) -> list[str]:
    """Return what its policy and its card say of weights to start from; nothing for a run that was not released."""
    from fer_id.release.model_card import weights_sentences
    from fer_id.release.policy import read_policy

    path = run.path / POLICY
    return weights_sentences(read_policy(path), metrics) if path.is_file() else []


def _judged(metrics: Metrics, fold: str, path: str) -> tuple[float | None, float | None, tuple[str, ...]]:
    """Return temperature and threshold of a fold, None where missing, and notes that explain them."""
    notes, review = [], metrics.review
    temperature = metrics.calibration.temperatures.get(fold)
    if temperature is None:
        notes.append("Its probabilities are raw: it has no temperature, so 80 % does not mean right in 80 % of cases.")
    threshold = review.thresholds.get(fold) if review else None
    if review is None:
        first = (
            "Every window is for review: the run has no threshold of confidence. "
            f"`fer-id evaluate {path}` chooses one on its inner validation."
        )
    elif threshold is None:
        why = metrics.reasons.get(f"review.thresholds.{fold}")
        lacks = f"on inner validation no threshold kept the share of wrong answers at {review.risk}"
        first = f"Every window is for review: {why or lacks}."
    else:
        first = (
            f"A window is answered from a top probability of {100 * threshold:.0f} % on: chosen on inner validation so "
            f"that at most {100 * review.risk:.0f} % of the answers there are wrong. Another child may differ."
        )
    return temperature, threshold, (first, *notes)


def _gray(geometry: Geometry | None, path: str) -> bool:
    """Return whether crops of this geometry are gray; raise RunError unless they are aligned as those of a video."""
    for colour in ("rgb", "gray"):
        if geometry == Geometry.model_validate(crop_geometry(aligned=True, colour=colour)):
            return colour == "gray"
    why = (
        "does not say how its faces were cropped"
        if not geometry or geometry.colour is None
        else "learned from faces cropped in another way"
        + (
            ""
            if geometry.size == CROP
            else f", {geometry.size}x{geometry.size} pixels where a video's are {CROP}x{CROP}"
        )
    )
    raise RunError(
        f"{path} {why}, and a face from a video is aligned by its eyes: the model would see something that it never "
        "learned. Train on a store of aligned faces: data=cohort, data=synthetic, data=simulated, or a benchmark "
        "prepared with data.landmarks=mediapipe"
    )


def _agreed(known: float | None, said: float | None, path: str) -> float:
    """Return frames per second, as recorded or ``said``; raise ConfigError where they differ or none is known."""
    fps = said if known is None else known
    if fps is None:
        raise ConfigError(
            f"{path} does not say how many frames a second it learned from (an older version made it, and its store is "
            "not there any more); say fps=NUMBER, as that store had it"
        )
    if said is not None and fps != said:
        raise ConfigError(f"fps={said:g}: {path} learned from {fps:g} frames a second; leave fps= out")
    return fps
