"""Figure of a timeline: heights, rows and words."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from fer_id.labels import TARGET
from fer_id.video.picture import LONGEST_ROW_S, MOST_ROWS, clock, colour, draw

SURE, UNSURE = [0.9, 0.025, 0.025, 0.025, 0.025], [0.4, 0.3, 0.1, 0.1, 0.1]


def words(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_a_segment_has_its_answer_or_its_status(make) -> None:
    assert words(draw(make([SURE, UNSURE, None]))) == ["happy", "for review", "no face"]
    assert words(draw(make([SURE, SURE], threshold=None))) == ["for review"]


def test_heights_are_the_probabilities(make) -> None:
    (axes,) = draw(make([UNSURE, SURE, None])).axes
    areas = [collection for collection in axes.collections if len(collection.get_facecolor())]
    for time, shares in ((1, UNSURE), (3, SURE), (5, [0.0] * 5)):
        heights = {
            name: sum(
                _height(area, time) for area in areas if tuple(area.get_facecolor()[0][:3]) == to_rgb(colour(name))
            )
            for name in TARGET.names
        }
        assert heights == pytest.approx(dict(zip(TARGET.names, shares, strict=True)))


def _height(area, time: float) -> float:
    """Return the height of a stacked area at a time."""
    for path in area.get_paths():
        x, y = path.vertices.T
        if x.min() < time < x.max():
            return float(np.ptp(y[(x >= 2 * (time // 2)) & (x <= 2 * (time // 2) + 2)]))
    return 0.0


@pytest.mark.slow
def test_a_long_video_continues_in_rows(make) -> None:
    count = int(LONGEST_ROW_S)  # windows of two seconds: two rows
    figure = draw(make([SURE] * count))
    limits = [axes.get_xlim() for axes in figure.axes]
    assert limits == [(0, LONGEST_ROW_S), (LONGEST_ROW_S, 2 * LONGEST_ROW_S)]
    assert len(draw(make([SURE] * count * MOST_ROWS)).axes) == MOST_ROWS  # however long it is


def test_clock_formats_minutes_and_seconds() -> None:
    assert [clock(0), clock(75.4), clock(3599.6), clock(75.46, tenths=True)] == ["0:00", "1:15", "60:00", "1:15.5"]


def test_the_figure_names_a_provenance_that_is_not_real(make) -> None:
    assert "synthetic data" in [text.get_text() for text in draw(make([SURE])).texts]
    assert "synthetic data" not in [text.get_text() for text in draw(make([SURE], provenance="real")).texts]
