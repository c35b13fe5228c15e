"""Selection of the stills of a benchmark that can be animated, and their splits.

A still needs landmarks of a nearly frontal face with nothing before it. Test takes more of the rare classes than was
published, since their few stills decide how precise a result is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fer_id.errors import Problems, StoreError
from fer_id.evaluation.config import SPLITS
from fer_id.labels import TARGET, map_labels
from fer_id.preprocessing.alignment import eye_centres
from fer_id.simulation.appearance import normalise, residuals
from fer_id.simulation.domain import DomainConfig
from fer_id.simulation.driving import Still, inner_face
from fer_id.simulation.neutral_shape import NeutralShapes, Shapes, turned
from fer_id.store.reader import ClipStore
from fer_id.types import CROP

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Stills:
    """Stills of a store that can be animated."""

    store: ClipStore
    points: Shapes  # (N, 68, 2) landmarks of every row of the store; NaN without a face
    neutral: Shapes  # (N, 68, 2) the neutral shapes of these heads
    rows: dict[str, dict[str, Rows]]  # split -> emotion -> usable rows of the store; no face is in two splits
    bases: dict[str, Rows]  # split -> neutral rows children are made of: plain faces without hard light
    left_out: dict[str, int]  # number of unused stills, by reason
    obstructed: dict[str, int]  # emotion -> number of stills left out for what lies on the face
    taught: int  # number of faces that the model of neutral faces is fitted to

    @property
    def tag(self) -> str:
        """Short identifier of the source in the names of its subjects."""
        return self.store.fingerprint[:4]

    def still(self, row: int) -> Still:
        """Read a still."""
        gray = self.store.card.geometry.get("colour") == "gray"
        return Still(self.store.read(row).frames[0].copy(), self.points[row], self.neutral[row], gray)


def choose_stills(store: ClipStore, config: DomainConfig) -> Stills:
    """Select the stills of a benchmark's store that can be animated.

    StoreError: the store cannot be a source, with every reason; or a split has too few stills of a class.
    DataError: too few neutral faces for the model of neutral faces.
    """
    check_source(store)
    names, unnamed = map_labels(store.clips["label"].tolist(), TARGET)
    labels = np.array([name or "" for name in names])
    left_out = Counter({f"label {name}": count for name, count in unnamed.items()})
    usable = labels != ""
    splits = _published(store.clips)
    points = np.stack([store.read(row).landmarks[0] for row in range(len(store))]).astype(np.float64)
    sound = np.array([_sound(shape) for shape in points])
    taught = usable & sound & (splits == "train") & _surely_neutral(store, config.agreement)
    shapes = NeutralShapes.fit(points[taught])

    def require(reason: str, fits: Mask) -> Mask:
        lost: Mask = usable & ~fits
        if lost.any():
            left_out[reason] += int(lost.sum())
        usable[lost] = False
        return lost

    require(f"split is none of {', '.join(SPLITS)}", splits != "")
    require("repeats of which most have another label", _agreed(store.clips, labels))
    require("no landmarks", np.asarray(~np.isnan(points).any(axis=(1, 2))))
    require("landmarks that are none", sound)
    with np.errstate(invalid="ignore"):
        require("looks aside", np.abs(turned(points)) <= config.max_turn)
        require("landmarks fit no face", shapes.misfit(points) <= config.max_misfit)
    error, lit, folds = _appearance(store, points, shapes.mean.reshape(-1, 2), usable, splits, labels)
    require("folds over", folds <= config.max_fold)
    obstructed = require("hand, glasses or beard", error <= config.max_residual)
    groups = store.clips["subject_id"].where(usable)
    require("repeats", (~groups.duplicated()).to_numpy())
    splits = _refilled(splits, labels, usable, config)
    rows = {
        split: {name: np.flatnonzero(usable & (splits == split) & (labels == name)) for name in TARGET.names}
        for split in SPLITS
    }
    plain = (error <= config.max_base_residual) & (np.abs(lit) <= config.max_side_light)
    bases = {split: mine["neutral"][plain[mine["neutral"]]] for split, mine in rows.items()}
    _require_classes(store, rows, bases, config.clips_per_emotion)
    counts = {name: int((obstructed & (labels == name)).sum()) for name in TARGET.names}
    return Stills(store, points, shapes.neutral_of(points), rows, bases, dict(left_out), counts, int(taught.sum()))


def _agreed(clips: pd.DataFrame, labels: NDArray[np.str_]) -> Mask:
    """Return a mask (N,) of labelled stills whose label more than half of their near-identical stills have."""
    table = pd.DataFrame({"group": clips["subject_id"].to_numpy(), "label": labels})[labels != ""]
    alike = table.groupby(["group", "label"])["label"].transform("size")
    agreed = np.zeros(len(labels), np.bool_)
    agreed[table.index[2 * alike > table.groupby("group")["label"].transform("size")]] = True
    return agreed


def _published(clips: pd.DataFrame) -> NDArray[np.str_]:
    """Return the split of each still (N,): test, where one of its group of near-identical stills was published for
    tests, else validation where one is in validation, else train; empty for other splits."""
    place = clips["split"].map({name: place for place, name in enumerate(SPLITS)}).groupby(clips["subject_id"])
    return np.array([(*SPLITS, "")[latest] for latest in place.transform("max").fillna(-1).astype(int)])


def _refilled(
    splits: NDArray[np.str_], labels: NDArray[np.str_], usable: Mask, config: DomainConfig
) -> NDArray[np.str_]:
    """Move training stills to test until each class has there ``test_share`` of the rarest class's usable stills.

    The stills are drawn by the seed alone.
    """
    splits, rng = splits.copy(), np.random.default_rng([config.seed, len(SPLITS)])
    most = min(int((usable & (labels == name)).sum()) for name in TARGET.names)
    for name in TARGET.names:
        mine = usable & (labels == name)
        missing = int(np.ceil(config.test_share * most)) - int((mine & (splits == "test")).sum())
        train = np.flatnonzero(mine & (splits == "train"))
        splits[rng.permutation(train)[: max(missing, 0)]] = "test"
    return splits


def _appearance(
    store: ClipStore, points: Shapes, shape: Shapes, usable: Mask, splits: NDArray[np.str_], labels: NDArray[np.str_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Compute the error of each usable face under the model of faces, its light from one side, and the share that folds
    over on the way to the mean shape; three times (N,), 0 for the others."""
    rows, measures = np.flatnonzero(usable), np.zeros((3, len(points)))
    if not (splits[rows] == "train").any():  # nothing to learn from; the missing classes are listed later
        return measures[0], measures[1], measures[2]
    pictures = (store.read(row).frames[0] for row in rows.tolist())
    normal = normalise(pictures, points[rows], shape, inner_face(shape))
    counts = Counter(labels[rows].tolist())
    # A class's weight is the root of its size, so that wide open mouths are not unusual, as they would be by number.
    weight = np.array([splits[row] == "train" and counts[labels[row]] ** -0.5 for row in rows], float)
    measures[:, rows] = residuals(normal.faces, weight), normal.lit, normal.folded
    return measures[0], measures[1], measures[2]


def check_source(store: ClipStore) -> None:
    """Raise StoreError, with every reason, unless the store holds real stills of aligned faces."""
    problems = Problems(f"source {store.path}")
    card = store.card
    if card.provenance != "real":
        problems.add(f"is {card.provenance}; expected real faces, as a simulation of a simulation shows nobody")
    if card.shard_by != "split" or (store.clips["length"] != 1).any():
        problems.add("holds clips of people; expected a benchmark of stills, with its published splits")
    if card.crop != CROP:
        problems.add(f"has crops of {card.crop}x{card.crop} pixels; prepare it again with data.crop={CROP}")
    if not card.geometry.get("eyes"):
        problems.add("its faces are not aligned; prepare it again with data.landmarks=mediapipe")
    if "neutral" not in set(store.clips["label"]):
        problems.add("has no neutral face to learn from what a face at rest looks like")
    problems.raise_if_any(StoreError)


def _surely_neutral(store: ClipStore, agreement: float) -> NDArray[np.bool_]:
    """Return a mask (N,) of neutral faces; where there are votes, with at least this share of them for neutral."""
    neutral = (store.clips["label"] == "neutral").to_numpy()
    place = store.labels.index("neutral")
    shares = store.clips["soft_label"]
    votes = [float(share[place]) if has_votes else 1.0 for share, has_votes in zip(shares, shares.notna(), strict=True)]
    return neutral & (np.array(votes) >= agreement)


def _sound(shape: Shapes) -> bool:
    """Return True where all landmarks (68, 2) are finite and the eye centres at least a pixel apart."""
    if not np.isfinite(shape).all():
        return False
    left, right = eye_centres(shape)
    return bool(np.hypot(*(right - left)) >= 1.0)


def _require_classes(
    store: ClipStore, rows: dict[str, dict[str, Rows]], bases: dict[str, Rows], clips_per_emotion: int
) -> None:
    problems = Problems(f"source {store.path}")
    for split, by_emotion in rows.items():
        # One neutral face more than clips: the child itself is a neutral still.
        needed = {name: clips_per_emotion + (name == "neutral") for name in by_emotion}
        few = {name: len(stills) for name, stills in by_emotion.items() if len(stills) < needed[name]}
        if few:
            counts = ", ".join(f"{count or 'no'} usable stills of {name}" for name, count in few.items())
            problems.add(
                f"{split} has {counts}, expected {clips_per_emotion} of each for one subject, and its own face"
            )
        elif not len(bases[split]):
            problems.add(f"{split} has no plain neutral face to make a child of (max_base_residual, max_side_light)")
    most = min(len(stills) - (name == "neutral") for of in rows.values() for name, stills in of.items())
    hint = (
        f"clips_per_emotion={most} would do." if most > 0 else "Widen max_turn, max_misfit, max_fold or max_residual."
    )
    problems.raise_if_any(StoreError, f"{hint} Or take a larger source.")
