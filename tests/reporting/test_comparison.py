import json
import re
import shutil
from fnmatch import fnmatchcase

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics

from experiments.measure.report_speed import made_up_study
from fer_id.errors import Problems, RunError
from fer_id.evaluation.config import Breakdown
from fer_id.evaluation.paired import holm
from fer_id.files import read_json, write_json
from fer_id.labels import TARGET
from fer_id.reporting.comparison.columns import strip_bounds
from fer_id.reporting.comparison.compared_run import compare_with_first
from fer_id.reporting.comparison.csv_table import COLUMNS
from fer_id.reporting.comparison.page import ACROSS_FOLDS, LeftOut, write_comparison
from fer_id.reporting.comparison.panels import lowest_group
from fer_id.runs.metrics import Column, GroupScores, Metrics, Subgroups
from fer_id.runs.records import Size
from fer_id.runs.run_dir import RunDir
from tests.reporting.conftest import Page


def compared(runs, out, **more):
    """The page and the table of a comparison."""
    page = write_comparison(runs, out, **more).read_text()
    return page, pd.read_csv(out / "comparison.csv", dtype={"run": str}).set_index("run")


def test_the_table_has_every_run_with_its_numbers(make_run, tmp_path):
    runs = [make_run("study/weak", skill=0.5), make_run("study/strong", skill=2.5, seed=1)]
    page, table = compared(runs, tmp_path / "out")
    assert set(table.index) == {"weak", "strong"}
    for run in runs:
        row, metrics = table.loc[run.path.name], run.metrics()
        assert row["accuracy"] == pytest.approx(metrics["accuracy"])
        assert row["macro_f1_low"] == pytest.approx(metrics["intervals"]["macro_f1"]["low"])
        assert row["recall_fear"] == pytest.approx(metrics["per_class"]["fear"]["recall"])
    assert "Synthetic data." in page
    assert not re.findall(r'(?:src|href)="(?!data:)(?!\.\./)(?!comparison\.csv")', page)


def test_differences_are_paired_with_the_first_run(make_run, tmp_path):
    weak, strong = make_run("study/weak", skill=0.5), make_run("study/strong", skill=2.5, seed=1)
    _, table = compared([weak, strong], tmp_path / "out")
    gained = strong.metrics()["accuracy"] - weak.metrics()["accuracy"]
    assert table.loc["strong", "accuracy_with_missing_difference"] == pytest.approx(gained)
    assert table.loc["strong", "accuracy_with_missing_difference_low"] > 0
    assert pd.isna(table.loc["weak", "accuracy_with_missing_difference"])


def test_every_run_is_tested_against_the_first_and_the_tests_are_corrected_for_their_number(make_run, tmp_path):
    skills = {"a": 0.5, "b": 0.8, "c": 2.5}
    runs = [make_run(f"study/{name}", skill=skill, subjects=8) for name, skill in skills.items()]
    page, table = compared(runs, tmp_path / "out")
    p = {name: table.loc[name, "p"] for name in "bc"}
    assert {name: table.loc[name, "p_holm"] for name in "bc"} == pytest.approx(holm(p))
    assert table.loc["c", "p_holm"] > table.loc["c", "p"] == pytest.approx(2 / 2**8)  # all eight children gain
    assert pd.isna(table.loc["a", ["p", "p_holm", "g_av"]]).all()
    served = ["subjects_better", "subjects_worse", "subjects_alike", "superiority"]
    assert table.loc["c", served].tolist() == [8, 0, 0, 1]
    assert table.loc["c", "g_av_low"] > 0
    assert "corrected for 2 tests (Holm)" in page
    assert "p = .016" in page
    assert "8, 0, 0" in page


@pytest.mark.parametrize(
    ("skills", "sentence"),
    [
        ([0.5, 0.5], "It is not shown that b is more or less accurate than a (p is not below .05)."),
        ([0.5, 2.5], "b is shown to be more accurate than a (p below .05)."),
        ([2.5, 0.5], "b is shown to be less accurate than a (p below .05)."),
        ([0.5, 0.5, 0.5], "Of 2 runs tested against a, none is shown to be more or less accurate (p below .05, "),
        ([0.5, 2.5, 0.5], "Of 2 runs tested against a, 1 is shown to be more accurate and none is shown to be less"),
    ],
)
def test_the_tests_are_summed_up_for_any_number_of_runs(make_run, tmp_path, skills, sentence):
    runs = [make_run(f"study/{name}", skill=skill, subjects=8) for name, skill in zip("abc", skills, strict=False)]
    page = compared(runs, tmp_path / "out")[0]
    assert sentence in page
    assert ("That is of these trainings" in page) == (
        "is shown to be" in sentence and "none is shown to be more or" not in sentence
    )


@pytest.mark.parametrize(
    ("numerics", "words"),
    [
        ([("bf16", "channels_last"), ("32", None), ("32", None)], "(bf16, channels_last: a; 32: b and c)"),
        ([("32", "contiguous"), ("32", "contiguous")], None),
        ([("32", "contiguous"), (None, None)], None),  # of an older run
    ],
)
def test_runs_of_different_numerics_are_named(make_run, tmp_path, numerics, words):
    runs = [make_run(f"study/{name}") for name, _ in zip("abc", numerics, strict=False)]
    for run, (precision, memory_format) in zip(runs, numerics, strict=True):
        run.write_job(run.job().model_copy(update={"precision": precision, "memory_format": memory_format}))
    page, _ = compared(runs, tmp_path / "out")
    assert words in page if words else "different numerics" not in page


def test_each_child_counts_once_in_an_effect_size(make_run, tmp_path):
    runs = [make_run("study/weak", skill=0.5), make_run("study/strong", skill=2.5, seed=1)]
    row = compared(runs, tmp_path / "out")[1].loc["strong"]
    ours, theirs = (
        np.array([each["accuracy"] for each in run.metrics()["per_subject"].values()]) for run in reversed(runs)
    )
    spread = np.sqrt((ours.var(ddof=1) + theirs.var(ddof=1)) / 2)
    # 5 degrees of freedom: gamma(5/2) / (sqrt(5/2) * gamma(2)).
    assert row["g_av"] == pytest.approx((ours - theirs).mean() / spread * 1.329340 / np.sqrt(2.5), rel=1e-5)
    assert row["superiority"] == pytest.approx(((ours > theirs) + (ours == theirs) / 2).mean())


def test_runs_on_other_clips_are_not_paired_and_it_says_why(make_run, tmp_path):
    page, _ = compared([make_run("study/a"), make_run("study/b", clips=100)], tmp_path / "out")
    assert "not paired: other test clips: 100 in common of 100 and 120" in page


def test_nothing_is_chosen_between_runs_that_were_tested_on_other_clips(make_run, tmp_path):
    """Each is validated and tested on its own children, like trials of two folds."""
    pooled, fold = make_run("study/selected", skill=0.5), make_run("study/fold", skill=2.5, clips=100)
    first, other = (make_run(f"study/{name}", skill=1.0, seed=seed) for name, seed in (("one", 1), ("other", 2)))
    for run, score in ((pooled, 0.2), (fold, 0.9), (first, 0.4), (other, 0.3)):
        (run.path / "metrics.jsonl").write_text(json.dumps({"epoch": 0, "val/macro_f1": score}) + "\n")
    page = write_comparison([pooled, fold], tmp_path / "folds").read_text()
    assert "No other run was tested on the clips of selected, so none is chosen here" in page
    assert "Inner validation chooses" not in page
    assert ">chosen<" not in page
    page = write_comparison([pooled, fold, first, other], tmp_path / "mixed").read_text()
    assert "Inner validation chooses, of 3 on the same test clips, one (macro-F1 40.0" in page
    assert page.count(">chosen<") == 1
    assert "is that of fold" not in page  # the highest test accuracy, on clips of no other run


def test_only_differing_settings_are_shown(make_run, tmp_path):
    for name, lr in (("a", 0.1), ("b", 0.2)):
        config = {"name": name, "optim": {"lr": lr, "name": "adam"}, "trainer": {"max_epochs": 5}}
        make_run(f"study/{name}", config=config)
    _, table = compared([RunDir(tmp_path / "study" / name) for name in "ab"], tmp_path / "out")
    assert [name for name in table if name.startswith("config.")] == ["config.optim.lr"]


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
    assert len(compared([run, RunDir(run.path)], tmp_path / "out")[1]) == 1


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(RunError, match="no run given"):
        write_comparison([], tmp_path)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Four trials of forty clips, in the format of a sweep."""
    folder = tmp_path_factory.mktemp("sweeps") / "study"
    return made_up_study(folder, runs=4, clips=40, subjects=4, epochs=3, groups=Breakdown(["severity"]))


@pytest.fixture
def many(study, tmp_path):
    """Two hundred runs: copies of four, each with a learning rate and a record of its own."""
    base, runs = [RunDir(path.parent) for path in sorted(study.glob("*/DONE"))], []
    for index in range(200):
        path = tmp_path / "many" / f"run{index:03d}"
        shutil.copytree(base[index % 4].path, path)
        run = RunDir(path)
        run.write_config(run.config() | {"optim": {"lr": 1e-5 * (index + 1)}})
        best = (index * 37 % 200) / 200
        lines = [{"epoch": epoch, "val/macro_f1": best * (epoch + 1) / 3} for epoch in range(3)]
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        runs.append(run)
    return runs


@pytest.mark.slow
def test_two_hundred_runs_stand_on_one_page_the_best_on_inner_validation_first(many, tmp_path):
    text, table = compared(many, tmp_path / "out")
    assert len(table) == 200
    assert table["validation_macro_f1"].is_monotonic_decreasing
    assert table["validation_macro_f1"].max() == pytest.approx(199 / 200)
    page = Page(text)
    assert [address for address in page.fetched if not address.startswith("data:")] == []
    _, heads, *rows = page.rows
    assert len(rows) == 200
    assert {len(row) for row in rows} == {len(heads)}
    assert [row[0][: len("run000")] for row in rows] == table.index.tolist()
    assert "corrected for 199 tests (Holm)" in text
    # Copies of the reference equal it; four subjects cannot show anything over 199 tests.
    assert table.loc["run004", "p"] == 1
    assert "With 4 subjects no difference can be shown, however clear" in text


def test_the_columns_of_the_table_are_explained(study, tmp_path):
    _, table = compared([RunDir(path.parent) for path in sorted(study.glob("*/DONE"))], tmp_path)
    names, explained = ["run", *table], ", ".join(COLUMNS).split(", ")
    assert [name for name in names if not any(fnmatchcase(name, pattern) for pattern in explained)] == []
    assert "group.severity.mild.accuracy_low" in names


def test_numbers_are_those_of_other_libraries(study, tmp_path):
    runs = [RunDir(path.parent) for path in sorted(study.glob("*/DONE"))]
    page, table = compared(runs, tmp_path)
    tests = [run.predictions().query("split == 'test'") for run in runs]
    right = [(test["label"] == test["predicted"]).groupby(test["subject_id"]).sum().to_numpy() for test in tests]
    p = {}
    for run, test, own in zip(runs, tests, right, strict=True):
        row = table.loc[run.path.name]
        assert row["accuracy"] == pytest.approx(metrics.accuracy_score(test["label"], test["predicted"]))
        assert row["macro_f1"] == pytest.approx(metrics.f1_score(test["label"], test["predicted"], average="macro"))
        recalls = metrics.recall_score(test["label"], test["predicted"], average=None, labels=list(TARGET.names))
        assert row[[f"recall_{name}" for name in TARGET.names]].tolist() == pytest.approx(recalls.tolist())
        by_group = (test["label"] == test["predicted"]).groupby(test["severity"]).mean()
        for value, accuracy in by_group.items():
            assert row[f"group.severity.{value}.accuracy"] == pytest.approx(accuracy)
        assert row["validation_macro_f1"] == pytest.approx(run.learning_curve()["val/macro_f1"].max())
        assert row["seconds"] == run.job().seconds
        if run is not runs[0]:
            test = stats.permutation_test((own - right[0],), np.sum, permutation_type="samples", n_resamples=9_999)
            p[run.path.name] = test.pvalue
            assert row["p"] == pytest.approx(test.pvalue)
    smallest, middle, largest = sorted(p, key=lambda name: p[name])
    corrected = [min(1, 3 * p[smallest]), min(1, 2 * p[middle]), p[largest]]
    expected = np.maximum.accumulate(corrected).tolist()
    assert table.loc[[smallest, middle, largest], "p_holm"].tolist() == pytest.approx(expected)
    assert "insufficient evidence" in page  # of groups of so few


def test_a_group_below_the_least_number_of_subjects_is_no_lowest_group():
    groups = {"mild": GroupScores(accuracy=0.6, n_subjects=7), "severe": GroupScores(accuracy=0.1, n_subjects=2)}
    column = Column(of=["severity"], varies="", groups=groups, in_no_group=Size(), gaps={})
    lowest = lowest_group(Metrics(subgroups=Subgroups(min_subjects=5, columns={"severity": column})))
    assert lowest is not None
    assert lowest[:2] == (0.6, "severity mild")


@pytest.mark.parametrize(("monitor", "first"), [("val/macro_f1", "b"), ("val/loss", "a"), ("val/accuracy", "b")])
def test_rows_are_sorted_by_the_score_that_chose_the_epochs(make_run, tmp_path, monitor, first):
    scores = {"a": (0.4, 1.0), "b": (0.6, 2.0)}
    for name, (f1, loss) in scores.items():
        run = make_run(f"study/{name}", config={"name": name, "trainer": {"monitor": monitor}})
        logged = {"val/macro_f1": f1, "val/loss": loss} | ({"val/accuracy": f1} if "accuracy" in monitor else {})
        (run.path / "metrics.jsonl").write_text(json.dumps({"epoch": 0} | logged) + "\n")
    page, table = compared([RunDir(tmp_path / "study" / name) for name in scores], tmp_path / "out")
    assert table.index[0] == first
    best = {"val/macro_f1": "macro-F1 60.0\u202f%", "val/loss": "loss 1.000", "val/accuracy": "accuracy 60.0\u202f%"}
    assert f"Inner validation chooses {first} ({best[monitor]})" in page


def test_a_run_that_logged_no_validation_comes_last_and_is_counted(make_run, tmp_path):
    runs = [make_run("study/a"), make_run("study/b")]
    (runs[0].path / "metrics.jsonl").unlink()
    page, table = compared(runs, tmp_path / "out")
    assert table.index.tolist() == ["b", "a"]
    assert "Without a record of it, and last: 1." in page
    assert ACROSS_FOLDS not in page


def test_a_fold_without_a_record_leaves_no_mean_of_the_others(make_run, tmp_path):
    runs = [make_run("study/a"), make_run("study/b")]
    for fold in "01":
        shutil.copytree(runs[1].path, tmp_path / "study" / "a" / "folds" / fold)
    (tmp_path / "study" / "a" / "folds" / "0" / "metrics.jsonl").unlink()
    page, table = compared(runs, tmp_path / "out")
    assert ACROSS_FOLDS in page
    assert pd.isna(table.loc["a", "validation_macro_f1"])
    assert table.loc["b", "validation_macro_f1"] == pytest.approx(0.4)


def test_the_strip_spans_whole_tens_around_all_intervals_and_the_mark(make_run):
    compared = compare_with_first([make_run("study/a", skill=1.0), make_run("study/b", skill=1.2)])
    ends = [run.metrics["intervals"]["accuracy"][side] for run in compared for side in ("low", "high")]
    low, high = strip_bounds(compared, 0.35)
    assert (low, high) == (np.floor(10 * min(0.35, *ends)) / 10, np.ceil(10 * max(ends)) / 10)
    assert low > 0
    assert high < 1


@pytest.mark.parametrize(("accuracy", "bounds"), [(0.2, (0.2, 0.3)), (1.0, (0.9, 1.0)), (0.0, (0.0, 0.1))])
def test_the_strip_has_a_width_where_all_are_equal(make_run, accuracy, bounds):
    run = make_run("study/a")
    metrics = read_json(run.path / "metrics.json", RunError)
    metrics["intervals"]["accuracy"] |= {"low": accuracy, "high": accuracy}
    write_json(run.path / "metrics.json", metrics | {"accuracy": accuracy})
    assert strip_bounds(compare_with_first([run]), None) == bounds


def test_swept_settings_come_first_and_those_of_another_version_last(make_run, tmp_path):
    for name, lr, width, new in (("a", 0.1, 8, {}), ("b", 0.2, 16, {"later": {"key": 1}})):
        logging = {"logging": {"wandb": "offline" if name == "a" else "auto"}}
        config = {"name": name, "model": {"hidden": width}, "optim": {"lr": lr}}
        make_run(f"study/{name}", config=config | logging | new)
    _, table = compared([RunDir(tmp_path / "study" / name) for name in "ab"], tmp_path / "out", swept=["optim.lr"])
    settings = [name.removeprefix("config.") for name in table if name.startswith("config.")]
    assert settings == ["optim.lr", "model.hidden", "logging.wandb", "later.key"]


def test_provenance_stands_in_every_row_and_does_not_mix(make_run, tmp_path):
    runs = [make_run("study/a", provenance="simulated"), make_run("study/b", provenance="real")]
    page, table = compared(runs, tmp_path / "out")
    assert table["provenance"].tolist() == ["simulated", "real"]
    assert "Simulated data in the runs marked so." in page
    assert "not paired: real clips, the reference&#39;s are simulated" in page


def test_small_groups_of_real_children_stay_on_the_machine(make_run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "index.html").write_text("of an earlier comparison, readable by everybody")
    page = write_comparison([make_run(provenance="real")], tmp_path / "out")
    assert "For this machine only." in page.read_text()
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o600}
    drawn = write_comparison([make_run("study/drawn")], tmp_path / "drawn")
    assert "For this machine only." not in drawn.read_text()
    assert drawn.stat().st_mode & 0o777 == 0o644


def test_names_and_settings_are_text_and_not_markup(make_run, tmp_path):
    runs = [make_run("study/<b>a"), make_run("study/b", config={"name": "b", "note": '"><script>alert(1)</script>'})]
    page = write_comparison(runs, tmp_path / "out", left_out=[LeftOut("<i>c", "failed", "<u>why</u>")]).read_text()
    assert "<script>alert" not in page
    assert "<b>a" not in page
    assert "&lt;u&gt;why" in page
    assert "1 run is left out: 1 failed" in page


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.yaml", None, "config.yaml"),
        ("config.yaml", "a: [", "config.yaml: not readable as YAML"),
        ("config.yaml", "- a", "config.yaml: expected keys and values"),
        ("job.json", None, "job.json: no such file"),
        ("job.json", "{", "job.json: not JSON"),
        ("metrics.json", None, "metrics.json: no such file"),
        ("metrics.json", "{}", "provenance, labels"),
        ("predictions.parquet", None, "predictions.parquet: no such file"),
        ("predictions.parquet", "PAR1", "predictions.parquet: cannot be read"),
        ("metrics.jsonl", '{"epoch": 0\n{"epoch": 1}\n', "metrics.jsonl, line 1: not JSON"),
    ],
)
def test_a_missing_or_damaged_file_is_named(make_run, tmp_path, name, content, message):
    runs = [make_run("study/a"), make_run("study/b")]
    path = runs[1].path / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(RunError) as caught:
        write_comparison(runs, tmp_path / "out")
    assert message in str(caught.value)
    assert "1 problem" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_metrics_of_other_predictions_are_refused(make_run, tmp_path):
    runs = [make_run("study/a"), make_run("study/b", skill=3.0)]
    shutil.copy(runs[0].path / "metrics.json", runs[1].path)
    with pytest.raises(RunError, match=r"metrics\.json is not of these predictions .*fer-id evaluate"):
        write_comparison(runs, tmp_path / "out")


def test_earlier_problems_are_reported_with_those_of_the_files(make_run, tmp_path):
    runs = [make_run("study/a"), make_run("study/b")]
    (runs[1].path / "job.json").write_text("[]")
    problems = Problems("compare")
    problems.add("runs/c is not finished")
    with pytest.raises(RunError, match="2 problems") as caught:
        write_comparison(runs, tmp_path / "out", problems=problems)
    assert "runs/c is not finished" in str(caught.value)
