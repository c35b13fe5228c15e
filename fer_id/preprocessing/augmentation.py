"""Augmentation of clips: one geometric and photometric draw for all frames, independent sensor noise per frame.

The draws come from albumentations' transforms, through the hooks that its own ``__call__`` uses. Its ``Compose`` is
not used: re-seeding it takes 0.06 ms, it is half as fast for a still, does not swap left and right landmarks, and gives
an occluder another colour in every frame. Rotation, scale, shift and flip are composed into one matrix, so that pixels
are resampled once and the landmarks follow exactly.
"""

from __future__ import annotations

import hashlib
import os
import random
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_id.errors import ConfigError, Problems
from fer_id.preprocessing.alignment import move_points
from fer_id.settings import faults, setting
from fer_id.types import CROP, FLIP_68


@dataclass
class AugmentConfig:
    """Strength of each augmentation of training clips; 0 disables it. The defaults are the paper's six, mildly."""

    flip: float = setting(0.5, "probability of a horizontal flip", min=0, max=1)
    brightness: float = setting(0.2, "most that is added or taken, as a part of the full range", min=0, max=1)
    contrast: float = setting(0.0, "pixel values times 1 ± this at most", min=0, max=1)
    rotation_deg: float = setting(10.0, "largest rotation to either side, degrees", min=0, max=180)
    scale: float = setting(0.1, "size times 1 ± this at most (above 1: a random crop)", min=0, max=0.9)
    shift: float = setting(0.05, "largest shift along x and y, as a part of the crop's side", min=0, max=0.5)
    noise: float = setting(
        0.02, "largest standard deviation of sensor noise, as a part of the full range", min=0, max=0.2
    )
    occlusion: float = setting(0.2, "probability of a covered rectangle", min=0, max=1)
    background: float = setting(
        0.0,
        "probability that all but the face (by its landmarks) is exchanged for smooth colours: nothing there tells the "
        "label then; clips without landmarks stay as they are",
        min=0,
        max=1,
    )
    occlusion_size: float = setting(0.3, "largest side of that rectangle, as a part of the crop's", min=0.05, max=0.9)


class ClipAugmenter:
    """Augmentation of clips by an :class:`AugmentConfig`, a pure function of (seed, epoch, clip_id).

    Stateless between calls and picklable, so every worker gives the same clip. The noise is one value for the three
    channels of a pixel: a gray image stays gray, and cameras denoise colour harder than brightness.

    ``size`` is the side of the crops in pixels. Raise ConfigError, with all of them, where settings are outside their
    limits.

    >>> augment = ClipAugmenter(AugmentConfig(rotation_deg=5))
    >>> frames, points = augment(frames, points, seed=1, epoch=0, clip_id="a")  # doctest: +SKIP
    """

    def __init__(self, config: AugmentConfig, size: int = CROP) -> None:
        problems = Problems("augment", (f"{name}: {fault}" for name, fault in faults(config)))
        problems.raise_if_any(ConfigError)
        # albumentations otherwise looks up its newest version online when imported
        os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
        import albumentations as A
        import cv2

        cv2.setNumThreads(0)  # one thread per worker: more compete for the cores
        self.config, self.size = config, size
        self._mirror = np.array([[-1.0, 0.0, size - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        self._flip = A.HorizontalFlip(p=config.flip)
        self._affine = A.Affine(
            rotate=(-config.rotation_deg, config.rotation_deg),
            scale=(1 - config.scale, 1 + config.scale),
            keep_ratio=True,
            translate_px=(-round(config.shift * size), round(config.shift * size)),
            p=float(config.rotation_deg > 0 or config.scale > 0 or config.shift > 0),
            strict=True,
        )
        self._light = A.RandomBrightnessContrast(
            brightness_limit=config.brightness,
            contrast_limit=config.contrast,
            p=float(config.brightness > 0 or config.contrast > 0),
            strict=True,
        )
        sides = (config.occlusion_size / 3, config.occlusion_size)
        self._cover = A.CoarseDropout(
            num_holes_range=(1, 1), hole_height_range=sides, hole_width_range=sides, p=config.occlusion, strict=True
        )

    def __reduce__(self) -> tuple[type[ClipAugmenter], tuple[AugmentConfig, int]]:
        """Return the constructor's call for pickle: a spawned worker must also set its process's OpenCV threads."""
        return ClipAugmenter, (self.config, self.size)

    def __call__(
        self, frames: NDArray[np.uint8], landmarks: NDArray[np.float32], *, seed: int, epoch: int, clip_id: str
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Augment one clip: return frames uint8 (T, S, S, 3), landmarks float32 (T, 68, 2) in crop pixels, in new
        arrays.

        The arguments themselves are returned where nothing was drawn. NaN landmarks stay NaN; others may end outside
        the crop.
        """
        digest = hashlib.blake2b(f"{seed}:{epoch}:{clip_id}".encode(), digest_size=16).digest()
        state = int.from_bytes(digest, "little")
        draws, py_random = np.random.default_rng(state), random.Random(state)
        for transform in (self._flip, self._affine, self._light, self._cover):
            transform.set_random_state(draws, py_random)
        frames, landmarks = self._move(frames, landmarks)
        if self._light.should_apply():
            frames = self._light.apply(frames, **self._draw(self._light, frames))
        if self.config.background > 0 and draws.random() < self.config.background:
            frames = exchange_background(frames, landmarks, draws)
        if self._cover.should_apply():
            frames = frames.copy()  # covered with one colour, like a hand, hair or an object before the lens
            for x0, y0, x1, y1 in self._draw(self._cover, frames)["holes"]:
                frames[:, y0:y1, x0:x1] = draws.integers(0, 256, size=3, dtype=np.uint8)
        if self.config.noise > 0:
            frames = add_noise(frames, draws.uniform(0, self.config.noise), draws)
        return frames, landmarks

    @staticmethod
    def _draw(transform: Any, frames: NDArray[np.uint8]) -> dict[str, Any]:
        """Draw the parameters of one call of an albumentations transform."""
        return dict(transform.get_params_dependent_on_data({"shape": frames.shape[1:]}, {"images": frames}))

    def _move(
        self, frames: NDArray[np.uint8], landmarks: NDArray[np.float32]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Apply flip, rotation, scale and shift as one matrix to pixels and landmarks."""
        import cv2

        flipped = self._flip.should_apply()
        matrix = self._draw(self._affine, frames)["matrix"] if self._affine.should_apply() else np.eye(3)
        if flipped:
            matrix, landmarks = matrix @ self._mirror, landmarks[:, FLIP_68]
        elif self._affine.p == 0:
            return frames, landmarks
        moved = np.empty_like(frames)
        for source, target in zip(frames, moved, strict=True):
            cv2.warpAffine(source, matrix[:2], (self.size, self.size), dst=target, borderMode=cv2.BORDER_REPLICATE)
        return moved, move_points(matrix[:2], landmarks)


def exchange_background(
    frames: NDArray[np.uint8], landmarks: NDArray[np.float32], draws: np.random.Generator
) -> NDArray[np.uint8]:
    """Replace everything but the face by random smooth colours, the same in all frames (T, S, S, 3) of the clip.

    Gray pictures get a gray background, so that colour does not distinguish them; frames without landmarks stay
    unchanged.
    """
    import cv2

    from fer_id.explain.regions import face_masks

    colours = draws.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    if (frames[..., 0] == frames[..., 1]).all():
        colours[:] = colours[..., :1]
    scene = cv2.resize(colours, frames.shape[1:3], interpolation=cv2.INTER_CUBIC).astype(np.float32)
    face = face_masks(landmarks, frames.shape[1])[..., None]
    return np.asarray(np.rint(face * frames + (1 - face) * scene), np.uint8)


# 256 equally likely values of a normal distribution, scaled to unit variance; a random byte selects a value.
_QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)])
_QUANTILES /= _QUANTILES.std()


def add_noise(frames: NDArray[np.uint8], std: float, draws: np.random.Generator) -> NDArray[np.uint8]:
    """Add Gaussian sensor noise to uint8 frames (T, H, W, 3), independent between pixels and frames, equal in a pixel's
    channels.

    ``std`` is a part of the full range, in [0, 0.2]. Random bytes index a table of the normal distribution's quantiles:
    ten times faster than drawing normal numbers, whose precision an 8-bit image could not hold.
    """
    import cv2

    count, height, width, _ = frames.shape
    picks = np.frombuffer(draws.bytes(count * height * width), dtype=np.uint8).reshape(count * height, width)
    noise = cv2.LUT(picks, np.rint(_QUANTILES * (std * 255)).astype(np.int16))
    rows = frames.reshape(count * height, width, 3)
    noisy = cv2.add(rows, cv2.merge((noise, noise, noise)), dtype=cv2.CV_8U)
    return np.asarray(noisy, dtype=np.uint8).reshape(frames.shape)
