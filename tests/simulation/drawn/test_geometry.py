"""Landmarks of a drawn head: iBUG order, symmetry, and displacements by action units after FACS."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_id.preprocessing.alignment import eye_centres
from fer_id.simulation.drawn.expression import ACTION_UNITS, Array, prototype, units
from fer_id.simulation.drawn.geometry import HeadShape, Pose, landmarks
from fer_id.types import FLIP_68

SHAPE = HeadShape()
REST = landmarks(SHAPE, units())


def moved(**activation: float) -> Array:
    """Return the displacement of each point from rest, (68, 3)."""
    return landmarks(SHAPE, units(**activation)) - REST


@pytest.mark.parametrize("emotion", ["happy", "sad", "angry", "fear", "neutral"])
def test_an_even_face_is_its_own_mirror_image(emotion: str) -> None:
    points = landmarks(SHAPE, prototype(emotion))
    np.testing.assert_allclose(points[list(FLIP_68)] * [-1, 1, 1], points, atol=1e-12)


def test_one_sided_units_move_one_side() -> None:
    activation = np.stack([units(AU12=1, AU2=1), units()])
    change = np.abs(landmarks(SHAPE, activation) - REST).sum(axis=1)
    assert change[[17, 48]].min() > 0.1
    assert change[[26, 54]].max() == 0


def test_the_eyes_are_one_unit_apart() -> None:
    left, right = eye_centres(REST[:, :2])
    assert right[0] - left[0] == pytest.approx(1.0, abs=0.01)
    assert left[1] == pytest.approx(right[1])


def test_action_units_move_the_points_that_facs_names() -> None:
    inner, outer = [21, 22], [17, 26]
    assert (moved(AU1=1)[inner, 1] < -0.1).all()
    assert np.abs(moved(AU1=1)[outer, 1]).max() < 0.02
    assert (moved(AU2=1)[outer, 1] < -0.1).all()
    lowered = moved(AU4=1)
    assert (lowered[17:27, 1] > 0.05).all()
    assert lowered[21, 0] > 0 > lowered[22, 0]
    assert (moved(AU5=1)[[37, 38, 43, 44], 1] < -0.05).all()
    assert (moved(AU6=1)[[40, 41, 46, 47], 1] < -0.02).all()
    smile = moved(AU12=1)
    assert smile[48, 0] < -0.05
    assert smile[54, 0] > 0.05
    assert (smile[[48, 54], 1] < -0.1).all()
    assert (moved(AU15=1)[[48, 54], 1] > 0.08).all()
    assert moved(AU20=1)[54, 0] > 0.05
    assert moved(AU26=1)[8, 1] > 0.2


def test_a_blink_closes_the_eyes() -> None:
    closed = landmarks(SHAPE, units(AU45=1))
    assert np.abs(closed[[37, 38], 1] - closed[[41, 40], 1]).max() < 0.03


def test_lips_part_only_with_au25() -> None:
    assert np.abs(REST[61:64, 1] - REST[[67, 66, 65], 1]).max() < 1e-9
    parted = landmarks(SHAPE, units(AU25=1))
    assert (parted[[67, 66, 65], 1] - parted[61:64, 1] > 0.05).all()


@given(st.integers(0, 2**32 - 1))
def test_eyelids_and_lips_never_cross(seed: int) -> None:
    activation = np.random.default_rng(seed).uniform(-0.35, 1.2, (2, len(ACTION_UNITS)))
    p = landmarks(SHAPE, activation)
    assert np.isfinite(p).all()
    for above, below in ((37, 41), (38, 40), (43, 47), (44, 46), (61, 67), (62, 66), (63, 65)):
        assert p[above, 1] <= p[below, 1] + 0.02


def test_pose_turns_the_near_points_most() -> None:
    still, turned = Pose().project(REST), Pose(yaw=0.2).project(REST)
    np.testing.assert_allclose(still, REST[:, :2])
    assert turned[30, 0] - still[30, 0] > turned[8, 0] - still[8, 0] > 0  # nose tip before the chin
    rolled = Pose(roll=np.pi / 2).project(REST)
    np.testing.assert_allclose(np.linalg.norm(rolled[45] - rolled[36]), np.linalg.norm(still[45] - still[36]))


def test_faces_of_a_clip_are_those_of_its_frames() -> None:
    course = np.random.default_rng(0).uniform(-0.3, 1.2, (5, 2, len(ACTION_UNITS)))
    np.testing.assert_array_equal(landmarks(SHAPE, course), np.stack([landmarks(SHAPE, frame) for frame in course]))
    with pytest.raises(ValueError, match=r"\(5, 14\): expected"):
        landmarks(SHAPE, course[:, 0])
