"""Record of a study, alternation of its folds, and ranking of trials; without training and without Ray."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score

from experiments.sweeping.ledger import FAILED, FINISHED, STOPPED, SUGGESTED, Ledger, Trial
from experiments.sweeping.study import Study
from experiments.sweeping.trial import Outcome, measured
from fer_id.errors import RunError
from fer_id.files import write_json
from fer_id.labels import TARGET
from fer_id.runs.job import Job
from fer_id.runs.run_dir import RunDir
from tests.experiments.messages import Capture
from tests.experiments.sweeping.conftest import MakePlan

MakeStudy = Callable[..., Study]
FOLDS = ("s00", "s01", "s02")
RANDOM = {
    "method": "random",
    "run_cap": 4,
    "parameters": {"optim.lr": {"min": 1e-4, "max": 1e-2, "distribution": "log_uniform_values"}},
}


@pytest.fixture
def make_study(make_plan: MakePlan) -> MakeStudy:
    """Return a function that makes a study; with the same changes it opens the study as a new process would."""

    def make(folds: tuple[str | None, ...] = FOLDS, **changes: Any) -> Study:
        plan = make_plan(**(RANDOM | changes))
        exists = (plan.folder / "sweep.json").exists()
        ledger = Ledger.open(plan.folder) if exists else Ledger.create(plan.folder, plan.sweep.text, {})
        return Study(plan, ledger, folds, seed=0)

    return make


def suggested(study: Study, count: int) -> list[Trial]:
    trials = [study.next() for _ in range(count)]
    return [trial for trial in trials if trial is not None]


def test_folds_take_turns_and_try_the_same_at_random(make_study: MakeStudy) -> None:
    study = make_study()
    trials = suggested(study, 13)
    assert [(trial.number, trial.fold) for trial in trials] == [(n, fold) for n in (1, 2, 3, 4) for fold in FOLDS]
    assert study.total == len(trials) == 12
    for number in (1, 2, 3, 4):
        of_number = [trial for trial in trials if trial.number == number]
        assert len({trial.job for trial in of_number}) == len({str(trial.parameters) for trial in of_number}) == 1
    assert len({trial.job for trial in trials}) == 4
    assert not study.has_more()


def test_has_more_takes_no_trial_away(make_study: MakeStudy) -> None:
    study = make_study((None,), run_cap=1)
    assert study.has_more()
    assert study.has_more()
    assert len(suggested(study, 3)) == 1


def test_a_new_process_goes_on_where_the_last_one_was(make_study: MakeStudy) -> None:
    whole = [trial.parameters for trial in suggested(make_study(name="whole"), 12)]
    study = make_study()
    first = suggested(study, 5)
    run = RunDir.create(study.ledger.folder_of(first[0]), {}, Job())
    run.finish()
    study.over(first[0], Outcome(FINISHED, objective=0.5))
    study.over(first[1], Outcome(FAILED, reason="no luck"))
    again = make_study()
    assert [(trial.number, trial.fold) for trial in again.ended] == [(1, "s00"), (1, "s01")]
    remaining = suggested(again, 20)
    # Interrupted and failed trials come first; finished trials are not repeated.
    assert [(trial.number, trial.fold) for trial in remaining[:4]] == [(1, "s01"), (1, "s02"), (2, "s00"), (2, "s01")]
    assert all(trial.status == SUGGESTED and trial.reason is None for trial in remaining)
    assert len(remaining) == 11
    assert sorted(str(trial.parameters) for trial in (first[0], *remaining)) == sorted(map(str, whole))


def test_an_invalid_configuration_is_recorded_as_failed(make_study: MakeStudy) -> None:
    """The strategy ``gradual`` needs a pretrained model, ``full`` does not."""
    parameters = {"adapt.strategy": {"values": ["full", "gradual", "l2sp"]}}
    grid: dict[str, Any] = {"parameters": parameters, "run_cap": None, "method": "grid"}
    study = make_study((None,), **grid)
    assert [trial.parameters["adapt.strategy"] for trial in suggested(study, 5)] == ["full"]
    failed = [trial for trial in study.ended if trial.status == FAILED]
    assert [trial.parameters["adapt.strategy"] for trial in failed] == ["gradual", "l2sp"]
    assert "needs a model to start from" in str(failed[0].reason)
    assert not failed[0].job
    assert [trial.status for trial in make_study((None,), **grid).ended] == [FAILED, FAILED]


def test_the_leader_of_a_fold_is_its_own(make_study: MakeStudy) -> None:
    study = make_study(("a", "b"))
    trials = {(trial.fold, trial.number): trial for trial in suggested(study, 8)}
    for number, value in enumerate((0.1, 0.4, 0.3, 0.4), start=1):
        study.over(trials["a", number], Outcome(FINISHED, objective=value))
    study.over(trials["b", 1], Outcome(FINISHED, objective=0.2))
    study.over(trials["b", 2], Outcome(STOPPED, objective=0.9))  # has no predictions
    study.over(trials["b", 3], Outcome(FAILED, reason="x"))
    leaders = [study.leader(fold) for fold in ("a", "b")]
    assert [trial.number for trial in leaders if trial] == [2, 1]  # the first of equals
    study.over(trials["b", 4], Outcome(FINISHED, objective=1.0))
    assert study.leader("a") == leaders[0]


def test_the_smaller_loss_leads(make_study: MakeStudy) -> None:
    study = make_study((None,), metric={"name": "val/loss", "goal": "minimize"})
    for trial, value in zip(suggested(study, 3), (1.5, 0.5, 0.7), strict=True):
        study.over(trial, Outcome(FINISHED, objective=value))
    leader = study.leader(None)
    assert leader is not None
    assert leader.objective == 0.5


def test_an_incomplete_last_line_is_removed_before_the_next(make_study: MakeStudy) -> None:
    study = make_study((None,))
    suggested(study, 2)
    path = study.plan.folder / "trials.jsonl"
    whole = path.read_text()
    path.write_text(whole + '{"number": 3, "fo')
    ledger = Ledger.open(study.plan.folder)
    assert len(ledger.trials) == 2
    assert path.read_text() != whole  # reading changes nothing
    ledger.note(replace(ledger.trials[None, 1], status=FINISHED, objective=0.5))
    assert path.read_text().startswith(whole)
    assert [trial.status for trial in Ledger.open(study.plan.folder).of(None)] == [FINISHED, SUGGESTED]
    path.write_text('{"number": 1, "fo')
    ledger.note(ledger.trials[None, 2])
    assert list(Ledger.open(study.plan.folder).trials) == [(None, 2)]


def test_damaged_and_foreign_studies_are_refused(make_study: MakeStudy, tmp_path: Path) -> None:
    folder = make_study((None,)).plan.folder
    (folder / "trials.jsonl").write_text("{}\n")
    with pytest.raises(RunError, match=r"trials.jsonl, line 1: damaged"):
        Ledger.open(folder)
    whole = {"number": 1, "fold": None, "job": "aa", "parameters": None, "status": "done"}
    (folder / "trials.jsonl").write_text(
        json.dumps(whole | {"objective": 0.5, "epochs": 1, "seconds": 1.0, "reason": None}) + "\n"
    )
    with pytest.raises(RunError, match=r"trials.jsonl, line 1: damaged"):
        Ledger.open(folder)
    (folder / "sweep.json").write_text(json.dumps({"format": 2}))
    with pytest.raises(RunError, match="has format 2, this version of fer_id reads 1"):
        Ledger.open(folder)
    (folder / "sweep.json").write_text("{")
    with pytest.raises(RunError, match="not JSON"):
        Ledger.open(folder)
    with pytest.raises(RunError, match="is no study of a sweep"):
        Ledger.open(tmp_path)


def test_trials_survive_the_file(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path / "a", "text", {})
    trial = Trial(1, "s00", "abc", {"w": (1, 2), "x": 1e-4, "y": True}, FINISHED, 0.5, 3, 1.25)
    ledger.note(replace(trial, status=SUGGESTED, objective=None))
    ledger.note(trial)
    assert Ledger.open(tmp_path / "a").trials == {("s00", 1): trial}


# --------------------------------------------------------------------------------------------------- the objective


def made_up(path: Path, curve: list[dict[str, float | None]]) -> RunDir:
    """Return a finished run with perfect test scores."""
    run = RunDir.create(path, {}, Job.model_validate({"store": {"label_space": TARGET.name}, "seconds": 4.5}))
    (run.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in curve))
    names = [*TARGET.names] * 4
    guessed = [TARGET.names[(index * 3 + index // 7) % 5] for index in range(20)]
    validation = pd.DataFrame({"label": names, "predicted": guessed, "split": "validation"})
    missing = pd.DataFrame({"label": ["happy", None], "predicted": [None, "sad"], "split": "validation"})
    test = pd.DataFrame({"label": names, "predicted": names, "split": "test"})
    table = pd.concat([validation, missing, test], ignore_index=True)
    run.write_predictions(table.assign(clip_id=[str(index) for index in range(len(table))], fold="a"))
    write_json(run.path / "metrics.json", {"accuracy": 1.0, "macro_f1": 1.0})
    run.finish()
    return run


def test_the_best_validation_counts(tmp_path: Path) -> None:
    curve: list[dict[str, float | None]] = [
        {"epoch": 0, "val/macro_f1": 0.2, "val/loss": 1.5},
        {"epoch": 1},
        {"epoch": 2, "val/macro_f1": 0.6, "val/loss": None},
        {"epoch": 3, "val/macro_f1": 0.4, "val/loss": 1.2},
    ]
    run = made_up(tmp_path / "a", curve)
    assert measured(run, "val/macro_f1") == Outcome(FINISHED, 0.6, 4, 4.5)
    assert measured(run, "val/loss").objective == 1.2


def test_an_untrained_run_is_scored_by_its_validation_predictions(tmp_path: Path) -> None:
    run = made_up(tmp_path / "a", [])
    table = run.predictions().dropna(subset=["label", "predicted"])
    judged = table[table["split"] == "validation"]
    assert measured(run, "val/accuracy").objective == pytest.approx(
        accuracy_score(judged["label"], judged["predicted"])
    )
    assert measured(run, "val/macro_f1").objective == pytest.approx(
        f1_score(judged["label"], judged["predicted"], average="macro")
    )
    with pytest.raises(RunError, match="no val/loss: it learned nothing"):
        measured(run, "val/loss")


@pytest.mark.parametrize("curve", [[], [{"epoch": 0, "val/macro_f1": 0.25}]])
def test_test_scores_never_become_the_objective(curve: list[dict[str, float | None]], tmp_path: Path) -> None:
    run = made_up(tmp_path / "a", curve)
    before = measured(run, "val/macro_f1")
    table = run.predictions()
    table.loc[table["split"] == "test", "predicted"] = "fear"
    run.write_predictions(table)
    write_json(run.path / "metrics.json", {"accuracy": 0.0, "macro_f1": 0.0})
    assert measured(run, "val/macro_f1") == before


def test_a_finished_trial_whose_run_is_gone_is_trained_again(make_study: MakeStudy) -> None:
    study = make_study((None,), run_cap=1)
    (trial,) = suggested(study, 1)
    run = RunDir.create(study.ledger.folder_of(trial), {}, Job())
    run.finish()
    study.over(trial, Outcome(FINISHED, objective=0.5))
    assert not make_study((None,), run_cap=1).has_more()
    (run.path / "DONE").unlink()
    assert [trial.job for trial in suggested(make_study((None,), run_cap=1), 2)] == [trial.job]


def test_a_trial_whose_curve_is_damaged_stays_what_the_ledger_says(make_study: MakeStudy, capsys: Capture) -> None:
    study = make_study((None,))
    for value in (0.5, 0.9):
        (trial,) = suggested(study, 1)
        run = study.ledger.folder_of(trial)
        run.mkdir(parents=True)
        (run / "DONE").touch()
        (run / "metrics.jsonl").write_text(json.dumps({"epoch": 0, study.plan.sweep.metric: value}) + "\n")
        study.over(trial, Outcome(FINISHED, objective=value, epochs=1))
    (run / "metrics.jsonl").write_text("damaged\n{}\n")
    again = make_study((None,))
    assert set(again.curves(None)) == {1}
    assert "trial 2: its curve is left out" in capsys.readouterr().err
    leader = again.leader(None)
    assert leader is not None
    assert (leader.number, leader.objective) == (2, 0.9)
