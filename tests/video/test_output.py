"""Sentences of the page and the terminal for readers who are no engineers."""

from dataclasses import replace

import pytest

from fer_id.preprocessing.tracking import DAMAGED, NO_FACE, SOMEONE_ELSE, TOO_SMALL
from fer_id.video.output import notes, sentences

SURE, UNSURE = [0.9, 0.025, 0.025, 0.025, 0.025], [0.4, 0.3, 0.1, 0.1, 0.1]


@pytest.mark.parametrize(
    ("outcome", "headline", "reasons"),
    [
        (NO_FACE, "No face in any frame.", "(10 frames looked at)."),
        (SOMEONE_ELSE, "The face cannot be read in any frame.", "(10 frames looked at: another face only in 10)."),
        (TOO_SMALL, "The face cannot be read in any frame.", "(10 frames looked at: too small in 10)."),
    ],
)
def test_a_video_without_a_readable_face_says_whether_there_is_one(make, outcome, headline, reasons) -> None:
    timeline = make([None])
    first, second = sentences(replace(timeline, frames=timeline.frames.assign(outcome=outcome)))
    assert first == headline
    assert second.endswith(reasons)


def test_damaged_pictures_are_not_called_a_video_without_a_face(make) -> None:
    timeline = make([SURE, None])
    frames = timeline.frames.assign(outcome=timeline.frames["outcome"].replace(NO_FACE, DAMAGED))
    assert sentences(replace(timeline, frames=frames)) == [
        "Of 4.0 s of video, 2.0 s are answered; 2.0 s do not show the face.",
        "10 of 20 frames that were looked at show the face (damaged in 10).",
    ]


@pytest.mark.parametrize(("threshold", "why"), [(0.5, ", as the model is not sure enough"), (None, "")])
def test_a_model_without_a_threshold_is_not_called_unsure(make, threshold: float | None, why: str) -> None:
    assert sentences(make([UNSURE], threshold=threshold)) == [
        f"Of 2.0 s of video, 2.0 s are for review by a person{why}."
    ]


def test_caveats_of_the_video_are_given_also_without_an_answer(make) -> None:
    timeline = make([SURE], lost=range(8))
    timeline = replace(timeline, about=replace(timeline.about, notes=("of answers",), of_video=("whose",)))
    assert notes(timeline) == ("whose",)
    assert notes(replace(timeline, frames=timeline.frames.assign(outcome=NO_FACE))) == ()
    answered = make([SURE])
    assert notes(replace(answered, about=timeline.about)) == ("whose", "of answers")
