"""RAF-DB in its published layout, generated: labels, groups of every face, and every fault of the raw data."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb

from data_modules.rafdb import ATTRIBUTES, LIST, RAFDBConfig, RAFDBDataModule, read_groups
from experiments.cli import DONE, main
from fer_id.errors import DataError
from fer_id.evaluation.config import Breakdown
from fer_id.evaluation.evaluate import Options, evaluate
from fer_id.runs.run_dir import RunDir
from fer_id.store.reader import ClipStore
from tests.experiments.conftest import QUICK, raf_db
from tests.refusals import refused


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "basic"
    raf_db(folder)
    return folder


def prepared(raw: Path, out: Path) -> ClipStore:
    RAFDBDataModule.prepare(RAFDBConfig(source=str(raw), landmarks="none"), out)
    return ClipStore.open(out)


def test_labels_and_groups_are_those_of_the_files(raw: Path, tmp_path: Path) -> None:
    shutil.copy(raw / "Image" / "aligned" / "test_00050_aligned.jpg", raw / "Image" / "aligned" / "more_aligned.jpg")
    store = prepared(raw, tmp_path / "store")
    clips = store.clips.set_index("clip_id")
    assert store.card.audit["left_out"] == {"picture that the list does not name": 1}
    columns = ["label", "gender", "ethnicity", "age_group"]
    assert clips.loc["train_00002", columns].tolist() == ["fear", "female", "african-american", "04-19"]
    assert clips.loc["train_00005", columns].tolist() == ["sad", "male", "african-american", "70+"]
    assert clips.loc["train_00001", "gender"] is None  # unsure
    assert store.card.groups == ["gender", "ethnicity", "age_group"]
    assert (store.card.shard_by, store.card.geometry["eyes"]) == ("split", None)
    assert set(clips["split"]) == {"train", "validation", "test"}


def test_without_attribute_files_nobody_has_a_group(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (raw / ATTRIBUTES).iterdir():
        path.unlink()
    (raw / ATTRIBUTES).rmdir()
    store = prepared(raw, tmp_path / "store")
    assert store.clips[["gender", "ethnicity", "age_group"]].isna().all(axis=None)
    assert "no Annotation/manual" in capsys.readouterr().err


def test_every_fault_of_the_raw_data_is_listed(raw: Path, tmp_path: Path) -> None:
    lines = (raw / LIST).read_text().splitlines()
    lines[0], lines[1] = "train_00001.jpg 9", "../train_00002.jpg"
    (raw / LIST).write_text("\n".join([*lines, lines[2]]) + "\n")
    manual = raw / ATTRIBUTES
    (manual / "train_00004_manu_attri.txt").unlink()
    (manual / "train_00005_manu_attri.txt").write_text("1 2 3")
    spoilt = (manual / "train_00006_manu_attri.txt").read_text().split()
    (manual / "train_00006_manu_attri.txt").write_text("\n".join([*spoilt[:-1], "5"]))
    with refused(
        DataError,
        "line 1: 'train_00001.jpg 9', expected a picture train_... or test_... and a code from 1 to 7",
        "line 2: '../train_00002.jpg', expected",
        f"line {len(lines) + 1}: train_00003 stands twice",
        "train_00004_manu_attri.txt: no such file",
        "train_00005_manu_attri.txt: 3 numbers, expected five points and 3 codes",
        "train_00006_manu_attri.txt: the code of age_group is 5, expected 0 to 4",
    ):
        prepared(raw, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_published_codes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join(["38.3\t40.9"] * 5 + ["2", "0", "3"]))
    assert read_groups(path) == {"gender": None, "ethnicity": "caucasian", "age_group": "40-69"}


def test_the_commands_prepare_train_evaluate_and_report_every_group(
    tmp_path: Path, wandb_run: Callable[[Path], SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A benchmark without people: the groups of its pictures are scored all the same, and reach W&B."""
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"):  # set by the mirror itself
        monkeypatch.setenv(name, "")
    arguments = raf_db(tmp_path / "basic")
    assert main(["prepare", "data=rafdb", *arguments, f"out={tmp_path / 'store'}"]) == DONE
    model = ("model=shallow_cnn", "protocol=official", "recipe=demo", "trainer.max_epochs=1")
    runs = (f"runs.root={tmp_path}", "name=a/b", f"data.store={tmp_path / 'store'}")
    quick = [setting for setting in QUICK if not setting.startswith("logging.wandb")]
    assert main(["train", "data=rafdb", *model, *runs, *quick, "logging.wandb=offline"]) == DONE
    run = RunDir.open(tmp_path / "a" / "b")
    wandb.teardown()
    sent, curve = wandb_run(run.path), run.learning_curve().iloc[0]
    logged = {key: value for row in sent.rows for key, value in row.items()}
    for column in ("gender", "ethnicity", "age_group"):
        for name in ("worst", "gap", "worst_macro_recall", "gap_macro_recall"):
            assert logged[f"val/group/{column}/{name}"] == pytest.approx(curve[f"val/group/{column}/{name}"])
        assert any(key.startswith(f"test/group/{column}/") for key in sent.summary)
    assert main(["evaluate", str(run.path)]) == DONE
    assert main(["report", str(run.path)]) == DONE
    columns = run.metrics()["subgroups"]["columns"]
    assert list(columns) == ["gender", "ethnicity", "age_group"]
    assert columns["gender"]["groups"].keys() == {"female", "male"}
    assert "ethnicity" in (run.path / "report.html").read_text()
    with pytest.raises(DataError, match="nonsense"):
        evaluate(run, Options(groups=Breakdown(columns=["nonsense"])))
