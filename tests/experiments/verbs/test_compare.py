"""``fer-id compare`` by the command line."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from experiments.cli import DONE, main
from experiments.measure.report_speed import made_up_study
from fer_id.evaluation.config import Breakdown
from tests.experiments.messages import refusal


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "study"
    return made_up_study(folder, runs=3, clips=40, subjects=4, epochs=3, lost=1, groups=Breakdown(["severity"]))


def test_a_study_is_compared_by_its_folder(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_every_problem_of_every_path_is_reported_together(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "study"
    shutil.copytree(study, copy)
    first, second, _ = sorted(path.parent for path in copy.glob("*/DONE"))
    (first / "metrics.json").write_text("{")
    (second / "DONE").unlink()
    output = refusal(capsys, ["compare", str(copy), str(tmp_path / "nowhere"), f"out={tmp_path / 'out'}"])
    assert "3 problems" in output
    assert all(word in output for word in ("metrics.json: not JSON", "is not finished", "no such folder"))
    assert not (tmp_path / "out").exists()


def test_the_page_of_something_else_is_not_replaced(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "index.html").write_text("a prediction")
    assert "its index.html is of something else" in refusal(capsys, ["compare", str(study), f"out={tmp_path}"])
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
