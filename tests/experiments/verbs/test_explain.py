"""``fer-id explain`` by the command line: tiny models, drawn children, benchmarks' stills, wrong input."""

from __future__ import annotations

import json
import re
import shutil
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import timm
from torch import Tensor, nn

from experiments.cli import DONE, USERS_FAULT, main
from experiments.verbs.explain import balanced
from fer_id.explain.regions import REGIONS
from fer_id.reporting.gallery import GAP, SIDE
from fer_id.runs.run_dir import RunDir
from fer_id.store.reader import ClipStore
from tests.experiments.conftest import QUICK
from tests.experiments.messages import Capture, Tiny, refusal, train


@pytest.fixture(scope="module")
def explained(tiny: Tiny, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished run with ``explain/``; read-only."""
    runs = tmp_path_factory.mktemp("explained")
    run = train(tiny(drawn, runs, "name=study/run", "protocol.test_fraction=0.5"))
    assert main(["explain", str(run.path), "checks=6", "batch_size=4"]) == DONE
    return run.path


def summary(run: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((run / "explain" / "explain.json").read_text())
    return content


def test_every_test_clip_is_explained_for_its_predicted_class(explained: Path) -> None:
    rows = pd.read_parquet(explained / "explain" / "explanations.parquet").set_index("clip_id")
    test = RunDir.open(explained).predictions().query("split == 'test'").set_index("clip_id")
    assert set(rows.index) == set(test.index)
    names = [str(column).removeprefix("logit_") for column in test if str(column).startswith("logit_")]
    for clip, row in rows.iterrows():
        assert names[row["target"]] == test.loc[clip, "predicted"]
        assert sum(row[f"area {name}"] for name in REGIONS) == pytest.approx(1, abs=1e-3) or row["reason"]
        moments = np.array(row["importance"])
        assert np.nansum(moments) == pytest.approx(1) or np.isnan(moments).all()


def test_the_page_fits_a_narrow_screen_and_counts_the_clips_of_a_class(explained: Path) -> None:
    page, content = (explained / "explain" / "index.html").read_text(), summary(explained)
    assert page.count('<table class="regions">') == (2 if content["by_group"] else 1)
    pictures = [b64decode(code) for code in re.findall(r"svg\+xml;base64,([\w+/=]+)", page)]
    counts = [f"{name}  ({result['n_clips']})" for name, result in content["by_class"].items()]  # type: ignore[attr-defined]
    assert any(all(f"<!-- {count} -->".encode() in picture for count in counts) for picture in pictures)


def test_the_summary_agrees_with_the_table(explained: Path) -> None:
    content, rows = summary(explained), pd.read_parquet(explained / "explain" / "explanations.parquet")
    known = rows[rows["reason"].isna()]
    outside = ("hairline", "background")
    shares, areas = (sum(known[f"{start} {name}"].sum() for name in outside) for start in ("share", "area"))
    assert content["leakage"]["value"] == pytest.approx(shares / areas)  # type: ignore[index]
    assert content["provenance"] == "synthetic"
    assert set(content["checks"]) >= {"stability", "deletion", "insertion", "random everything"}  # type: ignore[arg-type]
    assert set(content["by_method"]) == {"grad_cam", "integrated_gradients", "occlusion", "random weights"}  # type: ignore[arg-type]


def test_the_page_is_a_single_private_file_with_its_provenance(explained: Path) -> None:
    path = explained / "explain" / "index.html"
    page = path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert page.count("<caption>") == page.count("<table")
    assert page.count("<figcaption>") + page.count("<caption>") == page.count('<b class="badge">')
    for name in summary(explained)["failed"]:  # type: ignore[attr-defined]
        assert f"maps failed: {name}" in page or "maps failed" in page


def test_the_page_has_all_methods_for_checked_clips(explained: Path) -> None:
    page = (explained / "explain" / "index.html").read_text()
    _, _, others = page.partition("<h3>Grad-CAM beside other methods")
    assert others.count("<figure>") == 6  # as many as were checked
    methods = "the frames, Grad-CAM, integrated gradients, occlusion, Grad-CAM, weights drawn anew</small>"
    assert others.count(methods) == 6
    pictures = [b64decode(picture) for picture in re.findall(r'base64,([^"]+)" alt="Film', page)]
    heights = [len(cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)) for picture in pictures]
    assert heights[-1] == heights[0] + 3 * (SIDE + GAP)


def test_a_run_explained_again_has_the_same_result(explained: Path) -> None:
    before = (explained / "explain" / "explain.json").read_bytes()
    assert main(["explain", str(explained), "checks=6", "batch_size=4"]) == DONE
    assert (explained / "explain" / "explain.json").read_bytes() == before


def test_memory_is_bounded_by_the_batch_size_and_the_result_does_not_depend_on_it(
    explained: Path, tmp_path: Path
) -> None:
    first = pd.read_parquet(explained / "explain" / "explanations.parquet").set_index("clip_id")
    copy = shutil.copytree(explained, tmp_path / "run")
    assert main(["explain", str(copy), "checks=0", "batch_size=1"]) == DONE
    again = pd.read_parquet(copy / "explain" / "explanations.parquet").set_index("clip_id")
    columns = [f"share {name}" for name in REGIONS]
    np.testing.assert_allclose(first[columns], again.loc[first.index, columns], atol=2e-3)


@pytest.mark.slow
def test_folds_are_explained_by_their_own_models(tiny: Tiny, drawn: Path, tmp_path: Path) -> None:
    more = ("protocol=loso", "name=study/loso", "explain.clips=8", "explain.checks=4")
    run = train(tiny(drawn, tmp_path, *more)).path
    rows = pd.read_parquet(run / "explain" / "explanations.parquet")
    assert (rows["fold"] == rows["subject_id"]).all()
    assert rows["subject_id"].nunique() == 4  # subjects take turns
    assert not list(run.glob("folds/*/explain"))


@pytest.mark.parametrize(
    ("name", "labels"),
    [("fer2013", 7), *(pytest.param(name, 8, marks=pytest.mark.slow) for name in ("ferplus", "affectnet"))],
)
def test_stills_without_landmarks_have_maps_and_no_regions(
    stores: dict[str, list[Path]], tmp_path: Path, capsys: Capture, name: str, labels: int
) -> None:
    store = stores[name][0]
    small = ("model=conv4", "model.widths=[4,4,8,8]", "model.convs=[1,1,1,1]", "trainer.max_epochs=1", "batch_size=8")
    run = train(["train", f"data={name}", f"data.store={store}", *small, *QUICK, f"runs.root={tmp_path}", "name=a/b"])
    capsys.readouterr()
    assert main(["explain", str(run.path), "checks=4"]) == DONE
    content = summary(run.path)
    known = np.isfinite(ClipStore.open(store).read(0).landmarks).all()
    assert (content["leakage"]["value"] is None) == (not known)  # type: ignore[index]
    if not known:
        assert content["left_out"] == {"no frame has landmarks": content["n_clips"]}
        assert "Regions are unknown" in capsys.readouterr().out
    assert "data:image/png" in (tmp_path / "a" / "b" / "explain" / "index.html").read_text()


def test_an_unknown_layer_lists_the_possible_ones(explained: Path, capsys: Capture) -> None:
    before = sorted((explained / "explain").iterdir())
    output = refusal(capsys, ["explain", str(explained), "layer=blocks.9"])
    assert "blocks.9" in output
    assert "blocks.3.map (8x8)" in output
    assert sorted((explained / "explain").iterdir()) == before


def test_a_run_without_its_checkpoint_is_refused(tiny: Tiny, drawn: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(tiny(drawn, tmp_path, "name=a/b")) == DONE
    (tmp_path / "a" / "b" / "checkpoints" / "best.ckpt").unlink()
    assert "best.ckpt" in refusal(capsys, ["explain", str(tmp_path / "a" / "b")])
    assert main(["explain", str(tmp_path / "nothing")]) == USERS_FAULT
    assert not (tmp_path / "a" / "b" / "explain").exists()


def test_clips_without_a_face_are_counted(tiny: Tiny, drawn: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(drawn, store)
    for path in (store / "valid").iterdir():
        valid = np.load(path)
        valid[:3] = False  # the first clip of every child
        np.save(path, valid)
    table = pd.read_parquet(store / "clips.parquet")
    first = table.groupby("subject_id")["start"].transform("min") == table["start"]
    table.loc[first, "n_valid"] = 0
    table.to_parquet(store / "clips.parquet", index=False)
    assert main(tiny(store, tmp_path, "name=a/b", "protocol.test_fraction=0.5")) == DONE
    assert main(["explain", str(tmp_path / "a" / "b"), "checks=2"]) == DONE
    content = summary(tmp_path / "a" / "b")
    assert content["left_out"]["no frame shows a face"] == 2  # type: ignore[index]
    assert content["n_clips"] == 20


def test_a_failed_explanation_after_a_training_keeps_the_training(
    tiny: Tiny, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("unforeseen")

    monkeypatch.setattr("experiments.training.training.explain_run", broken)
    assert train(tiny(drawn, tmp_path, "name=a/b", "explain.clips=4")).metrics()["n_clips"]
    assert "unforeseen" in capsys.readouterr().err


def test_the_explanation_after_a_training_is_in_the_report(tiny: Tiny, drawn: Path, tmp_path: Path) -> None:
    run = train(tiny(drawn, tmp_path, "name=a/b", "explain.clips=5")).path
    assert summary(run)["n_clips"] == 5
    report = (run / "report.html").read_text()
    assert "were not checked" in report
    assert 'href="explain/index.html"' in report
    assert "These maps were not checked." in (run / "explain" / "index.html").read_text()


class Elsewhere(nn.Module):
    """Backbone of another package, without a list of stages and ``forward_features``."""

    def __init__(self, **_: object) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.second = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.num_features = 8

    def forward_features(self, images: Tensor) -> Tensor:
        return self.second(self.first(images).relu()).relu()

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_features(images).mean(dim=(2, 3))


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> str:
    def elsewhere_net(pretrained: bool = False, **settings: object) -> nn.Module:
        return Elsewhere(**settings)

    elsewhere_net.__module__ = __name__
    timm.models.register_model(elsewhere_net)
    return "timm:elsewhere_net"


@pytest.mark.slow
def test_a_model_registered_by_another_package(tiny: Tiny, drawn: Path, tmp_path: Path, registered: str) -> None:
    arguments = [argument for argument in tiny(drawn, tmp_path, "name=a/b") if not argument.startswith("model")]
    assert main([*arguments, f"model={registered}"]) == DONE
    assert main(["explain", str(tmp_path / "a" / "b"), "checks=2"]) == DONE
    assert summary(tmp_path / "a" / "b")["layer"] == "net.second"


def test_the_chosen_clips_are_balanced_and_the_same_for_every_run() -> None:
    table = pd.DataFrame(
        {
            "clip_id": [f"c{n}" for n in range(60)],
            "subject_id": [f"s{n % 4}" for n in range(60)],
            "label": ["happy" if n < 40 else "sad" for n in range(60)],
        }
    )
    few = balanced(table, 16)
    assert few["label"].value_counts().to_dict() == {"happy": 8, "sad": 8}
    assert few.groupby("label")["subject_id"].nunique().eq(4).all()
    assert set(balanced(table.sample(frac=1, random_state=3), 16)["clip_id"]) == set(few["clip_id"])
    assert set(balanced(table, 8)["clip_id"]) <= set(few["clip_id"])
    assert len(balanced(table, None)) == len(table)
    assert balanced(table, 0).empty


# ------------------------------------------------------------------------------------------------ the planted shortcut


@pytest.fixture(scope="module")
def off_face(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., float]:
    """Off-face attribution of a small model of drawn children: ``off_face("patch", *settings)``."""
    root = tmp_path_factory.mktemp("shortcut")
    for kind in ("none", "patch"):
        size = ("subjects=24", "clips_per_emotion=4", "frames=3", "fps=1.5")
        assert main(["synth", f"out={root / kind}", f"shortcut={kind}", *size]) == DONE

    def attribution(kind: str, *settings: str) -> float:
        name = "-".join([kind, *(setting.replace("=", "") for setting in settings)])
        model = ("model=conv4", "model.widths=[8,12,16,24]", "model.convs=[1,1,1,1]", "data.frames=frame")
        budget = ("trainer.max_epochs=20", "trainer.patience=0", "trainer.validate_every=10", "batch_size=20")
        store = ("data=synthetic", f"data.store={root / kind}", "protocol=holdout", "protocol.test_fraction=0.34")
        still = ("augment.occlusion=0", "augment.rotation_deg=3", "augment.brightness=0.05", "optim.lr=0.005")
        place = (f"runs.root={root}", f"name=runs/{name}", "seed=1")
        assert main(["train", *store, *model, *budget, *still, *QUICK, *place, *settings]) == DONE
        run = root / "runs" / name
        assert main(["explain", str(run), "checks=0"]) == DONE
        return float(summary(run)["leakage"]["value"])  # type: ignore[index]

    return attribution


@pytest.mark.slow
def test_a_planted_shortcut_raises_off_face_attribution_and_the_remedy_lowers_it(
    off_face: Callable[..., float],
) -> None:
    """Measured with seeds 1, 2 and 3: 0.84, 0.69, 0.81 without a patch; 1.36, 1.43, 1.38 with it; 0.92, 0.74, 0.73 with
    the remedy, so that one seed tells them apart. With six children rounding decided: 1.42 without a patch, 1.43 with
    it."""
    without, planted = off_face("none"), off_face("patch")
    assert planted > 1.25 * without
    assert off_face("patch", "augment.background=1.0") < 0.9 * planted
