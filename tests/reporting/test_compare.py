import re

import numpy as np
import pandas as pd
import pytest

from fer_id.errors import RunError
from fer_id.evaluation.paired import holm
from fer_id.reporting.compare import write_comparison
from fer_id.reporting.entries import flatten
from fer_id.runs import RunDir


def test_the_table_has_every_run_with_its_numbers(make_run, tmp_path):
    runs = [make_run("study/weak", skill=0.5), make_run("study/strong", skill=2.5, seed=1)]
    index = write_comparison(runs, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "comparison.csv").set_index("run")
    assert set(table.index) == {"weak", "strong"}
    for run in runs:
        row, metrics = table.loc[run.path.name], run.metrics()
        assert row["accuracy"] == pytest.approx(metrics["accuracy"])
        assert row["macro_f1_low"] == pytest.approx(metrics["intervals"]["macro_f1"]["low"])
        assert row["recall_fear"] == pytest.approx(metrics["per_class"]["fear"]["recall"])
    page = index.read_text()
    assert "Synthetic data." in page
    assert not re.findall(r'(?:src|href)="(?!data:)(?!\.\./)(?!comparison\.csv")', page)


def test_differences_are_paired_with_the_first_run(make_run, tmp_path):
    weak, strong = make_run("study/weak", skill=0.5), make_run("study/strong", skill=2.5, seed=1)
    write_comparison([weak, strong], tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "comparison.csv").set_index("run")
    gained = strong.metrics()["accuracy"] - weak.metrics()["accuracy"]
    assert table.loc["strong", "accuracy_with_missing_difference"] == pytest.approx(gained)
    assert table.loc["strong", "accuracy_with_missing_difference_low"] > 0
    assert pd.isna(table.loc["weak", "accuracy_with_missing_difference"])


def test_every_run_is_tested_against_the_first_and_the_tests_are_corrected_for_their_number(make_run, tmp_path):
    runs = [
        make_run(f"study/{name}", skill=skill, subjects=8) for name, skill in zip("abc", (0.5, 0.8, 2.5), strict=True)
    ]
    page = write_comparison(runs, tmp_path / "out").read_text()
    table = pd.read_csv(tmp_path / "out" / "comparison.csv").set_index("run")
    p = {name: table.loc[name, "p"] for name in "bc"}
    assert {name: table.loc[name, "p_holm"] for name in "bc"} == pytest.approx(holm(p))
    assert table.loc["c", "p_holm"] > table.loc["c", "p"] == pytest.approx(2 / 2**8)  # all eight children gain
    assert pd.isna(table.loc["a", ["p", "p_holm", "g_av"]]).all()
    assert table.loc["c", ["subjects_better", "subjects_worse", "subjects_alike", "superiority"]].tolist() == [
        8,
        0,
        0,
        1,
    ]
    assert table.loc["c", "g_av_low"] > 0
    assert "corrected for 2 tests (Holm)" in page
    assert "p = .016" in page
    assert "8, 0, 0" in page


def test_each_child_counts_once_in_an_effect_size(make_run, tmp_path):
    runs = [make_run("study/weak", skill=0.5), make_run("study/strong", skill=2.5, seed=1)]
    write_comparison(runs, tmp_path / "out")
    row = pd.read_csv(tmp_path / "out" / "comparison.csv").set_index("run").loc["strong"]
    ours, theirs = (
        np.array([each["accuracy"] for each in run.metrics()["per_subject"].values()]) for run in reversed(runs)
    )
    spread = np.sqrt((ours.var(ddof=1) + theirs.var(ddof=1)) / 2)
    # 5 degrees of freedom: gamma(5/2) / (sqrt(5/2) * gamma(2)).
    assert row["g_av"] == pytest.approx((ours - theirs).mean() / spread * 1.329340 / np.sqrt(2.5), rel=1e-5)
    assert row["superiority"] == pytest.approx(((ours > theirs) + (ours == theirs) / 2).mean())


def test_runs_on_other_clips_are_not_paired_and_it_says_why(make_run, tmp_path):
    index = write_comparison([make_run("study/a"), make_run("study/b", clips=100)], tmp_path / "out")
    assert "not paired: other test clips: 100 in common of 100 and 120" in index.read_text()


def test_only_what_differs_in_the_configuration_is_shown(make_run, tmp_path):
    first = make_run(
        "study/a", config={"name": "a", "optim": {"lr": 0.1, "name": "adam"}, "trainer": {"max_epochs": 5}}
    )
    second = make_run(
        "study/b", config={"name": "b", "optim": {"lr": 0.2, "name": "adam"}, "trainer": {"max_epochs": 5}}
    )
    write_comparison([first, second], tmp_path / "out")
    columns = pd.read_csv(tmp_path / "out" / "comparison.csv").columns
    assert [name for name in columns if name.startswith("config.")] == ["config.optim.lr"]


def test_label_spaces_do_not_mix(make_run, tmp_path):
    runs = [make_run("study/a"), make_run("study/b", space="fer7")]
    with pytest.raises(RunError, match="cannot be compared") as caught:
        write_comparison(runs, tmp_path / "out")
    assert "classes happy, sad, angry, fear, neutral: a" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_damaged_runs_are_listed_together(make_run, tmp_path):
    runs = [make_run(f"study/{name}") for name in "abc"]
    (runs[0].path / "metrics.json").write_text("{")
    (runs[1].path / "predictions.parquet").unlink()
    with pytest.raises(RunError, match="2 problems"):
        write_comparison(runs, tmp_path / "out")


def test_a_run_given_twice_counts_once_and_one_alone_will_do(make_run, tmp_path):
    run = make_run("study/a")
    write_comparison([run, RunDir(run.path)], tmp_path / "out")
    assert len(pd.read_csv(tmp_path / "out" / "comparison.csv")) == 1


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(RunError, match="no run given"):
        write_comparison([], tmp_path)


def test_flatten():
    assert flatten({"a": {"b": 1, "c": {}}, "d": [2]}) == {"a.b": 1, "a.c": {}, "d": [2]}
