import re

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.text import Text

from fer_id.evaluation.confidence.calibration import reliability
from fer_id.evaluation.metrics import compute_metrics
from fer_id.labels import FER7
from fer_id.reporting import figures, style
from fer_id.reporting.comparison.figures import learning_curves, settings_figure
from fer_id.reporting.style import svg


def words_of(figure) -> str:
    return " | ".join(text.get_text() for text in figure.findobj(Text))


def all_figures(run):
    metrics, table, curve = run.metrics(), run.predictions(), run.learning_curve()
    provenance = metrics["provenance"]
    p = table[[name for name in table if name.startswith("p_")]].to_numpy()
    right = (table["label"] == table["predicted"]).to_numpy()
    return [
        figures.confusion_matrix(metrics),
        figures.per_class(metrics),
        figures.subject_accuracy(metrics),
        figures.reliability_diagram(reliability(p.max(1), right), provenance),
        figures.training_curves(curve, provenance),
        figures.fold_curves([curve, curve], provenance),
        learning_curves({"a": [curve.set_index("epoch")["val/macro_f1"]]}, [provenance]),
    ]


@pytest.mark.parametrize("provenance", ["synthetic", "simulated", "real"])
def test_the_provenance_is_drawn_into_every_figure(make_run, provenance):
    for figure in all_figures(make_run(provenance=provenance)):
        assert (f"{provenance} data" in words_of(figure)) == (provenance != "real")


def test_figures_leave_nothing_open_and_repeat_byte_for_byte(make_run):
    metrics = make_run().metrics()
    assert svg(figures.confusion_matrix(metrics)) == svg(figures.confusion_matrix(metrics))
    assert plt.get_fignums() == []


def test_a_layout_that_differs_in_the_last_digits_gives_the_same_bytes():
    pictures = []
    for shift in (0.0, 1e-13):
        figure, axes = style.one_panel(4, 3, "a", "real")
        figure.set_layout_engine("none")
        axes.set_position((0.1 + shift, 0.1, 0.8, 0.8))
        axes.plot([0, 1], [0, 1], "o-")
        pictures.append(svg(figure))
    assert pictures[0] == pictures[1]
    ids = re.findall(rb'id="([^"]+)"', pictures[0])
    assert len(ids) == len(set(ids))
    assert set(re.findall(rb"url\(#(\w+)\)", pictures[0])) <= set(ids)


def test_confusion_matrix_shows_counts_and_row_shares(make_run):
    metrics = make_run().metrics().model_copy(update={"confusion_matrix": [[3, 1, 0, 0, 0]] + [[0] * 5] * 4})
    text = words_of(figures.confusion_matrix(metrics))
    assert "75\u202f%\n3" in text
    assert "no test clip" in text


def test_per_class_says_the_most_common_error_and_survives_absent_classes(make_run):
    table = make_run(space="fer7").predictions()
    metrics = compute_metrics(table[table["label"] != "disgust"], FER7, "real")
    text = words_of(figures.per_class(metrics))
    assert "most often taken for" in text
    assert "disgust  (0)" in text


def test_nothing_logged_no_figure():
    assert figures.training_curves(pd.DataFrame(), "real") is None
    assert figures.fold_curves([pd.DataFrame()], "real") is None
    assert learning_curves({"a": []}, ["real"]) is None


@pytest.mark.parametrize(
    ("monitor", "mark"),
    [
        ("val/macro_f1", "best macro-F1: epoch 2"),
        ("val/loss", "lowest validation loss: epoch 3"),
        ("val/accuracy", "val/accuracy: epoch 1"),
        ("train/lr", None),
    ],
)
def test_the_epoch_of_the_best_checkpoint_is_marked(monitor, mark):
    scores = {"val/macro_f1": [0.1, 0.5, 0.5], "val/loss": [3.0, 2.0, 1.0], "val/accuracy": [0.9, None, 0.2]}
    text = words_of(figures.training_curves(pd.DataFrame({"epoch": [0, 1, 2]} | scores), "real", monitor))
    assert mark in text if mark else "epoch 1" not in text


def test_curves_are_means_over_each_epoch_counted_from_one():
    curve = pd.DataFrame(
        {"epoch": [0, 0, 1, None], "train/loss": [1.0, 3.0, None, 9.0], "note": ["x", None, None, None]}
    )
    assert figures.by_epoch(curve)["train/loss"].dropna().to_dict() == {1: 2.0}


def test_curves_of_one_validation_are_points():
    single = [pd.DataFrame({"epoch": [4], "val/macro_f1": [score]}) for score in (0.2, 0.4)]
    many = {f"run {number}": [pd.Series([0.5])] for number in range(9)}  # more than there are colours
    for figure in (figures.fold_curves(single, "real"), learning_curves(many, ["real"])):
        assert {line.get_marker() for line in figure.axes[0].get_lines()} == {"o"}


def test_the_human_ceiling_is_a_line_where_it_is_known(make_run):
    metrics = make_run().metrics()
    assert "one person against the others: 81.2" in words_of(figures.subject_accuracy(metrics, 0.812))
    assert "one person" not in words_of(figures.subject_accuracy(metrics))


def curves(count):
    return {f"run {index}": [pd.Series([0.1, 0.9 - index / 500])] for index in range(count)}


def test_epochs_without_a_validation_do_not_break_a_learning_curve():
    sparse = pd.Series([np.nan, 0.2, np.nan, 0.4], index=range(4))
    figure = learning_curves({"a": [sparse], "b": [sparse + 0.1]}, ["synthetic"], reference="b")
    for line, values in zip(figure.axes[0].get_lines(), ([0.2, 0.4], [0.3, 0.5]), strict=True):
        np.testing.assert_allclose(line.get_xydata(), [[1, values[0]], [3, values[1]]])


def test_of_many_learning_curves_the_best_and_the_reference_are_named():
    reached = {name: folds[0].max() for name, folds in curves(200).items()}
    figure = learning_curves(curves(200), ["simulated"], reference="run 150", reached=reached)
    text = words_of(figure)
    assert "best 6 of 200 by inner validation;\nthe others in grey" in text
    assert "run 0  0.900" in text
    assert "run 150  0.600 (reference)" in text
    assert "run 6" not in text
    assert len({line.get_color() for line in figure.axes[0].lines}) == 8  # six, the reference, and grey


def test_a_reference_among_the_best_is_drawn_once():
    figure = learning_curves(curves(3), ["simulated"], reference="run 1")
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert names == ["run 0", "run 2", "run 1 (reference)"]


def test_every_setting_has_a_panel_of_its_own_kind():
    rates = [10 ** (-5 + index / 10) for index in range(30)]
    settings = {
        "optim.lr": rates,
        "model.name": ["a", "b", "c"] * 10,
        "seed": [0, 1] * 15,
        "init.run": [f"run{index}" for index in range(30)],
    }
    figure = settings_figure(settings, [index / 30 for index in range(30)], ["synthetic"], "macro-F1")
    visible = [axes for axes in figure.axes if axes.get_visible()]
    titles = [axes.get_title(loc="left") for axes in visible]
    assert titles == ["optim.lr", "model.name", "seed"]  # a name a run is none
    assert [axes.get_xscale() for axes in visible] == ["log", "linear", "linear"]
    medians = [line.get_ydata()[0] for line in visible[2].lines[:2]]
    assert medians == pytest.approx([14 / 30, 15 / 30])
    assert "synthetic data" in words_of(figure)
    assert settings_figure(settings, [0.1, 0.2], ["synthetic"], "macro-F1") is None
