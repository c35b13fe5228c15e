"""Action units and their course through time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_id.labels import TARGET
from fer_id.simulation.drawn.expression import ACTION_UNITS, AU_INDEX, PROTOTYPES, TimeCourse, prototype, units

seconds = st.floats(0.05, 2.0)


def test_every_target_emotion_has_a_prototype() -> None:
    assert set(PROTOTYPES) == set(TARGET.names)
    for emotion in TARGET.names:
        assert prototype(emotion).shape == (len(ACTION_UNITS),)
        assert 0 <= prototype(emotion).min() <= prototype(emotion).max() <= 1


def test_units_by_name() -> None:
    vector = units(AU12=0.5, AU6=1)
    assert vector[AU_INDEX[12]] == 0.5
    assert vector[AU_INDEX[6]] == 1
    assert vector.sum() == 1.5
    with pytest.raises(KeyError):
        units(AU99=1)


@given(seconds, seconds, seconds, seconds, st.floats(0, 1), st.none() | seconds)
def test_intensity_stays_between_rest_and_peak(
    onset: float, rise: float, apex: float, fall: float, peak: float, lapse: float | None
) -> None:
    times = np.linspace(0, 6, 100)
    curve = TimeCourse(onset, rise, apex, fall, peak, lapse).intensity(times)
    assert 0 <= curve.min() <= curve.max() <= peak + 1e-12
    assert not curve[times <= onset].any()


def test_onset_apex_offset() -> None:
    course = TimeCourse(onset_s=0.5, rise_s=0.5, apex_s=1.0, fall_s=1.0, peak=0.8)
    np.testing.assert_allclose(course.intensity(np.array([0.5, 0.75, 1.0, 2.0, 2.5, 3.0])), [0, 0.4, 0.8, 0.8, 0.4, 0])


def test_a_lapse_breaks_the_apex_off() -> None:
    course = TimeCourse(onset_s=0.1, rise_s=0.2, apex_s=2.0, fall_s=0.5, peak=1.0, lapse=1.0)
    before, during, after = course.intensity(np.array([0.5, 1.0, 1.6]))
    assert before > 0.95
    assert after > 0.95
    assert during == pytest.approx(0.1)
