"""Timelines: the time that a window stands for, its answer, and the joining to segments."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from fer_id.labels import TARGET
from fer_id.preprocessing.tracking import FOUND, NO_FACE, SOMEONE_ELSE, windows
from fer_id.video import timeline as module
from fer_id.video.timeline import ANSWERED, FOR_REVIEW, TOO_LITTLE, judge_windows, spans, with_face

SURE, UNSURE = [0.9, 0.025, 0.025, 0.025, 0.025], [0.4, 0.3, 0.1, 0.1, 0.1]


@given(length=st.integers(1, 200), size=st.integers(1, 30), stride=st.integers(1, 30), fps=st.floats(0.5, 60))
def test_every_moment_belongs_to_exactly_one_window_that_contains_it(length, size, stride, fps) -> None:
    table = spans(windows(length, size, min(stride, size)), fps, length / fps)
    assert table["from_s"].iloc[0] == 0
    assert table["to_s"].iloc[-1] == pytest.approx(length / fps)
    np.testing.assert_array_equal(table["from_s"].iloc[1:], table["to_s"].iloc[:-1])
    assert (table["from_s"] < table["to_s"]).all()
    assert (table["start_s"] <= table["from_s"] + 1e-9).all()
    assert (table["to_s"] <= table["end_s"] + 1e-9).all()


def test_windows_that_touch_stand_for_their_own_time() -> None:
    table = spans([(0, 10), (10, 20), (15, 25)], 5.0, 5.0)
    assert table["from_s"].tolist() == [0, 2, 3.5]
    assert table["to_s"].tolist() == [2, 3.5, 5]
    assert table["start_s"].tolist() == [0, 2, 3]


def test_a_face_outside_the_time_that_a_window_stands_for_does_not_count() -> None:
    frames = pd.DataFrame({"time_s": np.arange(20) / 5, "outcome": [FOUND] * 6 + [NO_FACE] * 14})
    times = spans([(0, 10), (5, 15), (10, 20)], 5.0, 4.0)  # they stand for 0 to 1.5, to 2.5, to 4
    assert with_face(times, frames).tolist() == [True, False, False]


@given(
    logits=st.lists(st.lists(st.floats(-8, 8), min_size=5, max_size=5), min_size=1, max_size=8),
    temperature=st.one_of(st.none(), st.floats(0.1, 10)),
    threshold=st.one_of(st.none(), st.floats(0, 1)),
    data=st.data(),
)
def test_only_a_window_that_is_sure_enough_has_an_answer(logits, temperature, threshold, data) -> None:
    seen = np.array(data.draw(st.lists(st.booleans(), min_size=len(logits), max_size=len(logits))))
    times = spans(windows(len(logits), 1, 1), 1.0, float(len(logits)))
    valid = [(int(visible), 1) for visible in seen]
    table = judge_windows(times, valid, seen, np.array(logits), TARGET, temperature, threshold)
    expected = special.softmax(np.array(logits) / (temperature or 1), axis=1)
    for row, shares, face in zip(table.to_dict("records"), expected, seen, strict=True):
        sure = face and threshold is not None and shares.max() >= threshold
        assert row["answer"] == (TARGET.names[int(shares.argmax())] if sure else None)
        assert row["status"] == (ANSWERED if sure else FOR_REVIEW if face else module.NO_FACE)
        kind = "p" if temperature is None else "q"
        probabilities = [row[f"{kind}_{name}"] for name in TARGET.names]
        np.testing.assert_allclose(probabilities, shares if face else [np.nan] * 5, rtol=1e-9)
        assert temperature is not None or np.isnan(row["q_happy"])


def test_equal_neighbouring_answers_are_joined_and_windows_for_review_are_not(make) -> None:
    timeline = make([SURE, SURE, UNSURE, UNSURE, None, None, SURE])
    segments = [(segment.start_s, segment.end_s, segment.status, segment.answer) for segment in timeline.segments()]
    assert segments == [
        (0, 4, ANSWERED, "happy"),
        (4, 6, FOR_REVIEW, None),
        (6, 8, FOR_REVIEW, None),
        (8, 12, module.NO_FACE, None),
        (12, 14, ANSWERED, "happy"),
    ]
    assert timeline.segments()[1].words == "happy 40 %, sad 30 %, angry 10 %, fear 10 %, neutral 10 %"
    assert timeline.seconds == {ANSWERED: 6.0, FOR_REVIEW: 4.0, TOO_LITTLE: 0.0, module.NO_FACE: 4.0}


def test_windows_for_review_are_joined_within_one_second(make) -> None:
    timeline = make([UNSURE])
    times = spans([(n, n + 1) for n in range(7)], 5.0, 1.4)
    logits = np.log([[0.4, 0.3, 0.1, 0.1, 0.1]] * 4 + [[0.2, 0.5, 0.1, 0.1, 0.1]] * 3)
    table = judge_windows(times, [(1, 1)] * 7, np.ones(7, bool), logits, TARGET, 1.0, None)
    segments = replace(timeline, windows=table).segments()
    assert [(segment.start_s, round(segment.end_s, 6)) for segment in segments] == [(0, 1), (1, 1.4)]
    assert [segment.words.split(", neu")[0] for segment in segments] == [
        "happy 36 %, sad 34 %, angry 10 %, fear 10 %",
        "happy 20 %, sad 50 %, angry 10 %, fear 10 %",
    ]


def test_gaps_have_times_and_a_reason(make) -> None:
    timeline = make([SURE, None], lost=[3, 4])
    timeline.frames.loc[4, "outcome"] = SOMEONE_ELSE
    gaps = [(round(gap.start_s, 6), round(gap.end_s, 6), gap.words) for gap in timeline.gaps()]
    assert gaps == [(0.6, 0.8, "no face"), (0.8, 1.0, "another face only"), (2.0, 4.0, "no face")]


def test_the_models_sentence_names_use_and_provenance(make) -> None:
    assert "does not diagnose" in make([SURE]).about.sentence
    assert "synthetic data only" in make([SURE]).about.sentence
    assert "only" not in make([SURE], provenance="real").about.sentence


@pytest.mark.parametrize(
    ("n_valid", "status"), [(10, ANSWERED), (5, ANSWERED), (4, TOO_LITTLE), (1, TOO_LITTLE), (0, module.NO_FACE)]
)
def test_five_of_ten_frames_are_enough_of_a_face_and_four_are_not(n_valid: int, status: str) -> None:
    times = spans([(0, 10)], 5.0, 2.0)
    table = judge_windows(times, [(n_valid, 10)], np.array([n_valid > 0]), np.log([SURE]), TARGET, 1.0, 0.5)
    assert table["status"].tolist() == [status]
    assert table["answer"].tolist() == ["happy" if status == ANSWERED else None]
    assert table["q_happy"].isna().tolist() == [status != ANSWERED]


def test_too_little_of_a_face_may_be_labelled_and_never_names_a_class(make) -> None:
    from fer_id.video import boris_writer as boris
    from fer_id.video import elan

    timeline = make([SURE, SURE], lost=[0, 1, 2, 3, 4, 5])
    assert [segment.status for segment in timeline.segments()] == [TOO_LITTLE, ANSWERED]
    text = elan.write(timeline, "a.mp4").decode()
    assert text.count(f"<ANNOTATION_VALUE>{TOO_LITTLE}<") == 1
    assert boris.is_models(TOO_LITTLE)
    assert TOO_LITTLE in boris.write_table(timeline, "a.mp4").decode()
