"""Selection of the stills of a benchmark that can be animated: with landmarks, near frontal, without folds at rest."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from fer_id.errors import Problems, StoreError
from fer_id.evaluation.config import SPLITS, ProtocolConfig
from fer_id.evaluation.protocol import make_folds
from fer_id.labels import TARGET, map_labels
from fer_id.preprocessing.alignment import eye_centres
from fer_id.progress import track
from fer_id.simulation.domain import DomainConfig
from fer_id.simulation.driving import Still, inner_face
from fer_id.simulation.neutral_shape import NeutralShapes, Shapes, turned
from fer_id.simulation.warping import backward_maps, folded
from fer_id.store.reader import ClipStore

Rows = NDArray[np.int64]

NEAREST, THUMB = 40, 16
"""Number of neutral faces compared by appearance, and the side in pixels of the compared pictures."""


@dataclass
class Stills:
    """Stills of a store that can be animated."""

    store: ClipStore
    points: Shapes  # (N, 68, 2) landmarks of every row of the store; NaN without a face
    rest: Shapes  # their estimate at rest
    rows: dict[str, dict[str, Rows]]  # split -> emotion -> usable rows of the store; no face is in two splits
    left_out: dict[str, int]  # number of unused stills, by reason
    taught: int  # number of faces that the model of neutral faces is fitted to
    _small: dict[str, NDArray[np.float32]] = field(default_factory=dict, init=False, repr=False)

    @property
    def tag(self) -> str:
        """Short identifier of the source in the names of its subjects."""
        return self.store.fingerprint[:4]

    def still(self, row: int) -> Still:
        """Read a still, and the neutral face that replaces it at rest."""
        gray = self.store.card.geometry.get("colour") == "gray"
        other = self.neutral_like(row)
        picture, calm = (self.store.read(each).frames[0].copy() for each in (row, other))
        return Still(picture, self.points[row], self.rest[row], calm, self.points[other], gray)

    def neutral_like(self, row: int) -> int:
        """Return the row of the neutral still of the same split that is most similar to this face at rest, not itself.

        Of the :data:`NEAREST` shapes at rest, it is the one with the most similar surroundings: they show hair, age
        and light, and depend on no expression. A comparison of the whole face would disclose the expression.
        """
        split = next(name for name, rows in self.rows.items() if any(row in mine for mine in rows.values()))
        neutral = self.rows[split]["neutral"]
        apart = np.square(self.points[neutral] - self.rest[row]).sum(axis=(1, 2))
        near = np.argsort(np.where(neutral == row, np.inf, apart), kind="stable")[:NEAREST]
        near = near[neutral[near] != row]
        around = 1 - cv2.resize(inner_face(self.points[row]), (THUMB, THUMB), interpolation=cv2.INTER_AREA)[..., None]
        unlike = (around * np.abs(self._thumbs(split)[near] - self._thumb(row))).sum(axis=(1, 2, 3))
        return int(neutral[near[unlike.argmin()]])

    def _thumbs(self, split: str) -> NDArray[np.float32]:
        """Return thumbnails of the neutral faces of a split, (N, THUMB, THUMB, 3); read once."""
        if split not in self._small:
            self._small[split] = np.stack([self._thumb(int(row)) for row in self.rows[split]["neutral"]])
        return self._small[split]

    def _thumb(self, row: int) -> NDArray[np.float32]:
        picture = self.store.read(row).frames[0].astype(np.float32)
        return np.asarray(cv2.resize(picture, (THUMB, THUMB), interpolation=cv2.INTER_AREA), np.float32)


def choose_stills(store: ClipStore, config: DomainConfig) -> Stills:
    """Select the stills of a benchmark's store that can be animated.

    StoreError: the store cannot be a source, with every reason; or a split has too few stills of a class.
    DataError: too few neutral faces for the model of neutral faces.
    """
    check_source(store)
    clips = store.clips
    (fold,) = make_folds(clips, ProtocolConfig(name="official"), seed=config.seed, images=True, deduplicate=True)
    names, unnamed = map_labels(clips["label"].tolist(), TARGET)
    labels = np.array([name or "" for name in names])
    points = np.stack([store.read(row).landmarks[0] for row in range(len(store))]).astype(np.float64)
    sound = np.array([_sound(shape) for shape in points])
    neutral = fold.train[sound[fold.train] & _surely_neutral(store, config.agreement)[fold.train]]
    shapes = NeutralShapes.fit(points[neutral])
    rest = shapes.neutral_of(points)
    usable: dict[str, NDArray[np.bool_]] = {
        "no landmarks": np.asarray(~np.isnan(points).any(axis=(1, 2))),
        "landmarks that are none": sound,
    }
    with np.errstate(invalid="ignore"):
        usable["looks aside"] = np.abs(turned(points)) <= config.max_turn
        usable["landmarks fit no face"] = shapes.misfit(points) <= config.max_misfit
    usable["folds over"] = _whole(points, rest, np.all(list(usable.values()), axis=0), config.max_fold)
    rows: dict[str, dict[str, Rows]] = {}
    left_out: Counter[str] = Counter({f"label {name}": count for name, count in unnamed.items()} | dict(fold.dropped))
    for split in SPLITS:
        mine: Rows = getattr(fold, split)
        mine = mine[labels[mine] != ""]
        for reason, fits in usable.items():
            left_out[reason] += int((~fits[mine]).sum())
            mine = mine[fits[mine]]
        alone = ~clips["subject_id"].iloc[mine].duplicated().to_numpy()
        left_out[f"repeats within {split}"] += int((~alone).sum())
        mine = mine[alone]
        rows[split] = {name: mine[labels[mine] == name] for name in TARGET.names}
    _require_classes(store, rows, config.clips_per_emotion)
    return Stills(store, points, rest, rows, {k: n for k, n in left_out.items() if n}, len(neutral))


def check_source(store: ClipStore) -> None:
    """Raise StoreError, with every reason, unless the store holds real stills of aligned faces."""
    problems = Problems(f"source {store.path}")
    card = store.card
    if card.provenance != "real":
        problems.add(f"is {card.provenance}; expected real faces, as a simulation of a simulation shows nobody")
    if card.shard_by != "split" or (store.clips["length"] != 1).any():
        problems.add("holds clips of people; expected a benchmark of stills, with its published splits")
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


def _whole(points: Shapes, rest: Shapes, candidates: NDArray[np.bool_], most: float) -> NDArray[np.bool_]:
    """Return a mask (N,) of faces that do not fold when brought to rest; only candidates are tried, others pass."""
    whole = np.ones(len(points), np.bool_)
    for row in track(np.flatnonzero(candidates), "bringing faces to rest"):
        whole[row] = folded(backward_maps(points[row][None], rest[row][None])[0])[0] <= most
    return whole


def _sound(shape: Shapes) -> bool:
    """Return True where all landmarks (68, 2) are finite and the eye centres at least a pixel apart."""
    if not np.isfinite(shape).all():
        return False
    left, right = eye_centres(shape)
    return bool(np.hypot(*(right - left)) >= 1.0)


def _require_classes(store: ClipStore, rows: dict[str, dict[str, Rows]], clips_per_emotion: int) -> None:
    problems = Problems(f"source {store.path}")
    for split, by_emotion in rows.items():
        few = {name: len(stills) for name, stills in by_emotion.items() if len(stills) < clips_per_emotion}
        if few:
            counts = ", ".join(f"{count or 'no'} usable stills of {name}" for name, count in few.items())
            problems.add(f"{split} has {counts}, expected {clips_per_emotion} of each for one subject")
        elif len(by_emotion["neutral"]) < 2:
            problems.add(f"{split} has one neutral face, expected at least 2: at rest a face is that of another person")
    most = min(len(stills) for by_emotion in rows.values() for stills in by_emotion.values())
    hint = f"clips_per_emotion={most} would do." if most else "Widen max_turn, max_misfit or max_fold."
    problems.raise_if_any(StoreError, f"{hint} Or take a larger source.")
