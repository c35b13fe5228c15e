"""The timeline as a picture: true at any length, and never a word where there is no answer."""

import pytest
from matplotlib.patches import Rectangle

from fer_id.labels import TARGET
from fer_id.review.picture import LONGEST_ROW_S, MOST_ROWS, clock, colour, draw

SURE, UNSURE = [0.9, 0.025, 0.025, 0.025, 0.025], [0.4, 0.3, 0.1, 0.1, 0.1]


def words(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_a_stretch_has_its_answer_or_none(make) -> None:
    assert words(draw(make([SURE, UNSURE, None]))) == ["happy", "for review", "no face"]
    assert words(draw(make([SURE, SURE], threshold=None))) == ["for review"]


def test_heights_are_the_probabilities(make) -> None:
    (axes,) = draw(make([UNSURE, None])).axes
    bars = [one for one in axes.patches if isinstance(one, Rectangle) and one.get_y() >= 0 and one.get_x() == 0]
    heights = {
        name: bar.get_height() for name in TARGET.names for bar in bars if bar.get_facecolor()[:3] == _rgb(colour(name))
    }
    assert heights == pytest.approx(dict(zip(TARGET.names, UNSURE, strict=True)))


def _rgb(name: str) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return to_rgb(name)


def test_a_long_video_goes_on_in_rows(make) -> None:
    count = int(LONGEST_ROW_S)  # windows of two seconds: two rows
    figure = draw(make([SURE] * count))
    limits = [axes.get_xlim() for axes in figure.axes]
    assert limits == [(0, LONGEST_ROW_S), (LONGEST_ROW_S, 2 * LONGEST_ROW_S)]
    assert len(draw(make([SURE] * count * MOST_ROWS)).axes) == MOST_ROWS


def test_the_clock() -> None:
    assert [clock(0), clock(75.4), clock(3599.6), clock(75.46, tenths=True)] == ["0:00", "1:15", "60:00", "1:15.5"]


def test_provenance_is_drawn_into_it(make) -> None:
    assert "synthetic data" in [text.get_text() for text in draw(make([SURE])).texts]
    assert "synthetic data" not in [text.get_text() for text in draw(make([SURE], provenance="real")).texts]
