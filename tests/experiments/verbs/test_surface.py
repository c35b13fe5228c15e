"""``fer-id surface`` by the command line, after a benchmark of simulated drawn faces and a tiny encoder."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import recall_score

from experiments.cli import DONE, main
from fer_id.simulation import child
from fer_id.store.reader import ClipStore
from tests.experiments.conftest import QUICK
from tests.experiments.messages import Capture, edited, refusal

Made = tuple[list[str], Path]


@pytest.fixture(scope="module")
def study(stores: dict[str, list[Path]], stills_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Arguments and encoder of a finished benchmark of simulated children, its page in ``out`` beside ``runs``;
    read-only."""
    root = tmp_path_factory.mktemp("benchmark")
    model = {"name": "conv4", "encoder": "conv4", "head": "mean", "widths": [4, 4, 8, 8], "convs": [1, 1, 1, 1]}
    (root / "conv4.yaml").write_text(yaml.safe_dump({"model": model, "data": {"frames": "frame"}}))
    arguments = [
        *("benchmark", "data=simulated", f"data.store={stores['simulated'][0]}", f"encoders=[{root}/conv4.yaml]"),
        *(f"pretrain.store={stills_store}", "pretrain.data=fer2013", "pretrain.max_epochs=1", "budget=null"),
        *("contrasts=[peak = conv4/set - conv4/frame]", "readers=[frame,set]", "finetune.heads=[]", "batch_size=16"),
        *("low_resource.sizes=[4,5]", "low_resource.draws=1", "workers=1", "trainer.resolution=[]", *QUICK),
        *(f"runs.root={root}/runs", f"out={root}/out", "name=study"),
    ]
    assert main(arguments) == DONE
    return arguments, root / "runs" / "study" / "encoders" / "conv4"


@pytest.fixture(scope="module")
def encoder(study: Made) -> Path:
    """The encoder of the finished benchmark; read-only."""
    return study[1]


@pytest.fixture(scope="module")
def made(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Arguments and folder of a finished surface of two points; read-only."""
    root = tmp_path_factory.mktemp("surface")
    arguments = [
        *("surface", str(encoder), "peak=[0.3,1]", "resting=[1]", "strays=[1]", "subjects=[6,2,4]", "workers=1"),
        *("contrasts=[set - frame,lstm - set]", "seeds=[0,1]", "reader_updates=1"),
        *(f"runs.root={root}/runs", f"out={root}/out"),
    ]
    assert main(arguments) == DONE
    return arguments, root


def test_the_benchmark_leaves_one_child_out(encoder: Path) -> None:
    """Cohorts of all four test children; of five, there are not enough."""
    out = encoder.parents[3] / "out"
    table = pd.read_csv(out / "low_resource.csv").set_index(["reader", "protocol"])
    assert table["children"].tolist() == [4, 12, 4, 12]
    paths = (encoder.parents[1] / "readers" / "conv4" / "low_resource").glob("*/set-s0.parquet")
    tests = pd.concat([pd.read_parquet(path).query("split == 'test'") for path in paths])
    assert tests["subject_id"].nunique() == tests["fold"].nunique() == 4
    score = recall_score(tests["label"], tests["predicted"], average="macro")
    assert table.loc[("set", "leave one child out"), "value"] == pytest.approx(score)
    page = (out / "index.html").read_text()
    assert "The paper's own protocol, on simulated clips" in page.replace("&#39;", "'")
    assert page.count("<caption>") == page.count('<b class="badge">') == page.count("<table")
    assert page.count('<b class="badge">simulated clips</b>') == page.count("<table") - 1  # of stills: real faces


def test_an_encoder_that_learned_stills_of_a_simulation_made_again_is_refused(
    study: Made, tmp_path: Path, capsys: Capture
) -> None:
    """The finished encoder is kept by its settings, which do not tell that other stills are judged now."""
    arguments, encoder = study
    shutil.copytree(encoder.parents[2], tmp_path / "runs")
    encoder = tmp_path / "runs" / "study" / "encoders" / "conv4"
    with edited(encoder / "job.json") as job:
        job["store"]["left_out"] = "of the simulation before"
    again = [word for word in arguments if not word.startswith(("runs.root=", "out="))]
    output = refusal(capsys, [*again, f"runs.root={tmp_path}/runs", f"out={tmp_path}/out"])
    assert f"{encoder} learned from stills that tested clips" in output
    assert "remove the run's folder first" in output
    assert not (tmp_path / "out").exists()


def test_the_tables_agree_with_the_predictions(made: Made) -> None:
    readers = pd.read_csv(made[1] / "out" / "readers.csv").set_index(["peak", "reader"])
    assert set(readers.index) == {(peak, reader) for peak in (0.3, 1.0) for reader in ("frame", "set", "lstm")}
    for (peak, reader), row in readers.iterrows():
        paths = sorted((made[1] / "runs" / "surface").glob(f"peak{peak:g}-*/readers/*/{reader}-s*.parquet"))
        assert len(paths) == (2 if reader == "lstm" else 1)
        tests = [pd.read_parquet(path).query("split == 'test'") for path in paths]
        scores = [recall_score(test["label"], test["predicted"], average="macro") for test in tests]
        assert row["value"] == pytest.approx(np.mean(scores))
    table = pd.read_csv(made[1] / "out" / "surface.csv").set_index(["contrast", "peak"])
    value = readers.loc[(0.3, "set"), "value"] - readers.loc[(0.3, "frame"), "value"]
    assert table.loc[("set - frame", 0.3), "value"] == pytest.approx(value)
    assert set(table["provenance"]) == {"simulated"}


def test_points_are_paired_and_of_the_simulation_that_the_encoder_left_out(
    made: Made, stores: dict[str, list[Path]]
) -> None:
    """Both points have the same clips of the same children and stills, those of the store; at the store's own settings
    the expressions take the same course, at a smaller peak a smaller one. No simulated face stays."""
    weak, own = (
        pd.read_parquet(path).set_index("clip_id") for path in sorted((made[1] / "runs").glob("*/*/clips.parquet"))
    )
    store = ClipStore.open(stores["simulated"][0]).clips.set_index("clip_id").loc[own.index]
    assert weak.groupby("split")["subject_id"].nunique().to_dict() == {"train": 6, "validation": 2, "test": 4}
    for column in ("subject_id", "video_id", "label", "split"):
        assert weak[column].tolist() == own[column].tolist() == store[column].tolist()
    courses = [np.stack(table["intensity"].tolist()) for table in (weak, own, store)]
    assert np.allclose(courses[1], courses[2])
    assert np.allclose(courses[0], 0.3 * courses[1])
    assert not list((made[1] / "runs").rglob("frames"))


def test_the_page_is_a_single_file_with_its_provenance(made: Made) -> None:
    page = (made[1] / "out" / "index.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert page.count("<caption>") == page.count('<b class="badge">simulated clips</b>') == page.count("<table") == 3
    assert "of 2 points" in page
    assert "Do peak" not in page
    assert "Does the LSTM earn its place beside an order-free summary?" in page


def test_a_finished_point_is_not_made_again(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Features that were lost are made again, equal to before, and a killed process leaves nothing behind."""
    simulated: set[float] = set()
    stage = child.stage

    def counting(subject, split, emotion, number, config):  # type: ignore[no-untyped-def]
        simulated.add(config.peak)
        return stage(subject, split, emotion, number, config)

    monkeypatch.setattr(child, "stage", counting)
    shutil.copytree(made[1] / "runs", tmp_path / "runs")
    again = [*made[0][:-2], f"runs.root={tmp_path}/runs", f"out={tmp_path}/out"]
    assert main(again) == DONE
    for name in ("surface.csv", "readers.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (made[1] / "out" / name).read_bytes()
    assert not simulated
    (lost,) = (tmp_path / "runs" / "surface").glob("peak0.3-*")
    shutil.rmtree(lost / "features")
    (lost / ".store.killed").mkdir()
    assert main(again) == DONE
    assert simulated == {0.3}
    assert (tmp_path / "out" / "surface.csv").read_bytes() == (made[1] / "out" / "surface.csv").read_bytes()
    assert [path.name for path in lost.glob(".*")] == []
    assert "simulated clips" in capsys.readouterr().err


def test_an_encoder_that_may_have_learned_judged_stills_is_refused(
    made: Made, encoder: Path, tmp_path: Path, capsys: Capture
) -> None:
    copy = shutil.copytree(encoder, tmp_path / "conv4")
    arguments = ["surface", str(copy), *made[0][2:-2], f"runs.root={tmp_path}", f"out={tmp_path}/out"]
    with edited(copy / "job.json") as job:
        job["store"]["left_out"] = "of other stills"
    assert "did not leave out the stills that judged clips" in refusal(capsys, arguments)
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(re.sub(r"excluding: .*", "excluding: null", config))
    assert "learned stills without data.excluding" in refusal(capsys, arguments)
    assert not (tmp_path / "surface").exists()


def test_all_mistakes_are_listed_together(capsys: Capture) -> None:
    output = refusal(
        capsys,
        [
            *("surface", "peak=[0,1]", "resting=[1,1]", "subjects=[1,2]", "seeds=[]"),
            "contrasts=[set,sets - frame,child_set - set]",
        ],
    )
    for words in ("run is required", "peak", "resting: [1.0, 1.0]", "three numbers", "seeds", "READER - READER"):
        assert words in output
    assert "sets is none of frame" in output
    assert "child_set is none of" in output
