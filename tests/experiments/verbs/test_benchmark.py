"""``fer-id benchmark`` and ``fer-id controls`` by the command line, on drawn children and tiny models."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score

from experiments.cli import DONE, main
from experiments.settings.loading import GROUPS, load
from experiments.verbs.benchmark import BenchmarkConfig, trainings
from fer_id.runs.run_dir import RunDir
from fer_id.store.reader import ClipStore
from fer_id.tasks.classification import ClipClassification
from tests.experiments.conftest import QUICK
from tests.experiments.messages import Capture, refusal

Made = tuple[list[str], Path]
CONTROLS = {
    *("whole clip", "whole clip, re-fitted", "mean of the frames", "chosen frame", "most confident frame"),
    *("shuffled frames", "reversed frames", "best frame with hindsight"),
}
TEMPORAL = ("cnn_lstm", "conv4_gru", "conv4_bilstm", "conv4_attention", "conv4_transformer", "cnn_lstm_landmarks")


@pytest.fixture(scope="module")
def made(drawn: Path, stores: dict[str, list[Path]], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Arguments and folder of a finished benchmark of a still model, the CNN-LSTM and all other heads, pretrained on
    stills; read-only."""
    root = tmp_path_factory.mktemp("benchmark")
    small = {"widths": [4, 4, 8, 8], "convs": [1, 1, 1, 1]}
    files = {
        "lstm": {"model": {"name": "cnn_lstm", "encoder": "conv4", "head": "lstm", "hidden": 8, **small}},
        "still": {
            "model": {"name": "shallow_cnn", "encoder": "shallow", "head": "mean", "widths": [4, 8], "convs": [1, 1]},
            "data": {"frames": "frame"},
        },
    }
    for name, content in files.items():
        (root / f"{name}.yaml").write_text(yaml.safe_dump(content))
    arguments = [
        *(
            "benchmark",
            "data=synthetic",
            f"data.store={drawn}",
            "protocol=holdout",
            "protocol.test_fraction=0.5",
            *QUICK,
        ),
        *(f"models=[{root}/still.yaml,{root}/lstm.yaml]", "heads=true", "protocol.at_most=[]", "trainer.max_epochs=2"),
        *(f"pretrain.store={stores['fer2013'][0]}", "pretrain.data=fer2013", "pretrain.at_most=[40,10,10]"),
        *("trainer.validate_every=1", f"runs.root={root}/runs", f"out={root}/out", "name=study"),
        *("optim.lr=0.02", "batch_size=5"),
    ]
    assert main(arguments) == DONE
    return arguments, root


def test_the_tables_agree_with_the_predictions(made: Made) -> None:
    table4 = pd.read_csv(made[1] / "out" / "table4.csv").set_index("model")
    assert list(table4.index) == ["shallow_cnn", "cnn_lstm", "conv4_mean", *TEMPORAL[1:]]
    assert set(table4["provenance"]) == {"synthetic"}
    for name, row in table4.iterrows():
        test = RunDir.open(made[1] / "runs" / "study" / str(name)).predictions().query("split == 'test'")
        truth, predicted = test["label"], test["predicted"]
        assert row["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
        assert row["macro_recall"] == pytest.approx(recall_score(truth, predicted, average="macro"))
        names = sorted(truth.unique())
        p = test[[f"p_{label}" for label in names]].to_numpy()
        p = p / p.sum(axis=1, keepdims=True)
        assert row["auc"] == pytest.approx(roc_auc_score(truth, p, multi_class="ovr", labels=names))
        if name != "cnn_lstm":
            assert row["accuracy_difference"] == pytest.approx(row["accuracy"] - table4.loc["cnn_lstm", "accuracy"])
            assert row["p"] <= row["p_holm"] <= 1
    assert pd.isna(table4.loc["cnn_lstm", "p"])
    assert table4.loc["shallow_cnn", "paper_accuracy"] == 0.743
    assert pd.isna(table4.loc["conv4_gru", "paper_accuracy"])


def test_classes_and_their_confusions(made: Made) -> None:
    table5 = pd.read_csv(made[1] / "out" / "table5.csv").set_index(["model", "class"])
    test = RunDir.open(made[1] / "runs" / "study" / "cnn_lstm").predictions().query("split == 'test'")
    for label, clips in test.groupby("label"):
        row = table5.loc[("cnn_lstm", label)]
        assert row["class_wise_accuracy"] == pytest.approx((clips["predicted"] == label).mean())
        errors = clips.loc[clips["predicted"] != label, "predicted"].value_counts()
        if len(errors) and (errors == errors.max()).sum() == 1:
            assert errors.index[0] in row["most_common_error"]
    assert table5.loc[("cnn_lstm", "sad"), "paper_cnn_lstm"] == 0.752


def test_the_page_is_a_single_file_with_its_provenance(made: Made) -> None:
    page = (made[1] / "out" / "index.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert page.count("<caption>") == page.count('<b class="badge">synthetic (drawn) faces</b>') == page.count("<table")
    assert "reported by the paper" in page
    assert "81.8 %" in page
    assert "every encoder learns the training stills" in page
    assert re.search(r"The LSTM (does not earn|earns) its place|not shown that the LSTM earns", page)


def test_every_model_starts_from_its_encoder_of_the_stills(made: Made) -> None:
    runs = made[1] / "runs" / "study"
    starts = dict.fromkeys((*TEMPORAL, "conv4_mean"), "cnn_lstm") | {"shallow_cnn": "shallow_cnn"}
    for name, start in starts.items():
        assert RunDir.open(runs / name).job().parents == [str(runs / "pretrained" / start)]
    assert {path.parent.name for path in runs.glob("pretrained/*/DONE")} == set(starts.values())
    splits = {str(RunDir.open(path.parent).job().subjects) for path in runs.glob("*/DONE")}
    assert len(splits) == 1
    assert RunDir.open(runs / "pretrained" / "cnn_lstm").config()["data"]["frames"] == "frame"


def test_finished_runs_are_not_trained_again(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("trained")

    monkeypatch.setattr(ClipClassification, "training_step", refuse)
    again = [f"out={tmp_path}" if argument.startswith("out=") else argument for argument in made[0]]
    assert main(again) == DONE
    for name in ("table4.csv", "table5.csv", "index.html"):
        assert (tmp_path / name).read_bytes() == (made[1] / "out" / name).read_bytes()


@pytest.mark.parametrize("name", TEMPORAL)
def test_every_temporal_model_has_its_controls(made: Made, name: str) -> None:
    run = RunDir.open(made[1] / "runs" / "study" / name)
    controls, metrics = json.loads((run.path / "controls.json").read_text()), run.metrics()
    assert set(controls["accuracy"]) == CONTROLS
    assert controls["provenance"] == "synthetic"
    accuracy = {key: row["value"] for key, row in controls["accuracy"].items()}
    assert accuracy["whole clip"] == pytest.approx(metrics["accuracy_with_missing"])
    frames = [value for values in controls["by_frame"].values() for value in values]
    assert accuracy["best frame with hindsight"] == pytest.approx(max(frames))
    assert any(accuracy["chosen frame"] == pytest.approx(value) for value in frames)
    for control, row in controls["against_whole_clip"].items():
        assert row["difference"] == pytest.approx(accuracy["whole clip"] - accuracy[control])
    if name == "conv4_attention":  # it cannot see the order
        assert accuracy["shuffled frames"] == pytest.approx(accuracy["whole clip"])
    assert (run.figures / "controls.svg").is_file()
    assert (run.figures / "intensity.svg").is_file()


def test_weak_and_late_clips_are_those_of_the_store(made: Made, drawn: Path) -> None:
    run = RunDir.open(made[1] / "runs" / "study" / "cnn_lstm")
    controls = json.loads((run.path / "controls.json").read_text())
    clips = ClipStore.open(drawn).clips.set_index("clip_id")
    test = run.predictions().query("split == 'test'").set_index("clip_id")
    peak = clips.loc[test.index, "intensity"].map(max)
    assert controls["peak"]["n_without"] == (peak == 0).sum() == (test["label"] == "neutral").sum()
    right = test["label"] == test["predicted"]
    for interval in controls["peak"]["bins"]:
        inside = (peak > 0) & peak.between(interval["from"], interval["to"])
        assert interval["n_clips"] == inside.sum()
        assert interval["accuracy"]["whole clip"]["value"] == pytest.approx(right[inside].mean())
    assert sum(interval["n_clips"] for interval in controls["delay"]["bins"]) == (peak > 0).sum()


def test_controls_are_computed_on_the_same_store_only(
    made: Made, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    run = made[1] / "runs" / "study" / "conv4_gru"
    before = (run / "controls.json").read_bytes()
    assert main(["controls", str(run)]) == DONE
    assert "mean of the frames" in capsys.readouterr().out
    assert (run / "controls.json").read_bytes() == before
    monkeypatch.setattr(ClipStore, "fingerprint", "another")
    assert "another store" in refusal(capsys, ["controls", str(run)])


# ------------------------------------------------------------------------------------------------ what is configured


def config(*more: str) -> BenchmarkConfig:
    return load(BenchmarkConfig, ["data=synthetic", "data.store=somewhere", *more])


@pytest.mark.parametrize("name", sorted(path.stem for path in (GROUPS / "benchmark").glob("*.yaml")))
def test_shipped_budgets_are_the_same_for_every_model(name: str) -> None:
    chosen = config(f"benchmark={name}", "heads=true", "pretrain.store=stills")
    own = {"model", "data", "name", "init"}
    made = trainings(chosen, 0)
    for store in (["somewhere"], ["stills"]):
        ours = [training for training in made if training.data.store == store]
        plans = [{key: value for key, value in vars(training).items() if key not in own} for training in ours]
        assert len(plans) == {"somewhere": 11, "stills": 5}[store[0]]
        assert all(plan == plans[0] for plan in plans)
    assert all((training.init.encoder_from is None) == (training.data.store == ["stills"]) for training in made)
    assert all(training.init.encoder_from is None for training in trainings(config(f"benchmark={name}"), 0))


def test_full_is_the_papers_recipe_with_five_seeds() -> None:
    full = config("benchmark=full")
    assert len(full.seeds) == 5
    assert (full.optim.name, full.optim.lr, full.batch_size, full.trainer.max_epochs) == ("adam", 1e-4, 32, 100)
    names = ("shallow_cnn", "resnet50", "efficientnet_b0", "compact_vit", "cnn_lstm", "conv4_mean")
    assert [training.name for training in trainings(full, 3)] == [f"benchmark-full/{name}-s3" for name in names]


def test_all_mistakes_are_listed_together(capsys: Capture, tmp_path: Path) -> None:
    output = refusal(
        capsys, ["benchmark", "data=synthetic", "models=[cnn_lstm,resnet51]", "protocol=holdout", "seeds=[1,1]"]
    )
    assert "resnet51" in output
    assert "seeds" in output
    output = refusal(capsys, ["benchmark", "data=synthetic", "reference=resnet50"])
    assert "no temporal head" in output
    assert "data.store" in output
