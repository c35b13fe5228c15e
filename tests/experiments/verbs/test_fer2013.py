"""FER2013's plan by the command line: its own pixels, runs that are not tested, the choice by NLL, the average, and the
run that is tested."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from experiments.cli import DONE, main
from fer_id.evaluation.choice import loss_difference, validation_losses
from fer_id.labels import FER7
from fer_id.runs.run_dir import RunDir
from tests.experiments.conftest import QUICK, ferplus_csv
from tests.experiments.messages import Capture, refusal, train

MODEL = ("model=conv4", "model.widths=[4,4,8,8]", "recipe=fer2013", "batch_size=8", "trainer.budget=1e8", *QUICK)
STEP_1 = (
    "optim.name=sgd",
    "optim.lr=0.1",
    "optim.ema=0.9",
    "loss.votes=0.3",
    "loss.votes_head=0.3",
    "loss.label_smoothing=0",
)


@pytest.fixture(scope="module")
def own_pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fer2013")
    settings = ("data=fer2013", "data.labels=fer2013_votes", "data.crop=48", f"out={folder / 'store'}")
    assert main(["prepare", *settings, *ferplus_csv(folder)]) == DONE
    return folder / "store"


def arguments(store: Path, root: Path, name: str, *more: str) -> list[str]:
    listed = ["train", "data=fer2013", f"data.store={store}", f"runs.root={root}", f"name=fer/{name}", *MODEL, *more]
    return list({argument.partition("=")[0]: argument for argument in listed}.values())  # the later one wins


def test_short_runs_choose_without_the_test(own_pixels: Path, tmp_path: Path, capsys: Capture) -> None:
    control = train(arguments(own_pixels, tmp_path, "step0", "protocol.test=false"))
    assert "not judged on test; inner validation: accuracy" in capsys.readouterr().out
    step = train(arguments(own_pixels, tmp_path, "step1", "protocol.test=false", *STEP_1))
    table = control.predictions()
    assert (control.config()["trainer"]["max_epochs"], control.job().cost.multiply_adds_per_clip) == (1, 580_664)
    assert set(table["split"]) == {"validation"}
    assert control.metrics().reasons["accuracy"] == "no labelled test clip"
    assert "Not judged on test clips" in (control.path / "report.html").read_text()
    assert main(["compare", str(control.path), str(step.path), f"out={tmp_path / 'compare'}"]) == DONE
    row = pd.read_csv(tmp_path / "compare" / "comparison.csv").set_index("run").loc["step1"]
    expected = loss_difference(*(validation_losses(run.predictions(), FER7) for run in (step, control)))
    assert row["validation_nll_difference"] == pytest.approx(expected.value)
    assert row["validation_nll_se"] == pytest.approx(expected.error)
    page = (tmp_path / "compare" / "index.html").read_text().replace("\n", " ")
    assert "by the negative log-likelihood of 7 inner-validation clips" in page
    assert "cannot be paired" not in page
    average = tmp_path / "fer" / "average"
    assert main(["uncertainty", str(control.path), str(step.path), f"average={average}"]) == DONE
    assert main(["report", str(average)]) == DONE
    assert loss_difference(*(validation_losses(run.predictions(), FER7) for run in (RunDir.open(average), control)))
    assert main(["train", *arguments(own_pixels, tmp_path, "step0", "protocol.test=false")[1:]]) == DONE
    assert "is finished already" in capsys.readouterr().err


def test_the_chosen_settings_are_tested_once_on_both_protocols(
    own_pixels: Path, stores: dict[str, list[Path]], tmp_path: Path, capsys: Capture
) -> None:
    resolution = "trainer.resolution=[[0,32],[0.5,48]]"
    audited = train(arguments(own_pixels, tmp_path, "best", *STEP_1, resolution, "explain.clips=2"))
    assert set(audited.predictions()["split"]) == {"validation", "test"}
    assert (audited.path / "explain" / "index.html").is_file()
    published = train(arguments(own_pixels, tmp_path, "published", "data.drop_duplicates=false"))
    pages = [(run.path / "report.html").read_text() for run in (audited, published)]
    assert "Audited splits" in pages[0]
    assert "Published splits as they are" in pages[1]
    assert main(["uncertainty", str(audited.path), str(published.path), f"average={tmp_path / 'fer' / 'mean'}"]) == DONE
    assert RunDir.open(tmp_path / "fer" / "mean").metrics().n_clips == 14
    enlarged = stores["fer2013"][0]
    message = refusal(capsys, ["evaluate", str(audited.path), f"on={enlarged}", "other_geometry=true"])
    assert "48x48 pixels" in message
    assert "Prepare the store with data.crop=48" in message


def test_an_encoder_of_one_size_is_refused(
    own_pixels: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = SimpleNamespace(encoder=SimpleNamespace(any_size=False))  # as some of timm's transformers
    monkeypatch.setattr("experiments.training.setup.build_model", lambda *_: fixed)
    message = refusal(capsys, arguments(own_pixels, tmp_path, "fixed"))
    assert "conv4 takes 64x64 pixels only" in message
    assert "are 48x48" in message
