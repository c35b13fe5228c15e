"""Augmentation is repeatable, the same for all frames of a clip, and moves the landmarks with the pixels."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fer_id.errors import ConfigError
from fer_id.explain.regions import face_masks
from fer_id.preprocessing.augmentation import AugmentConfig, ClipAugmenter, add_noise, exchange_background
from fer_id.simulation.drawn.clip_store import SyntheticConfig, draw_clip
from fer_id.types import FLIP_68

OFF = {"flip": 0, "brightness": 0, "contrast": 0, "rotation_deg": 0, "scale": 0, "shift": 0, "noise": 0, "occlusion": 0}
ALL = AugmentConfig(contrast=0.2, occlusion=0.7)
MOVES = AugmentConfig(**OFF | {"flip": 0.5, "rotation_deg": 20, "scale": 0.15, "shift": 0.08})


def clip(length: int = 4, *, still: bool = False, side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    frames = rng.integers(0, 256, (1 if still else length, side, side, 3), dtype=np.uint8)
    points = rng.uniform(5, 59, (length, 68, 2)).astype(np.float32)
    return np.repeat(frames, length, axis=0) if still else frames, points


def augmented(
    settings: AugmentConfig | dict[str, float], frames: np.ndarray, points: np.ndarray, *, seed: int = 0, epoch: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Augment a clip by a config, or by these settings alone."""
    config = settings if isinstance(settings, AugmentConfig) else AugmentConfig(**OFF | settings)
    return ClipAugmenter(config, frames.shape[1])(frames, points, seed=seed, epoch=epoch, clip_id="a")


def test_the_draw_depends_on_seed_epoch_and_clip_only():
    frames, points = clip()
    frames.flags.writeable = points.flags.writeable = False  # as in a memory-mapped store
    before = frames.copy(), points.copy()
    augment = ClipAugmenter(ALL)
    key = {"seed": 3, "epoch": 2, "clip_id": "a"}
    first = augment(frames, points, **key)
    augment(frames, points, seed=9, epoch=9, clip_id="other")  # leaves no trace
    for worker in (augment, ClipAugmenter(ALL), pickle.loads(pickle.dumps(augment))):  # noqa: S301  # our own bytes
        again = worker(frames, points, **key)
        np.testing.assert_array_equal(again[0], first[0])
        np.testing.assert_array_equal(again[1], first[1])
    for change in ({"seed": 4}, {"epoch": 3}, {"clip_id": "b"}):
        assert (augment(frames, points, **key | change)[0] != first[0]).any()
    np.testing.assert_array_equal(frames, before[0])
    np.testing.assert_array_equal(points, before[1])


@given(epoch=st.integers(0, 10_000))
def test_one_draw_serves_all_frames_and_noise_is_fresh(epoch):
    frames, points = clip(still=True)
    quiet, _ = augmented(AugmentConfig(contrast=0.3, occlusion=1, noise=0), frames, points, epoch=epoch)
    assert (quiet == quiet[:1]).all()
    noisy, _ = augmented({"noise": 0.2}, frames, points, epoch=epoch)
    assert (noisy.shape, noisy.dtype) == (frames.shape, np.uint8)


def test_frames_get_different_noise():
    frames, points = clip(still=True)
    noisy, _ = augmented({"noise": 0.2}, frames, points, epoch=1)
    change = noisy.astype(int) - frames
    assert all((change[i] != change[j]).any() for i in range(4) for j in range(i))


@given(epoch=st.integers(0, 10_000), index=st.sampled_from([8, 30, 36, 45, 48, 54]))
def test_landmarks_follow_the_pixels(epoch, index):
    """A dot drawn at a landmark lies at the augmented landmark afterwards."""
    points = np.random.default_rng(1).uniform(24, 40, (2, 68, 2)).astype(np.float32)
    y, x = np.mgrid[:64, :64]
    dots = [np.exp(-((x - p[index, 0]) ** 2 + (y - p[index, 1]) ** 2) / 8) for p in points]
    frames = np.repeat((255 * np.array(dots)).astype(np.uint8)[..., None], 3, axis=3)
    moved, landmarks = augmented(MOVES, frames, points, seed=1, epoch=epoch)
    weights = moved[..., 0] / moved[..., 0].sum(axis=(1, 2), keepdims=True)
    centre = np.stack([(weights * axis).sum(axis=(1, 2)) for axis in (x, y)], axis=1)
    # Which index the dot has now tells whether the clip was flipped.
    distance = {name: np.abs(landmarks[:, name] - centre).max() for name in {index, FLIP_68[index]}}
    assert min(distance.values()) < 0.1
    assert landmarks.dtype == np.float32


@pytest.mark.parametrize("side", [48, 64])
def test_a_flip_mirrors_pixels_and_names_and_undoes_itself(side):
    frames, points = clip(side=side)
    once = augmented({"flip": 1}, frames, points)
    np.testing.assert_array_equal(once[0], frames[:, :, ::-1])
    for mirrored, index in ((45, 36), (8, 8)):
        np.testing.assert_allclose(once[1][:, mirrored], [side - 1, 0] + points[:, index] * [-1, 1], rtol=1e-6)
    twice = augmented({"flip": 1}, *once, epoch=1)
    np.testing.assert_array_equal(twice[0], frames)
    np.testing.assert_allclose(twice[1], points, atol=1e-5)


def test_missing_landmarks_stay_missing_and_leave_the_frames_unaffected():
    frames, points = clip()
    points[1] = np.nan
    points[2, 36] = np.nan
    known, moved = augmented(MOVES, frames, clip()[1]), augmented(MOVES, frames, points)
    np.testing.assert_array_equal(moved[0], known[0])
    assert np.isnan(moved[1][1]).all()
    assert np.isnan(moved[1]).sum() == 68 * 2 + 2
    np.testing.assert_array_equal(moved[1][np.isfinite(moved[1])], known[1][np.isfinite(moved[1])])


def test_everything_off_changes_nothing():
    frames, points = clip()
    same = augmented({}, frames, points)
    np.testing.assert_array_equal(same[0], frames)
    np.testing.assert_array_equal(same[1], points)


@given(epoch=st.integers(0, 10_000))
def test_a_draw_keeps_within_the_settings(epoch):
    frames, points = np.full((2, 64, 64, 3), 100, np.uint8), clip(2)[1]
    brighter, _ = augmented({"brightness": 0.2}, frames, points, epoch=epoch)
    assert np.ptp(brighter) == 0
    assert abs(int(brighter[0, 0, 0, 0]) - 100) <= 0.2 * 255 + 1
    contrasted, _ = augmented({"contrast": 0.3}, frames, points, epoch=epoch)
    assert 69 <= contrasted.min() <= contrasted.max() <= 131
    # Rotation, scale and shift, read back from where the landmarks went.
    _, moved = augmented(replace(MOVES, flip=0), frames, points, epoch=epoch)
    design = np.concatenate([points[0], np.ones((68, 1), np.float32)], axis=1)
    matrix = np.linalg.lstsq(design, moved[0], rcond=None)[0].T
    assert np.abs(matrix @ [31.5, 31.5, 1] - 31.5).max() <= 0.08 * 64 + 1e-3
    assert 0.85 - 1e-3 <= np.sqrt(np.linalg.det(matrix[:, :2])) <= 1.15 + 1e-3
    assert abs(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))) <= 20 + 1e-3


@given(epoch=st.integers(0, 10_000))
def test_an_occluder_is_one_rectangle_of_one_colour(epoch):
    frames, points = clip()
    covered, same = augmented({"occlusion": 1, "occlusion_size": 0.3}, frames, points, epoch=epoch)
    np.testing.assert_array_equal(same, points)
    rows, columns = (np.flatnonzero((covered != frames).any(axis=(0, 3)).any(axis=axis)) for axis in (1, 0))
    assert 1 <= np.ptp(rows) + 1 <= 0.3 * 64
    assert 1 <= np.ptp(columns) + 1 <= 0.3 * 64
    hidden = covered[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert (hidden == hidden[0, 0, 0]).all()


def test_changes_occur_with_the_set_probabilities():
    frames, points = clip(1)
    flips = sum((augmented({"flip": 0.3}, frames, points, epoch=e)[0] != frames).any() for e in range(600))
    assert stats.binomtest(flips, 600, 0.3).pvalue > 1e-3


def test_noise_is_normal_gray_and_clipped():
    gray = np.full((3, 64, 64, 3), 128, np.uint8)
    noise = add_noise(gray, 0.08, np.random.default_rng(0)).astype(int) - 128
    assert (noise == noise[..., :1]).all()
    sample = noise[..., 0].ravel()
    assert abs(sample.mean()) < 0.6
    assert sample.std() == pytest.approx(0.08 * 255, rel=0.02)
    # Against scipy's normal, spread over the rounding to whole values.
    spread = sample + np.random.default_rng(1).uniform(-0.5, 0.5, sample.size)
    assert stats.kstest(spread, stats.norm(0, 0.08 * 255).cdf).statistic < 0.02
    ends = np.zeros((1, 64, 64, 3), np.uint8)
    ends[:, :, 32:] = 255
    noisy = add_noise(ends, 0.02, np.random.default_rng(0))
    assert noisy[:, :, :32].max() < 128 <= noisy[:, :, 32:].min()


def test_settings_outside_their_limits_are_listed_together():
    with pytest.raises(ConfigError) as caught:
        ClipAugmenter(AugmentConfig(flip=1.5, noise=-0.1, scale=float("nan")))
    for words in ("flip: 1.5", "noise: -0.1", "scale: nan", "at most 1"):
        assert words in str(caught.value)


def drawn_clip() -> tuple[np.ndarray, np.ndarray]:
    config = SyntheticConfig(frames=3, fps=1.5)
    clip = draw_clip(config.subject(0), "happy", 0, config)[1]
    assert clip.valid.all()
    return clip.frames, clip.landmarks


def test_an_exchanged_background_keeps_the_face_and_nothing_else():
    frames, points = drawn_clip()
    face = face_masks(points)
    other = frames.copy()
    other[face < 0.01] = 255 - other[face < 0.01]  # the result does not depend on the original background
    first, second = (exchange_background(clip, points, np.random.default_rng(3)) for clip in (frames, other))
    np.testing.assert_array_equal(first[face > 0.999], frames[face > 0.999])
    np.testing.assert_array_equal(first[face < 0.001], second[face < 0.001])
    assert np.abs(first[face < 0.001].astype(int) - frames[face < 0.001]).mean() > 20
    assert (face > 0.999).mean() > 0.3
    gray = np.repeat(frames[..., :1], 3, axis=-1)
    exchanged = exchange_background(gray, points, np.random.default_rng(3))
    assert (exchanged[..., 0] == exchanged[..., 2]).all()


def test_backgrounds_are_exchanged_with_the_set_probability_and_alike_in_all_frames():
    frames, points = drawn_clip()
    changed = [augmented({"background": 0.5}, frames, points, epoch=epoch)[0] for epoch in range(200)]
    assert stats.binomtest(sum((clip != frames).any() for clip in changed), 200, 0.5).pvalue > 1e-3
    scene = next(clip for clip in changed if (clip != frames).any())
    outside = (face_masks(points) < 0.001).all(axis=0)
    assert (scene[0][outside] == scene[2][outside]).all()
    without = np.full_like(points, np.nan)
    np.testing.assert_array_equal(augmented({"background": 1.0}, frames, without)[0], frames)
