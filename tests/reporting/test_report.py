import re
from types import SimpleNamespace

import pytest

from fer_id.errors import DataError, FerIdError, RunError
from fer_id.evaluation.metrics import compute_metrics
from fer_id.files import read_json, write_json
from fer_id.labels import TARGET
from fer_id.loggers.wandb import PrivateWandbLogger
from fer_id.reporting import words
from fer_id.reporting.comparison.page import write_comparison
from fer_id.reporting.jobs import run_name
from fer_id.reporting.page import duration
from fer_id.reporting.report import evaluate_run, write_evaluation, write_report
from fer_id.runs.job import Job
from tests.reporting.conftest import Page

pytestmark = pytest.mark.usefixtures("sketched_figures")


def page_of(run) -> str:
    """The report of a run that is evaluated for it."""
    evaluate_run(run)
    return (run.path / "report.html").read_text()


def test_evaluate_recomputes_everything_from_the_predictions(make_run):
    run = make_run()
    expected = run.metrics()
    (run.path / "metrics.json").unlink()
    evaluated = evaluate_run(run)
    assert evaluated == run.metrics()
    assert evaluated.reason("calibration.temperatures").startswith("0 labelled clips of inner validation")
    assert (evaluated.calibration.temperatures, evaluated.columns) == ({}, {})  # no group columns
    review, conformal = evaluated.review, evaluated.conformal  # the run has no inner validation
    assert (review.flagged, review.thresholds, conformal.verdict) == (1.0, {"holdout": None}, "insufficient evidence")
    added = ("review.", "conformal.", "calibration.temperatures.")
    reasons = {name: why for name, why in evaluated.reasons.items() if not name.startswith(added)}
    bare = {"reasons": reasons, **dict.fromkeys(("review", "conformal", "subgroups"))}
    evaluated = evaluated.model_copy(update=bare)
    assert run.predictions()["flagged"].all()
    assert evaluated == expected == compute_metrics(run.predictions(), TARGET, "synthetic")
    assert sorted(path.name for path in run.figures.iterdir()) == [
        *("confusion_matrix.svg", "per_class.svg", "reliability.svg", "risk_coverage.svg", "subjects.svg"),
        "training.svg",
    ]


def test_the_report_is_one_file_that_fetches_nothing(make_run):
    text = page_of(make_run())
    page = Page(text)
    assert len(page.fetched) == 6
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.fetched)
    assert "url(" not in text
    assert "@import" not in text
    assert all(given.get("alt") for tag, given in page.tags if tag == "img")


def test_the_report_has_numbers_provenance_audit_and_limits(make_run):
    run = make_run()
    metrics = evaluate_run(run)
    page = re.sub(r"[ \n]+", " ", (run.path / "report.html").read_text())
    assert f"{100 * metrics['accuracy']:.1f}\u202f%" in page
    assert "Synthetic data." in page
    assert "train holds 280 of the 3,589 images of test byte for byte" in page
    assert "across splits, test in train" in page
    assert "<strong>happy</strong> i1, i3; <strong>sad</strong> i2" in page
    assert "never diagnoses" in page
    assert "punishment, exclusion, grading, surveillance or diagnosis" in page
    assert "lr: 0.0001" in page


def test_the_report_lists_clips_left_out_and_repeats(make_run):
    run = make_run(config={"name": "a", "data": {"drop_duplicates": False}})
    run.write_job(run.job().model_copy(update={"dropped": {"label contempt not in fer7": 1200, "unlabelled": 1}}))
    page = page_of(run)
    assert "This run left out 1,201 clips: label contempt not in fer7 (1,200), unlabelled (1)." in page
    assert page.index("kept the repeats in training") < page.index("Key numbers")  # above the scores that it flatters


@pytest.mark.parametrize(
    ("model", "numerics", "line"),
    [
        (
            {"encoder": "conv4", "head": "gru", "landmarks": 64},
            {"precision": "bf16", "memory_format": "channels_last"},
            "encoder conv4 · head gru · landmark stream of 64 · 390,000 parameters · precision bf16, channels_last",
        ),
        ({"encoder": "own", "head": "mean"}, {}, "a module that fer_id did not build · 390,000 parameters"),
        (None, {"precision": "32"}, "390,000 parameters · precision 32"),
    ],
)
def test_the_first_lines_say_what_model_it_is(make_run, model, numerics, line):
    run = make_run(config={"name": "a", "model": model})
    run.write_job(run.job().model_copy(update=numerics))
    assert f"<br>{line}</p>" in page_of(run)


def test_incomplete_numbers_are_refused(make_run):
    run = make_run()
    metrics = read_json(run.path / "metrics.json", RunError)
    del metrics["per_class"]["fear"]["recall"], metrics["calibration"]["bins"]
    write_json(run.path / "metrics.json", metrics)
    with pytest.raises(RunError, match=r"calibration\.bins, per_class\.fear\.recall missing; `fer-id evaluate"):
        write_report(run)


def test_hostile_names_are_text(make_run):
    run = make_run()
    table = run.predictions()
    table["subject_id"] = "<script>alert(1)</script>" + table["subject_id"]
    run.write_predictions(table)
    job = run.job()
    run.write_job(job.model_copy(update={"subjects": {"test": sorted(table["subject_id"].unique())}}))
    assert "script" not in {tag for tag, _ in Page(page_of(run)).tags}


def test_a_benchmark_speaks_of_pictures_and_has_no_table_of_subjects(make_run, tmp_path):
    run = make_run(provenance="real")
    job = run.job()
    run.write_job(job.model_copy(update={"store": job.store.model_copy(update={"shard_by": "split"})}))
    page = page_of(run)
    assert "<h2>Subjects</h2>" not in page
    assert not (run.figures / "subjects.svg").exists()
    assert "interval over image groups" in page
    text = re.sub(r"\s+", " ", page + write_comparison([run, make_run("study/b")], tmp_path).read_text())
    assert re.findall(r"(?:new|other) children|intervals over subjects", text) == []
    assert text.count("the signs of whole image groups flipped") == 2  # in the note, and at the column
    assert text.count("Intervals describe other pictures like these") == 2


def test_a_cross_validation_links_its_folds(make_run):
    parent = make_run("study/loso")
    for subject, rows in parent.predictions().groupby("subject_id"):
        evaluate_run(make_run(f"study/loso/folds/{subject}", table=rows.assign(fold=subject)))
    (parent.path / "metrics.jsonl").unlink()
    assert page_of(parent).count('href="folds/s') == 6
    assert (parent.figures / "training.svg").is_file()
    assert run_name(parent.folds[0]) == "study/loso, fold s00"


@pytest.mark.parametrize("change", [{"label": None}, {"split": "validation"}])
def test_a_run_with_nothing_to_judge_still_has_a_report(make_run, change):
    run = make_run()
    assert "no labelled test clip" in page_of(make_run("study/other", table=run.predictions().assign(**change)))


def test_a_bare_job_still_has_a_report(make_run):
    run = make_run()
    run.write_job(Job.model_validate({"store": {"provenance": "simulated"}}))
    assert "Simulated data." in page_of(run)


def test_without_a_provenance_nothing_is_reported(make_run):
    run = make_run()
    run.write_job(Job.model_validate({}))
    with pytest.raises(FerIdError, match=r"store\.provenance is missing"):
        evaluate_run(run)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (4.24, "4.2 s"), (75, "75 s"), (150, "2 min"), (3599, "1 h 00 min"), (4210, "1 h 10 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_the_metrics_of_an_older_version_still_make_a_page(make_run):
    run = make_run()
    metrics = read_json(run.path / "metrics.json", RunError)
    for section in (metrics["calibration"], metrics["selective"]):
        section.pop("intervals")
    del metrics["calibration"]["overconfidence"]
    write_json(run.path / "metrics.json", metrics)
    page = write_report(run).read_text()
    assert "Wrong among the surest" not in page
    assert "equal-width bins of the raw probabilities; 0 is best</td>" in page


def test_intervals_over_few_children_say_how_often_they_hold(make_run):
    run = make_run(subjects=6)
    page = write_report(run).read_text()
    assert words.held(6) in page
    assert "Wrong among the surest 80" in page
    stills = make_run("study/stills", clips=60, subjects=60)
    assert "In simulated cohorts" not in write_report(stills).read_text()


def test_predictions_without_a_tested_subject_or_with_an_edited_answer_are_refused(make_run):
    run = make_run()
    table = run.predictions()
    run.write_predictions(table[table["subject_id"] != "s03"])
    with pytest.raises(RunError, match=r"no test clip of s03 \(of 1 subjects\)"):
        evaluate_run(run)
    edited = table.copy()
    edited.loc[7, "predicted"] = next(name for name in TARGET.names if name != table.loc[7, "predicted"])
    run.write_predictions(edited)
    with pytest.raises(DataError, match=rf"1 rows whose predicted class.*{edited.loc[7, 'clip_id']}"):
        evaluate_run(run)
    run.write_predictions(table)
    evaluate_run(run)


def test_wandb_gets_the_evaluation_that_was_just_written(make_run):
    run, told = make_run(), SimpleNamespace(summary={}, log=lambda row: None)
    run.write_job(run.job().model_copy(update={"children": {"train": 0, "validation": 0, "test": 0}}))
    evaluation, figures = write_evaluation(run)
    (run.path / "predictions.parquet").unlink()
    logger = PrivateWandbLogger(run)
    logger._opened = [told]
    logger.log_results(evaluation, figures)
    assert told.summary["test/accuracy"] == evaluation.metrics.accuracy


def test_a_run_without_test_clips_has_no_empty_figures(make_run):
    table = make_run("study/tested").predictions()
    run = make_run(table=table[table["split"] != "test"])
    run.write_job(run.job().model_copy(update={"clips": {"train": 400, "validation": 40, "test": 0}}))
    _, figures = write_evaluation(run)
    assert list(figures) == ["training"]
    assert [path.name for path in run.figures.iterdir()] == ["training.svg"]
    assert "Not judged on test clips" in (run.path / "report.html").read_text()
