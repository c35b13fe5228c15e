"""Page of a response surface: where a reader is shown to be better, in a sentence and as a line."""

from itertools import product

import pytest

from fer_id.evaluation.contrasts import RecallEstimate, verdicts
from fer_id.readers.surface import Point, excludes_zero, helps
from fer_id.reporting.benchmark.surface import span, where_it_helps
from fer_id.reporting.benchmark.surface_figures import boundary, surface_figure

PEAKS, RESTINGS = (0.3, 0.6, 1.0), (0.5, 2.0)


def cells_of(values, error=0.01, strays=(0.0, 1.0)):
    """Cells of a grid whose difference at (peak, resting) is ``values[peak, resting]``, 0 where absent."""
    grid = [Point(*place) for place in product(PEAKS, RESTINGS, strays)]
    known = {
        point: RecallEstimate(values.get((point.peak, point.resting), 0.0), error**2, None, 50, 1) for point in grid
    }
    judged = verdicts({str(point): estimate for point, estimate in known.items()}, relevant=0.03)
    return {point: judged[str(point)] for point in grid}


@pytest.mark.parametrize(
    ("better", "words"),
    [
        ([False, True, True], "from peak 0.6 on"),
        ([True, False, False], "up to peak 0.3"),
        ([True, True, True], "at every peak"),
        ([False, False, False], "at no peak"),
        ([True, False, True], "at peak 0.3 and 1"),
        ([False, True, False], "at peak 0.6"),
    ],
)
def test_a_span_of_peaks_in_words(better, words):
    assert span(better, PEAKS) == words


def test_sentences_say_where_it_helps():
    cells = cells_of({(0.6, 0.5): 0.1, (1.0, 0.5): 0.1, (1.0, 2.0): 0.1, (0.3, 2.0): -0.1}, strays=(1.0,))
    assert where_it_helps(cells) == [
        "shown to be better at 3 of 6 points, worse at 1, shown to differ by less than is relevant at 2, "
        "undecided at 0",
        "other movements x 1: better resting face 0.5: from peak 0.6 on; resting face 2: from peak 1 on",
    ]
    alike = cells_of({(1.0, rest): 0.1 for rest in RESTINGS})
    assert where_it_helps(alike)[1:] == [
        f"other movements x {stray}: better from peak 1 on, whatever the resting face" for stray in (0, 1)
    ]
    assert len(where_it_helps(cells_of({}))) == 1


def test_a_point_that_excludes_zero_alone_is_not_shown_among_many():
    verdict = cells_of({(1.0, 2.0): 0.022})[Point(1.0, 2.0, 1.0)]
    assert excludes_zero(verdict)
    assert not helps(verdict)


def test_the_line_runs_between_better_points_and_others():
    cells = cells_of({(0.6, 0.5): 0.1, (1.0, 0.5): 0.1, (1.0, 2.0): 0.1}, strays=(1.0,))
    upright, flat = [((0.5, -0.5), (0.5, 0.5)), ((1.5, 0.5), (1.5, 1.5))], [((0.5, 0.5), (1.5, 0.5))]
    assert sorted(boundary(cells)) == sorted(upright + flat)
    assert boundary(cells_of({})) == []


def test_the_figure_bears_its_provenance_and_a_panel_for_each_rate_of_movements():
    figure = surface_figure("set - frame", cells_of({(1.0, 2.0): 0.1}), 0.1, "simulated")
    assert [axes.get_title() for axes in figure.axes[:2]] == ["other movements x 0", "other movements x 1"]
    assert "simulated data" in [text.get_text() for text in figure.texts]
