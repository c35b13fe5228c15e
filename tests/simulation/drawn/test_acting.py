"""Drawn subjects and performances: reproducibility, distributions of traits, and the need for temporal context."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fer_id.labels import TARGET
from fer_id.simulation.drawn.acting import Performance, Subject, perform, sample_subject
from fer_id.simulation.drawn.geometry import landmarks
from fer_id.simulation.drawn.traits import AGE_GROUPS, CONTEXTS, GENDERS, SEVERITIES, SEVERITY_SHARES, sample_traits

TIMES = np.arange(10) / 5


def subject(index: int = 0, resting: float = 1.0) -> Subject:
    return sample_subject(index, 7, resting, TARGET.names)


def clip(emotion: str, number: int = 0, who: int = 0, strays: float = 1.0) -> Performance:
    return perform(subject(who), emotion, TIMES, np.random.default_rng(number), 0.0, strays)


def test_severity_delays_weakens_and_shortens() -> None:
    drawn = [sample_traits(index, 1, np.random.default_rng([1, index])) for index in range(600)]
    by = {name: [t.dynamics for t in drawn if t.severity == name] for name in SEVERITIES}
    shares = [len(by[name]) / len(drawn) for name in SEVERITIES]
    np.testing.assert_allclose(shares, SEVERITY_SHARES, atol=0.06)
    for field, direction in (("peak", -1), ("onset_s", 1), ("rise_s", 1), ("apex_s", -1)):
        medians = [np.median([getattr(d, field) for d in by[name]]) for name in SEVERITIES]
        assert np.all(np.diff(medians) * direction > 0), field
        for name, middle in zip(SEVERITIES, medians, strict=True):
            assert middle == pytest.approx(getattr(SEVERITIES[name], field), rel=0.1)


def test_six_subjects_have_every_age_group_and_gender() -> None:
    drawn = [sample_traits(index, 0, np.random.default_rng(0)) for index in range(6)]
    assert {(t.age_group, t.gender) for t in drawn} == {(age, gender) for age in AGE_GROUPS for gender in GENDERS}


def test_a_subject_depends_on_seed_and_index_alone() -> None:
    once, again, other = subject(3), subject(3), subject(4)
    assert once.traits == again.traits
    assert once.look == again.look
    np.testing.assert_array_equal(once.rest, again.rest)
    assert other.look != once.look


def test_without_resting_differences_all_rest_alike() -> None:
    assert not subject(3, resting=0.0).rest.any()


@pytest.mark.parametrize("emotion", TARGET.names)
def test_a_clip_is_finite_and_bounded(emotion: str) -> None:
    for number in range(20):
        act = clip(emotion, number)
        assert act.context in CONTEXTS
        assert act.activation.shape == (10, 2, 14)
        assert act.activation.min() >= -0.35
        assert act.activation.max() <= 1.2
        assert act.intensity.min() >= 0
        assert act.intensity.max() <= 1
        assert np.isfinite(act.head).all()
        assert np.abs(act.gaze).max() <= 1
        assert bool(act.intensity.any()) == (emotion != "neutral")


def test_neutral_faces_move_too() -> None:
    assert np.ptp(clip("neutral").activation, axis=0).max() > 0.05


@pytest.mark.slow
def test_change_is_more_informative_than_any_single_frame() -> None:
    """Logistic regression, leave one subject out: features of change beat the best frame by 5 points or more."""
    shapes, labels, who = [], [], []
    for index in range(10):
        person = subject(index)
        for number, emotion in enumerate(np.repeat(TARGET.names, 8)):
            act = perform(person, str(emotion), TIMES, np.random.default_rng([index, number]), 0.0, 1.0)
            shapes.append([landmarks(person.look.shape, frame)[17:, :2].ravel() for frame in act.activation])
            labels.append(emotion)
            who.append(index)
    x = np.array(shapes)
    # The moment of greatest change is unknown: the extremes of every coordinate against the first frames.
    change = x - np.median(x[:, :3], axis=1, keepdims=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=1000))

    def score(features: np.ndarray) -> float:
        return float(cross_val_score(model, features, labels, groups=who, cv=LeaveOneGroupOut()).mean())

    best_frame = max(score(x[:, frame]) for frame in range(4, 10))
    over_time = score(
        np.concatenate([np.sort(change, axis=1)[:, [1, -2]].reshape(len(x), -1), change.mean(axis=1)], axis=1)
    )
    assert 0.4 < best_frame < 0.8
    assert over_time >= best_frame + 0.05
