"""The benchmark's page from finished runs: it claims only what the runs support."""

import pandas as pd
import pytest

from fer_id.errors import RunError
from fer_id.evaluation.controls import CHOSEN, CONTROLS, MEAN, REVERSED, SHUFFLED
from fer_id.reporting.benchmark.page import write_benchmark
from fer_id.reporting.benchmark.paper import TABLE4, TABLE5
from fer_id.reporting.benchmark.verdicts import time_verdict, winner
from fer_id.reporting.result_shapes import ControlScores, Difference, Score


def bench(runs, out, **more):
    return write_benchmark(runs, "cnn_lstm", out, rule=["The rule."], controls=more)


def verdict(head="lstm", **differences):
    """Return the verdict for the given gains of the whole clip over each control, significant unless zero."""
    names = {"mean": MEAN, "chosen": CHOSEN, "shuffled": SHUFFLED, "reversed": REVERSED}
    against = {
        names[key]: Difference(
            difference=gap, low=gap - 0.01, high=gap + 0.01, reason=None, **dict.fromkeys(("p", "p_holm"), p)
        )
        for key, gap in differences.items()
        for p in [0.001 if gap else 0.8]
    }
    accuracy = dict.fromkeys(CONTROLS, Score(value=0.5, low=None, high=None, reason="not computed"))
    return time_verdict(ControlScores.model_construct(head=head, accuracy=accuracy, against_whole_clip=against))


@pytest.mark.parametrize(
    ("gaps", "sentence"),
    [
        ((0.1, 0.1, 0.1, 0.1), "The LSTM earns its place here, and the order of the frames is part"),
        ((0.1, 0.1, 0.0, 0.0), "earns its place here, but it is not shown that the order"),
        ((0.0, 0.1, 0.1, 0.1), "not shown to tell it more than the mean of the frames."),
        ((0.0, 0.0, 0.0, 0.0), "more than the mean of the frames or the chosen frame."),
        ((-0.1, 0.1, 0.0, 0.0), "does not earn its place here: it does worse than the mean of the frames."),
    ],
)
def test_the_verdict_follows_from_its_tests(gaps, sentence):
    answer, tests = verdict(**dict(zip(("mean", "chosen", "shuffled", "reversed"), gaps, strict=True)))
    assert sentence in answer
    assert len(tests) == 4 + 1


def test_a_head_that_cannot_see_order_is_not_tested_on_it():
    answer, tests = verdict("attention", mean=0.1, chosen=0.1, shuffled=0.0, reversed=0.0)
    assert "cannot see their order" in answer
    assert len(tests) == 2 + 1


def test_a_reference_that_loses_is_reported_to_lose(make_run, tmp_path):
    runs = {
        "compact_vit": [make_run("study/compact_vit", skill=3.0, seed=1, subjects=12)],
        "cnn_lstm": [make_run("study/cnn_lstm", skill=0.8, subjects=12)],
        "shallow_cnn": [make_run("study/shallow_cnn", skill=0.8, seed=2, subjects=12)],
    }
    text = bench(runs, tmp_path / "out", cnn_lstm="clips of different length")
    page = (tmp_path / "out" / "index.html").read_text()
    assert "cnn_lstm does not win: compact_vit has the highest accuracy of 3 models" in page
    assert "cnn_lstm is shown to be less accurate than compact_vit." in page
    assert "cnn_lstm is not shown to differ from shallow_cnn." in page
    assert "it is shown of these trainings, 1 of each model" in page
    assert "cnn_lstm has no controls: clips of different length" in page
    assert "synthetic" in text
    table = pd.read_csv(tmp_path / "out" / "table4.csv").set_index("model")
    assert table.loc["compact_vit", "accuracy_difference_low"] > 0
    assert table.loc["compact_vit", "paper_auc"] == TABLE4["compact_vit"]["auc"]


def test_models_that_are_equally_accurate_win_together():
    sentences = winner("cnn_lstm", {"cnn_lstm": 0.5, "mean": 0.5, "shallow_cnn": 0.4}, {}, 1)
    assert sentences[0] == "cnn_lstm and mean have the highest accuracy of 3 models, 50.0\N{NARROW NO-BREAK SPACE}%."


def test_too_few_subjects_show_nothing(make_run, tmp_path):
    runs = {name: [make_run(f"study/{name}", subjects=5)] for name in ("resnet50", "cnn_lstm")}
    bench(runs, tmp_path / "out")
    assert "With 5 subjects no difference can be shown" in (tmp_path / "out" / "index.html").read_text()


def test_seeds_are_averaged_and_their_spread_is_reported(make_run, tmp_path):
    runs = {
        name: [make_run(f"study/{name}-s{seed}", skill=skill, seed=seed) for seed in range(3)]
        for name, skill in (("resnet50", 1.0), ("cnn_lstm", 1.5))
    }
    bench(runs, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "table4.csv").set_index("model")
    for name, each in runs.items():
        accuracies = pd.Series([run.metrics()["accuracy"] for run in each])
        assert table.loc[name, "accuracy"] == pytest.approx(accuracies.mean())
        assert table.loc[name, "accuracy_sd_of_seeds"] == pytest.approx(accuracies.std())
    assert "over seeds" in (tmp_path / "out" / "index.html").read_text()


def test_runs_on_other_clips_are_refused(make_run, tmp_path):
    runs = {"resnet50": [make_run("study/resnet50", clips=100)], "cnn_lstm": [make_run("study/cnn_lstm")]}
    with pytest.raises(RunError, match="other test clips"):
        bench(runs, tmp_path / "out")


def test_the_papers_numbers_contradict_themselves():
    assert sum(TABLE5.values()) / 5 == pytest.approx(0.809, abs=5e-4)
    assert TABLE4["cnn_lstm"]["macro_recall"] == 0.793
