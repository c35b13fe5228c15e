"""One way to open a trained run: with its weights alone, wherever they were trained and whatever they started from."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from experiments.cli import DONE, USERS_FAULT, main
from experiments.training.trained_model import TrainedModel
from experiments.training.video_model import open_run
from experiments.verbs.card import sources_of
from fer_id.errors import FerIdError, RunError
from fer_id.models import build
from fer_id.models.config import ModelConfig
from fer_id.runs.run_dir import RunDir
from tests.experiments.messages import Capture, Tiny, reconfigure, refusal, train


@pytest.fixture(scope="module")
def pretrained(drawn: Path, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run that began with a file of weights under other names, which is gone since."""
    folder = tmp_path_factory.mktemp("pretrained")
    state = timm.create_model("test_convnext").state_dict()
    torch.save({f"renamed.{number}.{key}": value for number, (key, value) in enumerate(state.items())}, folder / "w.pt")
    encoder = ("model.encoder=timm:test_convnext", "model.widths=[]", "model.convs=[]", "model.residual=false")
    start = (f"model.weights={folder / 'w.pt'}", "model.weights_match=order", "optim.lr=1e-7")
    command = tiny(drawn, folder, *encoder, *start, "model.dropout=0.3", "name=study/run")
    run = train(command)
    digest = hashlib.sha256((folder / "w.pt").read_bytes()).hexdigest()
    assert run.job().weights_file == digest
    assert any(source.dataset == f"a file of weights (SHA-256 {digest})" for source in sources_of(run))
    trained = TrainedModel.open(run).model.encoder.get_submodule("net").state_dict()
    assert trained.keys() <= state.keys()
    assert all(torch.allclose(value, state[name], atol=1e-5) for name, value in trained.items())
    (folder / "w.pt").unlink()
    assert train(command).path == run.path  # which says that it is finished
    return run


def test_the_model_answers_as_the_run_recorded(pretrained: RunDir) -> None:
    trained = TrainedModel.open(pretrained)
    table = pretrained.predictions().set_index("clip_id")
    for batch in trained.data.plain_batches(trained.data.fold.test):
        with torch.inference_mode(), trained.autocast():
            logits = trained.model(batch["frames"], batch["valid"], batch["landmarks"])
        recorded = table.loc[batch["clip_id"]].filter(regex="^logit_").to_numpy()
        np.testing.assert_allclose(logits.numpy(), recorded, atol=1e-5)


@pytest.mark.parametrize(
    "verb", ["uncertainty", *(pytest.param(verb, marks=pytest.mark.slow) for verb in ("explain", "controls"))]
)
def test_no_verb_reads_pretrained_weights_again(
    pretrained: RunDir, verb: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    more = {"explain": ["clips=2", "checks=2"], "uncertainty": ["members=2"]}
    assert main([verb, str(pretrained.path), *more.get(verb, [])]) == DONE, capsys.readouterr().err


def test_a_run_that_began_with_a_download_is_opened_without_a_network(pretrained: RunDir) -> None:
    reconfigure(pretrained, "model", pretrained=True, weights=None, weights_match="names")
    TrainedModel.open(pretrained)


def test_what_is_fetched_is_seen() -> None:
    """The check above can fail: the tests run without a network, where building with pretrained weights is refused."""
    with pytest.raises(FerIdError):
        build.build_model(ModelConfig(encoder="timm:resnet18", head="mean", pretrained=True), 5)


def test_a_portable_model_is_the_same_in_float32_on_the_cpu(pretrained: RunDir) -> None:
    opened, portable = TrainedModel.open(pretrained), TrainedModel.portable(pretrained)
    assert (portable.device.type, portable.precision) == ("cpu", "32")
    weights = portable.model.state_dict()
    for name, value in opened.model.state_dict().items():
        assert torch.equal(value.cpu().float(), weights[name].float()), name
    random = opened.with_random_weights().state_dict()
    assert any(not torch.equal(random[name], value) for name, value in weights.items() if value.is_floating_point())


def test_the_checkpoint_of_another_run_is_refused(drawn: Path, tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    mine, other = (
        train(tiny(drawn, tmp_path, f"seed={seed}", f"name=study/{seed}", "trainer.max_epochs=8")) for seed in (1, 2)
    )
    assert TrainedModel.open(mine).data.fold
    kept = mine.checkpoint().read_bytes()
    mine.checkpoint().write_bytes(other.checkpoint().read_bytes())
    open_it = ["explain", str(mine.path), "clips=2", "checks=0"]
    for command in (open_it, tiny(drawn, tmp_path, "name=next", f"init.run={mine.path}")):
        assert "best.ckpt is not the checkpoint that this run finished with" in refusal(capsys, command)
    with pytest.raises(RunError, match="is not the checkpoint"):  # as `predict` opens a run
        open_run(str(mine.path), 5.0)
    (mine.path / "DONE").write_text("")  # as of a run of an earlier version
    assert main(open_it) == USERS_FAULT
    assert "from those in predictions.parquet on average: the checkpoint is another run's" in capsys.readouterr().err
    mine.checkpoint().write_bytes(kept)
    table = mine.predictions()
    mine.write_predictions(table[table["clip_id"] != table["clip_id"][table["split"] == "test"].iloc[0]])
    assert "which predictions.parquet does not" in refusal(capsys, ["controls", str(mine.path)])


def test_a_runs_weights_are_no_file_of_published_ones(drawn: Path, tiny: Tiny, tmp_path: Path, capsys: Capture) -> None:
    """Whom they learned from would be forgotten, and those children tested."""
    run = train(tiny(drawn, tmp_path, "name=study/first"))
    command = tiny(drawn, tmp_path, "name=study/next", f"model.weights={run.checkpoint()}")
    assert f"is of the run {run.path.resolve()}; say init.encoder_from={run.path.resolve()}" in refusal(capsys, command)
    torch.save({}, tmp_path / "published.pt")
    both = (f"model.weights={tmp_path / 'published.pt'}", f"init.encoder_from={run.path}")
    assert "both give the encoder; choose one" in refusal(capsys, tiny(drawn, tmp_path, "name=study/next", *both))
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "contract.json").write_text("{}")
    shutil.copy(run.checkpoint(), bundle / "weights.safetensors")
    command[-1] = f"model.weights={bundle / 'weights.safetensors'}"
    assert "which does not say whom it learned from" in refusal(capsys, command)


def test_a_cross_validation_has_no_model_of_its_own(drawn: Path, tiny: Tiny, tmp_path: Path) -> None:
    folds = ("protocol=kfold", "protocol.folds=2", "protocol.only=[01]", "name=study/run")
    run = train(tiny(drawn, tmp_path, *folds))
    with pytest.raises(RunError, match=r"is a cross-validation: .*open one of those"):
        TrainedModel.open(run)
