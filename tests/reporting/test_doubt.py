import html

import numpy as np
import pandas as pd
import pytest

from fer_id.errors import DataError
from fer_id.evaluation.confidence.selective import risk_coverage
from fer_id.evaluation.evaluate import Options
from fer_id.reporting.doubt import sentences
from fer_id.reporting.figures import risk_coverage_curve
from fer_id.reporting.report import evaluate_run
from fer_id.runs.metrics import Review

pytestmark = pytest.mark.usefixtures("sketched_figures")


@pytest.fixture
def doubting(make_run):
    """A run with twelve children of inner validation and six others who are tested."""
    known = make_run("study/known", clips=240, subjects=12, seed=1, skill=2.5).predictions().assign(split="validation")
    test = make_run("study/test", clips=120, subjects=6, seed=2, skill=2.5).predictions()
    test = test.assign(subject_id="t" + test["subject_id"], clip_id="t" + test["clip_id"])
    return make_run(table=pd.concat([known, test], ignore_index=True))


def test_the_report_describes_review_and_prediction_sets(doubting):
    metrics = evaluate_run(doubting)
    table = doubting.predictions()
    test = table[table["split"] == "test"]
    assert metrics["review"]["flagged"] == pytest.approx(test["flagged"].mean())
    assert metrics["conformal"]["coverage"] == pytest.approx(
        np.mean([label in text.split("|") for label, text in zip(test["label"], test["set"], strict=True)])
    )
    page = html.unescape((doubting.path / "report.html").read_text())
    lines = sentences(metrics, people=True)
    assert len(lines) >= 2
    assert all(sentence in page for sentence in lines)
    assert "20\u202f% of the answers are wrong" in lines[0]
    assert "chosen beforehand" in (doubting.figures / "risk_coverage.svg").read_text()


def test_a_stricter_risk_flags_more_and_a_higher_level_names_more(doubting):
    easy = evaluate_run(doubting, Options(risk=0.3, level=0.6))
    strict = evaluate_run(doubting, Options(risk=0.1, level=0.9))
    assert (easy["review"]["risk"], strict["conformal"]["level"]) == (0.3, 0.9)
    assert strict["review"]["flagged"] > easy["review"]["flagged"]
    assert strict["conformal"]["mean_size"] > easy["conformal"]["mean_size"]


def test_evaluating_again_changes_nothing(doubting):
    once, table = evaluate_run(doubting), doubting.predictions()
    assert evaluate_run(doubting) == once
    pd.testing.assert_frame_equal(doubting.predictions(), table)


def test_without_inner_validation_the_report_says_why_everything_is_flagged(make_run):
    lines = sentences(evaluate_run(make_run()), people=True)
    assert any("Everything is flagged: 0 subjects" in sentence for sentence in lines)
    assert any("insufficient evidence" in sentence for sentence in lines)


def test_of_a_benchmark_the_units_are_image_groups(make_run, doubting):
    runs = (make_run("study/a"), doubting)
    lines = [line for run in runs for line in sentences(evaluate_run(run), people=False)]
    assert any("Everything is flagged: 0 image groups" in line for line in lines)
    assert any("bound over image groups" in line for line in lines)
    assert not any("subject" in line or "child" in line for line in lines)


def test_metrics_of_an_older_version_say_nothing(make_run):
    assert sentences(make_run().metrics(), people=True) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p_happy": 0.9}, "do not sum to 1"),
        ({"logit_happy": np.nan}, "a logit is NaN or infinite"),
        ({"split": "training"}, "split is none of test, validation, calibration"),
    ],
)
def test_bad_predictions_are_refused_and_nothing_is_written(doubting, change, message):
    table = doubting.predictions().assign(**change)
    doubting.write_predictions(table)
    before = (doubting.path / "metrics.json").read_bytes()
    with pytest.raises(DataError, match=message):
        evaluate_run(doubting)
    assert (doubting.path / "metrics.json").read_bytes() == before
    pd.testing.assert_frame_equal(doubting.predictions(), table)


def test_a_figure_without_an_answered_clip_has_no_chosen_point():
    curve = risk_coverage(np.array([0.9, 0.8, 0.3]), np.array([True, False, True]))
    figure = risk_coverage_curve(curve, "synthetic", Review(risk=0.2, thresholds={}, coverage=0.0))
    _, labels = figure.axes[0].get_legend_handles_labels()
    assert labels == ["picked on these test clips: too good"]
