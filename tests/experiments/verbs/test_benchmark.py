"""``fer-id benchmark`` by the command line, on drawn children and tiny encoders."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import recall_score

from experiments.benchmarking import budget
from experiments.benchmarking.config import CONTRASTS, BenchmarkConfig
from experiments.cli import DONE, main
from experiments.settings.loading import GROUPS, load
from fer_id.errors import ConfigError
from fer_id.files import read_json
from fer_id.models.build import model_cost
from fer_id.models.config import named_model
from fer_id.runs.run_dir import RunDir
from fer_id.tasks.classification import ClipClassification
from tests.experiments.conftest import QUICK
from tests.experiments.messages import Capture, refusal

Made = tuple[list[str], Path]
READERS = ("frame", "mean", "set", "lstm")


@pytest.fixture(scope="module")
def made(drawn: Path, stores: dict[str, list[Path]], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Arguments and folder of a finished benchmark of two encoders; read-only."""
    root = tmp_path_factory.mktemp("benchmark")
    files = {
        "conv4": {"encoder": "conv4", "widths": [4, 4, 8, 8], "convs": [1, 1, 1, 1]},
        "shallow_cnn": {"encoder": "shallow", "widths": [4, 8], "convs": [1, 1]},
    }
    for name, model in files.items():
        content = {"model": {"name": name, "head": "mean", "hidden": 8, **model}, "data": {"frames": "frame"}}
        (root / f"{name}.yaml").write_text(yaml.safe_dump(content))
    arguments = [
        *("benchmark", "data=synthetic", f"data.store={drawn}", "protocol=holdout", "protocol.test_fraction=0.5"),
        *QUICK,
        *(f"encoders=[{root}/conv4.yaml,{root}/shallow_cnn.yaml]", f"readers=[{','.join(READERS)}]"),
        *("contrasts=[peak = conv4/set - conv4/mean,LSTM = conv4/lstm - conv4/set]", "seeds=[0,1]", "reader_updates=1"),
        *(f"pretrain.store={stores['fer2013'][0]}", "pretrain.data=fer2013", "pretrain.at_most=[40,10,10]"),
        *("budget=null", "pretrain.max_epochs=2", "others_at_most=[]", "finetune.heads=[mean]", "finetune.at_most=[]"),
        *("trainer.resolution=[]", f"runs.root={root}/runs", f"out={root}/out", "name=study", "workers=1"),
        *("optim.lr=0.02", "batch_size=5", "finetune.batch_size=5"),
    ]
    assert main(arguments) == DONE
    return arguments, root


def test_the_tables_agree_with_the_predictions(made: Made) -> None:
    table = pd.read_csv(made[1] / "out" / "readers.csv").set_index(["encoder", "reader"])
    assert set(table.index) == {(encoder, reader) for encoder in ("conv4", "shallow_cnn") for reader in READERS}
    for (encoder, reader), row in table.iterrows():
        paths = sorted((made[1] / "runs" / "study" / "readers" / str(encoder)).glob(f"*/{reader}-s*.parquet"))
        assert len(paths) == (2 if reader == "lstm" else 1)
        tests = [pd.read_parquet(path).query("split == 'test'") for path in paths]
        scores = [recall_score(test["label"], test["predicted"], average="macro") for test in tests]
        assert row["value"] == pytest.approx(np.mean(scores))
    contrasts = pd.read_csv(made[1] / "out" / "contrasts.csv").set_index("contrast")
    value = table.loc[("conv4", "set"), "value"] - table.loc[("conv4", "mean"), "value"]
    assert contrasts.loc["peak", "value"] == pytest.approx(value)
    assert contrasts.loc["peak", "question"] == "Do peak and contrast tell more than the average?"
    assert set(read_json(made[1] / "out" / "benchmark.json", ConfigError)["contrasts"]) == {"peak", "LSTM"}


def test_the_page_is_a_single_file_with_its_provenance(made: Made) -> None:
    page = (made[1] / "out" / "index.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert page.count("<caption>") == page.count('<b class="badge">') == page.count("<table")
    assert page.count('<b class="badge">synthetic (drawn) faces</b>') == page.count("<table") - 1  # stills are real
    assert "reported by the paper" in page
    assert "81.8 %" in page
    assert "no: 2 passes" in page
    assert re.search(r"Undecided: |Shown: |Shown to be smaller", page)
    assert "one training of the encoder" in page


def test_the_fine_tuning_starts_from_the_encoder(made: Made) -> None:
    study = made[1] / "runs" / "study"
    assert RunDir.open(study / "finetuned" / "mean").job().parents == [str(study / "encoders" / "conv4")]
    assert RunDir.open(study / "encoders" / "conv4").config()["data"]["frames"] == "frame"


def test_finished_parts_are_not_made_again(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("made again")

    monkeypatch.setattr(ClipClassification, "training_step", refuse)
    monkeypatch.setattr("fer_id.readers.frame_features.FrameFeatures.write", refuse)
    monkeypatch.setattr("fer_id.readers.study._fitted", refuse)
    again = [f"out={tmp_path}" if argument.startswith("out=") else argument for argument in made[0]]
    assert main(again) == DONE
    for name in ("readers.csv", "contrasts.csv", "index.html"):
        assert (tmp_path / name).read_bytes() == (made[1] / "out" / name).read_bytes()
    planned = [line for line in capsys.readouterr().err.splitlines() if line.startswith("planned: ")]
    assert planned
    assert main(again) == DONE
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("planned: ")] == planned


def test_features_of_other_weights_are_refused(made: Made, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("experiments.benchmarking.parts.sha256", lambda _: "other")
    assert "cached features of other weights" in refusal(capsys, made[0])


def test_stills_have_no_readers(stores: dict[str, list[Path]], capsys: Capture) -> None:
    stills = stores["fer2013"][0]
    arguments = [
        "benchmark",
        "data=fer2013",
        f"data.store={stills}",
        f"pretrain.store={stills}",
        "pretrain.data=fer2013",
    ]
    assert "have one frame each" in refusal(capsys, arguments)


# ------------------------------------------------------------------------------------------------ what is configured


def config(*more: str) -> BenchmarkConfig:
    return load(BenchmarkConfig, ["data=simulated", "data.store=somewhere", "pretrain.store=stills", *more])


@pytest.mark.parametrize("name", sorted(path.stem for path in (GROUPS / "benchmark").glob("*.yaml")))
def test_shipped_benchmarks_ask_the_same_questions(name: str) -> None:
    chosen = config(f"benchmark={name}")
    assert chosen.contrasts == CONTRASTS
    assert len(chosen.seeds) == 5
    assert (chosen.budget is None) == (name == "full")


def test_all_mistakes_are_listed_together(capsys: Capture) -> None:
    output = refusal(
        capsys,
        [
            *(
                "benchmark",
                "data=simulated",
                "encoders=[conv4,resnet51]",
                "seeds=[1,1]",
                "readers=[mean,sets,child_set]",
            ),
            *("protocol=loso", "contrasts=[nonsense]"),
        ],
    )
    for word in (
        "resnet51",
        "seeds",
        "sets: unknown",
        "mode=transductive",
        "one test set",
        "data.store",
        "pretrain.store",
    ):
        assert word in output
    output = refusal(
        capsys,
        [
            *(
                "benchmark",
                "data=simulated",
                "data.store=x",
                "pretrain.store=y",
                "encoders=[conv4]",
                "readers=[mean,set]",
            ),
            "contrasts=[a = conv4/set - conv4/frame,b = resnet50/set - conv4/mean,c = conv4 - mean]",
        ],
    )
    assert "a: frame is none of mean, set" in output
    assert "b: resnet50 is none of conv4" in output
    assert "expected NAME = ENCODER/READER - ENCODER/READER" in output


def test_the_encoders_get_the_time_that_the_budget_leaves() -> None:
    spent = [budget.Cost.of_seconds("all else", 2000)]
    seconds = budget.shares(9e13, spent, ["conv4", "shallow_cnn", "resnet50"], "conv4")
    assert seconds == {"conv4": 500, "shallow_cnn": 250, "resnet50": 250}
    conv4, small = named_model("conv4"), named_model("efficientnet_b0")
    frame, judged = budget.frame_seconds(model_cost(conv4)), 6_000
    plan, cost = budget.passes(500, conv4, 20_000, judged, [])
    assert plan.stills is not None
    assert plan.stills * plan.epochs * 3 * frame == pytest.approx(500 - judged * frame, rel=0.01)
    assert cost.seconds == pytest.approx(500, rel=0.01)
    smaller, same = budget.passes(500, conv4, 20_000, judged, [(0.0, 32), (0.5, 64)])
    assert smaller.stills is not None
    assert smaller.stills * smaller.epochs == pytest.approx(plan.stills * plan.epochs / 0.625, rel=0.01)
    assert same.seconds == pytest.approx(500, rel=0.01)
    # Little arithmetic on many numbers: a fifth of the multiply-adds takes nearly as long.
    assert model_cost(small).frame < model_cost(conv4).frame / 5
    assert budget.frame_seconds(model_cost(small)) > frame / 2
    with pytest.raises(ConfigError, match=r"spent before any encoder learns: all else 33\.3"):
        budget.shares(6e13, spent, ["conv4"], "conv4")
