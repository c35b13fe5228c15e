"""``fer-id compare`` by the command line, and its selection of runs by paths: runs, folders, studies of sweeps in every
state, and faulty ones."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.cli import DONE, main
from experiments.measure.report_speed import made_up_study
from experiments.verbs.compare import Selection, find_runs
from fer_id.errors import Problems
from fer_id.evaluation.config import Breakdown
from fer_id.runs.job import Job
from fer_id.runs.run_dir import RunDir
from tests.experiments.messages import Capture, refusal


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "study"
    return made_up_study(folder, runs=3, clips=40, subjects=4, epochs=3, lost=1, groups=Breakdown(["severity"]))


def test_a_study_is_compared_by_its_folder(study: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert main(["compare", str(study), f"out={out}"]) == DONE
    assert capsys.readouterr().out.strip() == str(out / "index.html")
    table, page = pd.read_csv(out / "comparison.csv"), (out / "index.html").read_text()
    assert set(table["run"]) == {"trial 1", "trial 2", "trial 3"}
    assert table.set_index("run")["reference"].to_dict() == {"trial 1": True, "trial 2": False, "trial 3": False}
    swept = ["optim.lr", "model.dropout", "model.name", "augment.occlusion"]
    settings = [name.removeprefix("config.") for name in table if name.startswith("config.")]
    assert settings == [key for key in swept if key in settings]
    assert "2 runs are left out: 1 failed, 1 stopped" in page
    assert "out of memory" in page


def test_any_run_can_be_the_reference(study: Path, tmp_path: Path) -> None:
    second = sorted(path.parent for path in study.glob("*/DONE"))[1]
    assert main(["compare", str(study), f"reference={second}", f"out={tmp_path}"]) == DONE
    table = pd.read_csv(tmp_path / "comparison.csv").set_index("run")
    assert table.loc["trial 2", "reference"]
    assert table["p_holm"].isna().to_dict() == {"trial 2": True, "trial 1": False, "trial 3": False}


def test_every_problem_of_every_path_is_reported_together(study: Path, tmp_path: Path, capsys: Capture) -> None:
    copy = tmp_path / "study"
    shutil.copytree(study, copy)
    first, second, _ = sorted(path.parent for path in copy.glob("*/DONE"))
    (first / "metrics.json").write_text("{")
    (second / "DONE").unlink()
    output = refusal(capsys, ["compare", str(copy), str(tmp_path / "nowhere"), f"out={tmp_path / 'out'}"])
    assert "3 problems" in output
    assert all(word in output for word in ("metrics.json: not JSON", "is not finished", "no such folder"))
    assert not (tmp_path / "out").exists()


def test_the_page_of_something_else_is_not_replaced(study: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "index.html").write_text("a prediction")
    assert "its index.html is of something else" in refusal(capsys, ["compare", str(study), f"out={tmp_path}"])
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


# --- selection of runs ------------------------------------------------------------------------------------------------


Make = Callable[..., RunDir]


@pytest.fixture
def begin(tmp_path: Path) -> Make:
    """``begin(name)``: a run without content, finished by default."""

    def make(name: str, *, finished: bool = True) -> RunDir:
        run = RunDir.create(tmp_path / name, {"name": name}, Job())
        if finished:
            run.finish()
        return run

    return make


def write_study(path: Path, events: list[dict[str, Any]], **sweep: Any) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "sweep.json").write_text(json.dumps({"format": 1} | sweep))
    usual = {"fold": None, "parameters": {"optim.lr": 0.1}, "objective": None, "epochs": None, "seconds": None}
    lines = [usual | {"number": number, "reason": None} | event for number, event in enumerate(events)]
    (path / "trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def select(*paths: Path, **options: Any) -> tuple[Selection, list[str]]:
    problems = Problems("compare")
    return find_runs([str(path) for path in paths], problems, **options), problems.found


def names(result: Selection) -> list[str]:
    return [run.path.name for run in result.runs]


def test_runs_are_in_the_order_of_the_paths_without_repeats(begin: Make, tmp_path: Path) -> None:
    first, second = begin("site/b"), begin("site/a")
    result, problems = select(first.path, tmp_path / "site", second.path / ".." / "b")
    assert (names(result), problems) == (["b", "a"], [])


def test_a_folder_gives_the_runs_in_it_and_not_their_folds(begin: Make, tmp_path: Path) -> None:
    for name in ("site/kfold", "site/kfold/folds/0", "site/kfold/crossfit/1", "site/deep/er/plain", "site/.draft"):
        begin(name)
    assert names(select(tmp_path / "site")[0]) == ["plain", "kfold"]


def test_the_reference_comes_first_whether_it_is_among_the_others_or_not(begin: Make, tmp_path: Path) -> None:
    for name in ("site/a", "site/b", "other/c"):
        begin(name)
    site = tmp_path / "site"
    assert names(select(site, reference=str(site / "b"))[0]) == ["b", "a"]
    assert names(select(site, reference=str(tmp_path / "other" / "c"))[0]) == ["c", "a", "b"]


def test_everything_that_cannot_be_compared_is_listed_together(begin: Make, tmp_path: Path) -> None:
    begin("site/a")
    begin("site/half", finished=False)
    begin("site/gone").quarantine("somebody withdrew")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("")
    begin("bare").path.joinpath("config.yaml").unlink()
    result, problems = select(*(tmp_path / name for name in ("site", "empty", "notes.txt", "nowhere", "bare")))
    assert names(result) == ["a"]
    words = ("is quarantined", "is not finished", "holds no run", "is a file", "no such folder", "no config.yaml")
    assert len(problems) == len(words)
    assert all(word in problem for word, problem in zip(words, problems, strict=True))


def test_unfinished_and_quarantined_runs_can_be_left_out_and_are_listed(begin: Make, tmp_path: Path) -> None:
    begin("site/a")
    begin("site/half", finished=False)
    begin("site/gone").quarantine("somebody withdrew")
    result, problems = select(tmp_path / "site", unfinished="skip")
    assert (names(result), problems) == (["a"], [])
    assert [(run.status, Path(run.name).name) for run in result.left_out] == [
        ("quarantined", "gone"),
        ("unfinished", "half"),
    ]
    _, problems = select(tmp_path / "site" / "half", unfinished="skip")
    assert problems == ["no finished run is named; 1 are left out"]
    _, problems = select(tmp_path / "site" / "a", reference=str(tmp_path / "site" / "half"), unfinished="skip")
    assert "is not finished" in problems[0]


def test_a_study_gives_its_finished_trials_and_lists_the_others(begin: Make, tmp_path: Path) -> None:
    for job in ("aa", "bb"):
        begin(f"study/{job}")
    begin("study/cc", finished=False)
    events = [
        {"job": "bb", "status": "done"},
        {"job": "cc", "status": "suggested"},
        {"job": "dd", "status": "failed", "reason": "out of memory"},
        {"job": "ee", "status": "stopped", "reason": "worse than half"},
        {"job": "aa", "status": "suggested"},  # finished, and its line lost in a crash
    ]
    result, problems = select(write_study(tmp_path / "study", events))
    assert (names(result), problems, result.swept) == (["bb", "aa"], [], ["optim.lr"])
    assert list(result.names.values()) == ["trial 0", "trial 4"]
    assert [(trial.name, trial.status, trial.reason) for trial in result.left_out] == [
        ("trial 1", "unfinished", ""),
        ("trial 2", "failed", "out of memory"),
        ("trial 3", "stopped", "worse than half"),
    ]


def test_the_last_event_of_a_trial_counts(begin: Make, tmp_path: Path) -> None:
    begin("study/aa")
    events = [
        {"number": 1, "job": "aa", "status": "failed", "reason": "lost worker"},
        {"number": 2, "job": "", "status": "failed", "reason": "no such model"},  # what does not resolve has no job
        {"number": 3, "job": "", "status": "failed", "reason": "no such head"},
        {"number": 1, "job": "aa", "status": "done"},
    ]
    result, _ = select(write_study(tmp_path / "study", events))
    assert (names(result), [trial.reason for trial in result.left_out]) == (["aa"], ["no such model", "no such head"])


def test_a_model_swept_by_its_name_varies_model_name(begin: Make, tmp_path: Path) -> None:
    begin("study/aa")
    event = {"job": "aa", "status": "done", "parameters": {"model": "resnet50", "recipe": "tuned", "optim.lr": 0.1}}
    result, _ = select(write_study(tmp_path / "study", [event]))
    assert result.swept == ["model.name", "recipe", "optim.lr"]


def test_a_cross_validated_study_begins_with_its_pooled_winners(begin: Make, tmp_path: Path) -> None:
    for name in ("selected", "selected/folds/s1", "folds/s1/aa", "folds/s2/aa"):
        begin(f"study/{name}")
    events = [{"job": "aa", "fold": fold, "status": "done"} for fold in ("s1", "s2")]
    result, problems = select(write_study(tmp_path / "study", events))
    assert (list(result.names.values()), problems) == (["selected", "trial 0 of fold s1", "trial 1 of fold s2"], [])
    assert [run.path.relative_to(tmp_path / "study").as_posix() for run in result.runs][1:] == [
        "folds/s1/aa",
        "folds/s2/aa",
    ]


def test_trials_of_several_studies_have_the_names_of_their_studies(begin: Make, tmp_path: Path) -> None:
    for name in ("one", "two"):
        begin(f"sweeps/{name}/aa")
        write_study(tmp_path / "sweeps" / name, [{"job": "aa", "status": "done"}])
    result, _ = select(tmp_path / "sweeps")
    assert list(result.names.values()) == ["one: trial 0", "two: trial 0"]


def test_an_unreadable_study_is_a_problem_with_its_reason(begin: Make, tmp_path: Path) -> None:
    done = [{"job": "aa", "status": "done"}]
    begin("future/aa")
    studies = [write_study(tmp_path / "future", done, format=2)]
    studies += [write_study(tmp_path / name, done) for name in ("cut", "untold", "strange", "lost", "lines")]
    (tmp_path / "cut" / "sweep.json").write_text('{"format": 1')
    (tmp_path / "untold" / "trials.jsonl").unlink()
    (tmp_path / "strange" / "trials.jsonl").write_text('{"number": 1}\n')
    (tmp_path / "lines" / "trials.jsonl").write_text('{"job": "aa"\n{"job": "aa", "status": "done"}\n')
    studies.append(write_study(tmp_path / "none", [{"job": "aa", "status": "failed"}]))
    _, problems = select(*studies)
    words = (
        "format 2, this version of fer_id reads 1",
        "not JSON",
        "none of its 0 trials is finished",
        "line 1: damaged",
        "is not a run (no config.yaml)",  # called done, and its folder is gone
        "line 1: not JSON",
        "none of its 1 trials is finished",
    )
    assert len(problems) == len(words)
    assert all(word in problem for word, problem in zip(words, problems, strict=True)), problems


def test_a_line_cut_by_a_crash_is_no_damage(begin: Make, tmp_path: Path) -> None:
    begin("study/aa")
    path = write_study(tmp_path / "study", [{"job": "aa", "status": "done"}])
    with (path / "trials.jsonl").open("a") as out:
        out.write('{"number": 1, "jo')
    before = (path / "trials.jsonl").read_bytes()
    assert select(path)[1] == []
    assert (path / "trials.jsonl").read_bytes() == before  # the sweep may be writing it this moment
