"""Subgroups in the report: figure, table, verdicts in words, and runs without groups."""

import re

import numpy as np
import pandas as pd
import pytest

from fer_id.errors import DataError, RunError
from fer_id.evaluation.config import Breakdown
from fer_id.evaluation.evaluate import Options
from fer_id.evaluation.groups.grouping import group_columns
from fer_id.files import read_json, write_json
from fer_id.labels import TARGET
from fer_id.reporting.group_figures import forest, reliability_of_groups
from fer_id.reporting.report import evaluate_run, write_report
from fer_id.reporting.words import gap_sentences, gap_words, percent, small_groups
from fer_id.runs.metrics import Column, Gap, GroupScores, Subgroups
from fer_id.runs.records import Size

pytestmark = pytest.mark.usefixtures("sketched_figures")


@pytest.fixture
def grouped_run(make_run):
    """24 children: the model fails the severe ones, and is alike for girls and boys; one child alone in a ward."""

    def make(**store):
        run = make_run(clips=480, subjects=24, skill=3.0)
        table = run.predictions()
        child = table["subject_id"].str[1:].astype(int)
        table = table.assign(
            severity=np.where(child < 8, "severe", "mild"),
            gender=np.where(child % 2, "boy", "girl"),
            ward=np.where(child == 0, "<b>north</b>", "south"),
        )
        failed = (table["severity"] == "severe") & (np.arange(len(table)) % 3 > 0)
        names = np.array(["happy", "sad", "angry", "fear", "neutral"])
        rows = np.flatnonzero(failed)
        predicted, label = (pd.Index(names).get_indexer(table[name])[rows] for name in ("predicted", "label"))
        wrong = (label + 1) % 5
        for prefix in ("logit", "p"):  # what spoke for the predicted class speaks for the wrong one
            columns = [f"{prefix}_{name}" for name in names]
            values = table[columns].to_numpy(copy=True)
            values[rows, predicted], values[rows, wrong] = values[rows, wrong], values[rows, predicted]
            table[columns] = values
        table["predicted"] = np.array(names)[table[columns].to_numpy().argmax(axis=1)]
        run.write_predictions(table)
        job = run.job()
        run.write_job(job.model_copy(update={"store": job.store.model_copy(update=store)}))
        return run

    return make


def text_of(run) -> str:
    return re.sub(r"[ \n]+", " ", (run.path / "report.html").read_text())


def test_the_report_shows_groups_and_says_what_is_shown(grouped_run):
    run = grouped_run()
    metrics = evaluate_run(run, Options(Breakdown(pairs=["severity:gender"])))
    page = text_of(run)
    assert "<h2>Groups</h2>" in page
    assert (run.figures / "groups.svg").is_file()
    severity, gender, ward, _ = gap_sentences(metrics["subgroups"])
    assert re.fullmatch(r"severity: gap: severe [\d.]+ points below mild in accuracy \(p [=<] \.\d+\)\.", severity)
    assert gender.startswith("gender: no gap shown in accuracy (")
    assert ward == "ward: insufficient evidence (fewer than two groups have 5 subjects with a prediction)."
    assert severity in page  # text alternative of the picture
    assert "<strong>gap</strong>" in page
    assert "for want of 5 subjects: &lt;b&gt;north&lt;/b&gt; (1)." in page
    assert "<b>north" not in page
    assert "mild x boy" in page
    assert f'<td class="n">{metrics["subgroups"]["columns"]["gender"]["groups"]["boy"]["brier"]:.3f}</td>' in page


def test_every_group_with_enough_children_has_a_reliability_diagram(grouped_run):
    run = grouped_run()
    metrics = evaluate_run(run, Options(Breakdown(pairs=["severity:gender"])))
    panels = reliability_of_groups(run.predictions(), metrics).axes
    titles = [axes.get_title() for axes in panels if axes.get_visible()]
    severe = metrics["subgroups"]["columns"]["severity"]["groups"]["severe"]
    assert f"severity: severe\nECE {percent(severe['ece'])}, {severe['n_clips']} clips" in titles
    assert sorted(title.split("\n")[0] for title in titles) == [  # one child is no group, and pairs are in the table
        *("gender: boy", "gender: girl", "severity: mild", "severity: severe", "ward: south"),
    ]
    assert reliability_of_groups(run.predictions(), metrics.model_copy(update={"subgroups": None})) is None


def test_groups_of_a_benchmark_count_image_groups(grouped_run):
    run = grouped_run(shard_by="split")
    assert evaluate_run(run)["subgroups"] is not None
    assert "dealt out anew among the image groups" in text_of(run)
    assert "image groups" in (run.figures / "groups.svg").read_text()


def test_a_benchmark_without_group_columns_has_no_groups(grouped_run):
    run = grouped_run(shard_by="split")
    table = run.predictions()
    run.write_predictions(table.drop(columns=group_columns(table, TARGET)))
    metrics = evaluate_run(run)
    assert metrics["subgroups"] is None
    assert metrics["reasons"]["subgroups"] == "subjects are groups of images here, not people"
    assert "<h2>Groups</h2>" not in text_of(run)
    assert not (run.figures / "groups.svg").exists()


def test_metrics_without_groups_still_make_a_report(grouped_run):
    run = grouped_run()
    evaluate_run(run)
    metrics = read_json(run.path / "metrics.json", RunError)
    del metrics["subgroups"]
    write_json(run.path / "metrics.json", metrics)
    assert "<h2>Groups</h2>" not in write_report(run).read_text()


def test_a_column_that_does_not_exist_leaves_the_run_as_it_was(grouped_run):
    run = grouped_run()
    evaluate_run(run)
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match=r"no group column 'sight'[\s\S]*Known columns: severity, gender, ward"):
        evaluate_run(run, Options(Breakdown(columns=["sight"])))
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_the_clearest_verdict_speaks_for_a_column():
    base = Gap(gap=0.1, worst="a", best="b", p_holm=0.5, verdict="no gap shown")
    clearest = base.model_copy(update={"verdict": "gap", "p_holm": 0.0004})
    gaps = {"accuracy": base, "macro_recall": base, "macro_f1": clearest}
    groups = {"a": GroupScores(n_subjects=9), "b": GroupScores(n_subjects=4)}
    column = Column(of=["site"], varies="", groups=groups, in_no_group=Size(), gaps=gaps)
    subgroups = Subgroups(min_subjects=5, columns={"site": column})
    assert gap_sentences(subgroups) == ["site: gap: a 10.0 points below b in macro-F1 (p < .001)."]
    assert gap_words(base, "accuracy") == "no gap shown in accuracy (10.0 points, p = .500)"
    assert small_groups(subgroups) == "Shown, but compared with none, for want of 5 subjects: b (4)."
    assert gap_sentences(None) == []


def test_the_plot_has_a_panel_for_every_column(grouped_run):
    metrics = evaluate_run(grouped_run())
    figure = forest(metrics)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title.split(":")[0] for title in titles] == ["severity", "gender", "ward"]
    groups = [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes]
    assert groups == [["mild", "severe"], ["boy", "girl"], ["<b>north</b>", "south"]]
    assert any("synthetic data" in text.get_text() for text in figure.texts)
    assert forest(metrics.model_copy(update={"subgroups": None})) is None
