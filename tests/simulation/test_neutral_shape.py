"""Estimated faces at rest against the known rest of drawn faces."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from fer_id.errors import DataError
from fer_id.labels import TARGET
from fer_id.simulation.drawn.acting import sample_subject
from fer_id.simulation.drawn.geometry import Pose, landmarks
from fer_id.simulation.neutral_shape import EYE_DISTANCE, NeutralShapes, to_crop, turned


def face(index: int, emotion: str, strength: float) -> np.ndarray:
    """Return the landmarks (68, 2) of a drawn person in an aligned crop, head slightly turned."""
    person = sample_subject(index, 5, 0.5, TARGET.names)
    yaw, pitch = np.random.default_rng(index).normal(0, 0.1, 2)
    points = landmarks(person.look.shape, person.rest + strength * person.habits[emotion])
    return to_crop(100 * Pose(yaw=yaw, pitch=pitch).project(points))


@pytest.fixture(scope="module")
def model() -> NeutralShapes:
    return NeutralShapes.fit(np.stack([face(index, "neutral", 0.0) for index in range(100, 400)]))


@pytest.mark.parametrize("emotion", ["happy", "sad", "angry", "fear"])
def test_the_displacement_of_unseen_people_is_estimated(emotion: str, model: NeutralShapes) -> None:
    apex = np.stack([face(index, emotion, 1.0) for index in range(40)])
    rest = np.stack([face(index, emotion, 0.0) for index in range(40)])
    estimated, true = apex - model.neutral_of(apex), apex - rest
    assert (estimated * true).sum() / np.sqrt((estimated**2).sum() * (true**2).sum()) > 0.7


def test_a_face_at_rest_stays(model: NeutralShapes) -> None:
    rest = np.stack([face(index, "neutral", 0.0) for index in range(40)])
    assert np.linalg.norm(model.neutral_of(rest) - rest, axis=-1).mean() < 0.03 * EYE_DISTANCE


def test_the_components_equal_those_of_sklearn() -> None:
    shapes = np.stack([face(index, "neutral", 0.0) for index in range(120)])
    theirs = PCA(5).fit(shapes.reshape(120, -1))
    mine = NeutralShapes.fit(shapes, components=5)
    np.testing.assert_allclose(mine.mean, theirs.mean_, atol=1e-4)
    np.testing.assert_allclose(np.abs((mine.components * theirs.components_).sum(axis=1)), 1, atol=1e-4)


def test_wrong_landmarks_fit_badly(model: NeutralShapes) -> None:
    good = face(3, "happy", 1.0)
    wrong = good.copy()
    wrong[27:31] += [4.0, -3.0]
    assert model.misfit(good) < 0.03 < model.misfit(wrong)


def test_turned_has_the_sign_of_the_yaw() -> None:
    points = landmarks(sample_subject(0, 5, 0.0, TARGET.names).look.shape, np.zeros(14))
    offsets = [turned(to_crop(100 * Pose(yaw=yaw).project(points))) for yaw in (-0.4, 0.0, 0.4)]
    assert offsets[0] < -0.15 < offsets[1] < 0.15 < offsets[2]


def test_too_few_faces_are_refused() -> None:
    with pytest.raises(DataError, match="47 neutral faces with landmarks, expected at least 48"):
        NeutralShapes.fit(np.zeros((47, 68, 2)))
