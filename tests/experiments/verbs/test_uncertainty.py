"""``fer-id uncertainty`` from its arguments to the files in the run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.cli import DONE, USERS_FAULT, main
from fer_id.runs.metrics import Uncertainty
from fer_id.runs.run_dir import RunDir
from tests.experiments.messages import Capture, Tiny, refusal, train


@pytest.fixture(scope="module")
def trained(drawn: Path, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """Run of a model with dropout."""
    return train(tiny(drawn, tmp_path_factory.mktemp("trained"), "model.dropout=0.3", "name=a"))


@pytest.fixture
def run(trained: RunDir, tmp_path: Path) -> RunDir:
    return RunDir(shutil.copytree(trained.path, tmp_path / "a"))


def another(run: RunDir, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> RunDir:
    """Copy of a run with other predictions, as if trained with another seed."""
    copy = RunDir(shutil.copytree(run.path, run.path.parent / name))
    copy.write_predictions(change(copy.predictions()))
    return copy


def other_answers(table: pd.DataFrame) -> pd.DataFrame:
    columns = [name for name in table if name.startswith("p_")]
    p = table[columns].to_numpy()
    return table.assign(**dict(zip(columns, np.roll(p, 1, axis=1).T, strict=True)))


def test_dropout_of_a_single_run(run: RunDir, capsys: Capture) -> None:
    assert main(["uncertainty", str(run.path), "members=4"]) == DONE
    output = capsys.readouterr().out
    assert "Monte-Carlo dropout, 4 members" in output
    table = pd.read_parquet(run.path / "uncertainty" / "uncertainty.parquet")
    test = run.predictions().query("split == 'test'")
    assert set(table["clip_id"]) == set(test["clip_id"])
    assert set(table["provenance"]) == {"synthetic"}
    assert (table["epistemic"] > 0).any()
    scores = json.loads((run.path / "uncertainty" / "uncertainty.json").read_text())
    assert run.metrics().uncertainty == Uncertainty.model_validate(scores)
    assert (scores["method"], scores["members"]) == ("Monte-Carlo dropout", 4)
    page = (run.path / "uncertainty" / "index.html").read_text()
    assert "drawn faces" in page
    assert 'href="uncertainty/index.html"' in (run.path / "report.html").read_text()
    assert main(["evaluate", str(run.path)]) == DONE  # which keeps the uncertainty
    assert run.metrics().uncertainty == Uncertainty.model_validate(scores)


def test_an_ensemble_of_runs_on_the_same_clips(run: RunDir, capsys: Capture) -> None:
    twin, other = another(run, "twin", lambda table: table[::-1]), another(run, "other", other_answers)
    assert main(["uncertainty", str(run.path), str(twin.path)]) == DONE
    assert run.metrics()["uncertainty"]["epistemic"] == pytest.approx(0, abs=1e-12)  # in whatever order
    assert main(["uncertainty", str(run.path), str(other.path)]) == DONE
    assert "ensemble, 2 members" in capsys.readouterr().out
    assert run.metrics()["uncertainty"]["epistemic"] > 0
    assert other.metrics().uncertainty is None


def test_runs_that_are_no_ensemble_are_reported_together_and_nothing_is_written(run: RunDir, capsys: Capture) -> None:
    fewer = another(run, "fewer", lambda table: table.iloc[:-1])
    relabelled = another(run, "relabelled", lambda table: table.assign(label="sad"))
    classes = another(run, "classes", lambda table: table.rename(columns=lambda name: name.replace("sad", "glad")))
    paths = [str(member.path) for member in (run, run, fewer, relabelled, classes)]
    output = refusal(capsys, ["uncertainty", *paths])
    assert "named twice" in output
    assert all(f"{member.path} was tested on other clips" in output for member in (fewer, relabelled))
    assert f"{classes.path} tells happy, glad" in output
    assert not (run.path / "uncertainty").exists()


def test_bad_input_is_refused(run: RunDir, capsys: Capture) -> None:
    broken = another(run, "broken", lambda table: table.assign(p_happy=0.9))
    assert "do not sum to 1" in refusal(capsys, ["uncertainty", str(run.path), str(broken.path)])
    (run.path / "DONE").unlink()
    assert "not finished" in refusal(capsys, ["uncertainty", str(run.path)])
    assert main(["uncertainty", "members=4"]) == USERS_FAULT
    assert not (run.path / "uncertainty").exists()
