"""``fer-id adapt`` from a finished run and a cohort to a run with metrics by child."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.cli import DONE, INTERRUPTED, main
from fer_id.models.checkpoint import load_state
from fer_id.models.network import ClipClassifier
from fer_id.runs.run_dir import RunDir
from fer_id.tasks.classification import ClipClassification
from fer_id.tasks.features import FeatureBank
from fer_id.tasks.strategies import STRATEGIES
from fer_id.types import ClipBatch
from tests.experiments.messages import Capture, Tiny, edited, refusal, train


@pytest.fixture(scope="module")
def source(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """Run on other drawn children."""
    folder = tmp_path_factory.mktemp("source")
    assert main(["synth", f"out={folder}/store", "subjects=4", "clips_per_emotion=1", "frames=3", "seed=11"]) == DONE
    return train(tiny(folder / "store", folder / "runs", "name=source/lstm", "trainer.max_epochs=2"))


def adapting(tiny: Tiny, store: Path, source: RunDir, runs: Path, strategy: str, *more: str) -> list[str]:
    """``adapting(...)``: arguments of an adaptation of one fold."""
    fold = "protocol.only=[drawn7-001]"
    arguments = tiny(store, runs, "protocol=loso", fold, f"init.run={source.path}", f"adapt.strategy={strategy}", *more)
    return ["adapt", *arguments[1:]]


def filmed(drawn: Path, store: Path) -> Path:
    """Drawn store in which both clips of an emotion come from one video."""
    shutil.copytree(drawn, store)
    clips = pd.read_parquet(store / "clips.parquet")
    clips["video_id"] = clips["subject_id"] + clips["label"]
    clips["t0_s"] = 9.0 * clips.groupby("video_id").cumcount()
    clips.to_parquet(store / "clips.parquet")
    return store


FEW = ("adabn", "dann", "gradual")
"""Strategies of which no other one has the parts: unlabelled clips, source clips, and stages; the rest is slow."""


@pytest.mark.parametrize(
    "strategy", [*FEW, *(pytest.param(name, marks=pytest.mark.slow) for name in sorted({*STRATEGIES}.difference(FEW)))]
)
def test_every_strategy_ends_in_a_run_of_the_left_out_child(
    strategy: str, tiny: Tiny, drawn: Path, source: RunDir, tmp_path: Path
) -> None:
    run = train(adapting(tiny, drawn, source, tmp_path, strategy, f"name=site/{strategy}"))
    tested = run.predictions().query("split == 'test'")
    assert set(tested["subject_id"]) == {"drawn7-001"}
    assert run.metrics()["n_clips"] == len(tested) == 10
    assert run.job().parents == [str(source.path)]
    assert np.isfinite(tested.filter(like="logit_").to_numpy()).all()
    before, after = load_state(source.checkpoint()), load_state(run.folds[0].checkpoint())
    changed = {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    read_again = run.job().subjects.get("source")
    assert read_again == (source.job().subjects["train"] if strategy in ("coral", "dann") else None)
    learns = {"encoder", "head", "classifier"}
    expected = {"source_only": set(), "adabn": {"encoder"}, "linear_probe": {"classifier"}}
    expected |= {"head": {"head", "classifier"}}
    assert changed == expected.get(strategy, learns) or (strategy == "gradual" and changed == {"classifier"})


def test_source_only_predicts_what_the_source_predicts(tiny: Tiny, drawn: Path, source: RunDir, tmp_path: Path) -> None:
    """Compared with the model loaded without the command line."""
    from experiments.config import TrainConfig
    from experiments.settings.loading import read
    from experiments.training.setup import open_data
    from fer_id.models.build import build_model
    from fer_id.models.checkpoint import load_model

    fold = train(adapting(tiny, drawn, source, tmp_path, "source_only", "name=site/a")).folds[0]
    config = read(TrainConfig, fold.path / "config.yaml")
    data = open_data(config, fold.path.name)
    model = build_model(config.model, len(data.labels))
    load_model(model, source.checkpoint())
    recorded = fold.predictions().query("split == 'test'").set_index("clip_id").filter(like="logit_")
    for row in data.fold.test:
        clip = data.stores[0].read(int(row))
        frames = torch.from_numpy(clip.frames.copy()).permute(0, 3, 1, 2)[None].float() / 255
        with torch.no_grad():
            logits = model.eval()(frames, torch.from_numpy(clip.valid.copy())[None])[0]
        np.testing.assert_allclose(recorded.loc[data.clips["clip_id"].iloc[row]], logits.numpy(), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["dann", "linear_probe", "coral", "gradual"])
def test_an_interrupted_adaptation_ends_as_the_uninterrupted_one(
    strategy: str, tiny: Tiny, drawn: Path, source: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state of a strategy beside the model (a critic, its progress) is restored as well."""
    begin = ClipClassification.on_train_batch_start

    def interrupted(self: ClipClassification, batch: ClipBatch, batch_idx: int) -> None:
        if self.current_epoch == 2 and batch_idx == 1:
            raise KeyboardInterrupt
        begin(self, batch, batch_idx)

    drawing = ("trainer.max_epochs=4", "optim.schedule=one_cycle", "batch_size=4")
    runs = []
    for name in ("whole", "stopped"):
        arguments = adapting(tiny, drawn, source, tmp_path, strategy, f"name=site/{name}", *drawing)
        if name == "stopped":
            with monkeypatch.context() as patched:
                patched.setattr(ClipClassification, "on_train_batch_start", interrupted)
                assert main(arguments) == INTERRUPTED
        assert main(arguments) == DONE
        runs.append(RunDir.open(tmp_path / "site" / name).folds[0])
    whole, stopped = (load_state(run.checkpoint("last")) for run in runs)
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    pd.testing.assert_frame_equal(*(run.predictions() for run in runs))


@pytest.mark.slow
def test_folds_of_a_probe_share_features_with_the_same_result(
    tiny: Tiny, drawn: Path, source: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    pool = ClipClassifier.pool

    def counting(self: ClipClassifier, features: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        passes[-1] += int(self.training or features.shape[0] == 1)
        return pool(self, features, valid)

    monkeypatch.setattr(ClipClassifier, "pool", counting)
    predicted = []
    for name, limit in (("shared", 2**30), ("alone", 0)):
        passes.append(0)
        monkeypatch.setattr(FeatureBank.__init__, "__defaults__", (limit,))
        more = (f"name=site/{name}", "protocol.only=[]", "trainer.max_epochs=2")
        predicted.append(train(adapting(tiny, drawn, source, tmp_path, "linear_probe", *more)).predictions())
    pd.testing.assert_frame_equal(*predicted)
    clips = 40
    assert passes[0] <= clips * (2 + 1) < passes[1]  # two epochs and once as it is, whatever the number of folds


def test_a_child_in_the_sources_training_is_not_tested(
    tiny: Tiny, drawn: Path, tmp_path: Path, capsys: Capture
) -> None:
    run = train(tiny(drawn, tmp_path, "name=same/run", "protocol=holdout"))
    learned = run.job().subjects["train"][0]
    fold = f"protocol.only=[{learned}]"
    output = refusal(capsys, adapting(tiny, drawn, run, tmp_path, "full", "name=site/a", fold))
    assert f"learned from 1 subjects whom fold {learned} tests" in output


def test_crops_of_another_geometry_are_refused(
    tiny: Tiny, drawn: Path, source: RunDir, tmp_path: Path, capsys: Capture
) -> None:
    other = shutil.copytree(drawn, tmp_path / "gray")
    with edited(other / "card.json") as card:
        card["geometry"]["colour"] = "gray"
    output = refusal(capsys, adapting(tiny, other, source, tmp_path / "runs", "full", "name=site/a"))
    assert "crops of another geometry: rgb, eyes at" in output
    assert "this store's are gray, eyes at" in output
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["init.run=null"], "init.run: is empty"),
        (["adapt.strategy=magic"], "one of source_only, linear_probe"),
        (["model.head=gru", "adapt.strategy=source_only"], "its temporal head is another than model.head"),
        (["model.head=gru", "adapt.strategy=linear_probe"], "has another temporal head"),
        (["model.widths=[4,4,8,12]"], "weights of another model"),
        (["protocol.mode=transductive"], "clips without labels tell full nothing; choose adabn, coral, dann"),
        (["protocol.mode=personalised"], "no video has two clips"),
        (["protocol.own_clips=3"], "are of protocol.mode=personalised"),
        (["protocol=official", "protocol.mode=personalised"], "say who is left out first"),
        (["adapt.unfreeze_until=0", "adapt.lr_decay=2"], "2 problems"),
    ],
)
def test_impossible_adaptations_are_reported(
    tiny: Tiny, drawn: Path, source: RunDir, tmp_path: Path, capsys: Capture, more: list[str], message: str
) -> None:
    arguments = adapting(tiny, drawn, source, tmp_path, "full", "name=site/a")
    merged = {argument.partition("=")[0]: argument for argument in [*arguments, *more]}
    assert message in refusal(capsys, list(merged.values()))
    assert not list(tmp_path.iterdir())


def test_a_strategy_without_a_start_is_refused(tiny: Tiny, drawn: Path, tmp_path: Path, capsys: Capture) -> None:
    assert "needs a model to start from" in refusal(capsys, tiny(drawn, tmp_path, "adapt.strategy=gradual", "name=a/b"))


@pytest.mark.parametrize(
    "strategy", ["adabn", *(pytest.param(name, marks=pytest.mark.slow) for name in ("coral", "dann"))]
)
def test_unlabelled_clips_of_the_tested_child_change_the_model(
    strategy: str, tiny: Tiny, drawn: Path, source: RunDir, tmp_path: Path
) -> None:
    models = {}
    for mode in ("inductive", "transductive"):
        more = (f"protocol.mode={mode}", f"name=site/{mode}")
        run = train(adapting(tiny, drawn, source, tmp_path, strategy, *more))
        models[mode] = load_state(run.folds[0].checkpoint())
        assert run.job().subjects.get("unlabelled") == (["drawn7-001"] if mode == "transductive" else None)
        assert ("Transductive protocol" in (run.path / "report.html").read_text()) == (mode == "transductive")
    assert any(not torch.equal(value, models["transductive"][name]) for name, value in models["inductive"].items())


def test_a_model_trained_on_a_childs_unlabelled_clips_is_not_tested_on_the_child(
    tiny: Tiny, drawn: Path, source: RunDir, tmp_path: Path, capsys: Capture
) -> None:
    arguments = adapting(tiny, drawn, source, tmp_path, "adabn", "protocol.mode=transductive", "name=site/a")
    seen = train(arguments).folds[0]
    output = refusal(capsys, adapting(tiny, drawn, seen, tmp_path, "full", "name=site/b"))
    assert "learned from 1 subjects whom fold drawn7-001 tests" in output


def test_earlier_clips_of_the_tested_child_are_in_the_training(
    tiny: Tiny, drawn: Path, source: RunDir, tmp_path: Path
) -> None:
    store = filmed(drawn, tmp_path / "store")
    clips = pd.read_parquet(store / "clips.parquet")
    more = ("protocol.mode=personalised", "name=site/own")
    run = train(adapting(tiny, store, source, tmp_path / "runs", "linear_probe", *more))
    (fold,) = run.folds
    assert "drawn7-001" in fold.job().subjects["train"]
    tested = fold.predictions().query("split == 'test'")["clip_id"]
    assert set(clips.set_index("clip_id").loc[tested, "t0_s"]) == {9.0}
    assert "Personalised protocol" in (run.path / "report.html").read_text()


def test_the_curve_is_a_run_for_each_size_and_goes_on_where_it_stopped(
    tiny: Tiny, drawn: Path, source: RunDir, tmp_path: Path, capsys: Capture
) -> None:
    arguments = ["curve", *adapting(tiny, drawn, source, tmp_path, "linear_probe", "name=site/curve")[1:]]
    assert main([*arguments, "sizes=[2,0]"]) == DONE
    table = pd.read_csv(tmp_path / "site" / "curve" / "curve-children.csv")
    assert table["size"].tolist() == [0, 2]
    for size, accuracy in zip(table["size"], table["accuracy"], strict=True):
        run = RunDir.open(tmp_path / "site" / "curve" / f"children-{size:03d}")
        assert run.metrics()["accuracy"] == pytest.approx(accuracy)
        assert run.config()["adapt"]["strategy"] == ("linear_probe" if size else "source_only")
        assert not size or len(run.folds[0].job().subjects["train"]) == size
    assert b"children learned from" in (tmp_path / "site" / "curve" / "curve-children.svg").read_bytes()
    capsys.readouterr()
    assert main([*arguments, "sizes=[0,2]"]) == DONE
    assert capsys.readouterr().err.count("finished already") == 2


@pytest.mark.slow
def test_the_curve_over_clips_tests_the_same_clips_at_every_size(
    tiny: Tiny, drawn: Path, source: RunDir, tmp_path: Path
) -> None:
    store = filmed(drawn, tmp_path / "store")
    more = ("name=site/own", "over=clips", "protocol.mode=personalised", "sizes=[0,3]")
    arguments = adapting(tiny, store, source, tmp_path / "runs", "linear_probe", *more)
    assert main(["curve", *arguments[1:]]) == DONE
    runs = [RunDir.open(tmp_path / "runs" / "site" / "own" / f"clips-{size:03d}") for size in (0, 3)]
    none, some = (run.folds[0].predictions().query("split == 'test'")["clip_id"].tolist() for run in runs)
    assert none == some
    learned = [run.folds[0].job().clips["train"] for run in runs]
    assert learned[1] - learned[0] == 3


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["sizes=[1,99]"], "99 is more than the 2 children there are"),
        (["sizes=[1,-1]"], "expected at least 0"),
        (["sizes=[1,1]"], "expected different numbers"),
        (["protocol.train_groups=2"], "are what the curve varies"),
        (["over=clips"], "say protocol.mode=personalised"),
        (["protocol.mode=personalised"], "say over=clips"),
        (["protocol.group=age_group"], "would count values of age_group, not children"),
        (["over=clips", "protocol.mode=personalised"], "no video has two clips"),
    ],
)
def test_a_curve_that_cannot_be_drawn_is_reported_before_anything_is_trained(
    tiny: Tiny, drawn: Path, source: RunDir, tmp_path: Path, capsys: Capture, more: list[str], message: str
) -> None:
    arguments = adapting(tiny, drawn, source, tmp_path, "linear_probe", "name=site/curve")[1:]
    assert message in refusal(capsys, ["curve", *arguments, *more])
    assert not list(tmp_path.iterdir())


def test_a_missing_source_store_is_reported_before_anything_is_begun(
    tiny: Tiny, drawn: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["synth", f"out={tmp_path}/store", "subjects=4", "clips_per_emotion=1", "frames=3", "seed=12"]) == DONE
    run = train(tiny(tmp_path / "store", tmp_path / "runs", "name=source/lstm"))
    shutil.rmtree(tmp_path / "store")
    output = refusal(capsys, adapting(tiny, drawn, run, tmp_path / "runs", "coral", "name=site/a"))
    assert "learns again from what" in output
    assert not (tmp_path / "runs" / "site").exists()
