"""Drawn stores: complete, reproducible, and in the geometry of all crops."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_id.errors import ConfigError
from fer_id.explain.regions import OUTSIDE, REGIONS, region_masks
from fer_id.labels import TARGET
from fer_id.preprocessing.alignment import EYES_64, eye_centres
from fer_id.simulation.drawn.acting import perform, sample_subject
from fer_id.simulation.drawn.clip_store import SyntheticConfig, draw_clip, write_synthetic_store
from fer_id.simulation.drawn.rendering import ClipPainter
from fer_id.simulation.drawn.traits import GROUPS
from fer_id.simulation.strips import film_strips
from fer_id.store.reader import ClipStore

SMALL = SyntheticConfig(subjects=3, clips_per_emotion=1, frames=6)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ClipStore:
    path = tmp_path_factory.mktemp("drawn") / "store"
    write_synthetic_store(SMALL, path)
    return ClipStore.open(path)


def test_the_table_of_a_drawn_store(store: ClipStore) -> None:
    assert len(store) == 3 * 5
    assert (store.card.provenance, store.card.landmarks_from) == ("synthetic", "drawn")
    assert store.card.groups == list(GROUPS)
    assert set(store.clips["label"]) == set(TARGET.names)
    assert store.clips[list(GROUPS)].notna().all(axis=None)
    assert store.clips.groupby("subject_id")[list(GROUPS[:-1])].nunique().eq(1).all(axis=None)
    assert store.clips["intensity"].map(len).eq(6).all()


def test_landmarks_are_finite_exactly_where_a_face_is_visible(store: ClipStore) -> None:
    for row in range(len(store)):
        clip = store.read(row)
        np.testing.assert_array_equal(np.isfinite(clip.landmarks).all(axis=(1, 2)), clip.valid)


def test_eyes_lie_where_every_crop_has_them(store: ClipStore) -> None:
    clips = [store.read(row) for row in range(len(store))]
    eyes = np.array([eye_centres(points) for clip in clips for points in clip.landmarks[clip.valid]])
    np.testing.assert_allclose(eyes.mean(axis=0), EYES_64, atol=0.1)
    assert 0.1 < eyes.std(axis=0).mean() < 0.5  # the detector's own uncertainty


def test_the_drawn_eyes_are_at_the_landmarks(store: ClipStore) -> None:
    """Irises, the darkest part inside an eye, and the sclera make eyes contrast with the cheek below them."""
    for row in range(len(store)):
        clip = store.read(row)
        frame, points = clip.frames[0].astype(float).mean(axis=2), clip.landmarks[0]
        if not clip.valid[0]:
            continue
        for eye in (slice(36, 42), slice(42, 48)):
            (x0, y0), (x1, y1) = points[eye].min(axis=0).astype(int), np.ceil(points[eye].max(axis=0)).astype(int)
            assert np.ptp(frame[y0 : y1 + 1, x0 : x1 + 1]) > 25


def test_two_processes_draw_the_same_store_as_one(store: ClipStore, tmp_path: Path) -> None:
    write_synthetic_store(SMALL, tmp_path / "two", workers=2)
    for path in sorted(store.path.rglob("*.npy")):
        assert (tmp_path / "two" / path.relative_to(store.path)).read_bytes() == path.read_bytes()
    assert ClipStore.open(tmp_path / "two").clips.equals(store.clips)


def test_a_clip_does_not_depend_on_the_size_of_the_cohort(store: ClipStore, tmp_path: Path) -> None:
    write_synthetic_store(replace(SMALL, subjects=1, clips_per_emotion=2), tmp_path / "again")
    again = ClipStore.open(tmp_path / "again")
    rows = {name: row for row, name in enumerate(again.clips["clip_id"])}
    for row, name in enumerate(store.clips["clip_id"]):
        if name in rows:
            for ours, theirs in zip(store.read(row), again.read(rows[name]), strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_another_seed_draws_other_clips() -> None:
    clips = [
        draw_clip(sample_subject(0, seed, 1.0, TARGET.names), "happy", 0, replace(SMALL, seed=seed)) for seed in (1, 2)
    ]
    assert not np.array_equal(clips[0][1].frames, clips[1][1].frames)


def test_some_frames_have_no_face_but_few() -> None:
    person, times = sample_subject(1, 7, 1.0, TARGET.names), SMALL.times
    visible = []
    for number in range(150):
        rng = np.random.default_rng(number)
        painter = ClipPainter(person, perform(person, "sad", times, rng, 0.0, 1.0), times, rng)
        visible += [painter.visible(frame) for frame in range(len(times))]
    assert 0.002 < 1 - np.mean(visible) < 0.06


def test_every_impossible_value_is_named_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    broken = SyntheticConfig(subjects=0, frames=1, fps=-1.0, subtlety=2.0, resting=float("nan"))
    with pytest.raises(ConfigError) as caught:
        write_synthetic_store(broken, tmp_path / "store")
    for key in ("subjects", "frames", "fps", "subtlety", "resting"):
        assert f"{key} is" in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("frames", [3, 100])
def test_film_strips_also_of_long_clips_fit_on_a_screen(frames: int, tmp_path: Path) -> None:
    picture = Image.open(film_strips(replace(SMALL, frames=frames), tmp_path / "strips.png"))
    assert picture.format == "PNG"
    assert picture.width < 4000


def test_the_planted_shortcut_encodes_the_label_outside_the_face() -> None:
    config = SyntheticConfig(frames=3, fps=1.5)
    planted, subject = replace(config, shortcut="patch"), config.subject(1)
    colours = []
    for emotion in TARGET.names:
        row, clip = draw_clip(subject, emotion, 0, planted)
        plain_row, plain = draw_clip(subject, emotion, 0, config)
        assert row == plain_row
        changed = (clip.frames != plain.frames).any(axis=(0, 3))
        assert 0 < changed.mean() < 0.06
        outside = region_masks(plain.landmarks[plain.valid])[:, [REGIONS.index(name) for name in OUTSIDE]].sum(axis=1)
        assert outside[:, changed].mean() > 0.6
        colours.append(np.median(clip.frames[:, changed], axis=(0, 1)))
    distance = np.linalg.norm(np.array(colours)[:, None] - np.array(colours), axis=-1)
    assert distance[~np.eye(5, dtype=bool)].min() > 40
