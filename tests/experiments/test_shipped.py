"""Every shipped dataset and YAML in a training by the command line: from the published layout to a checked run."""

import shlex
import subprocess
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support, roc_auc_score

from experiments.cli import DONE, main
from experiments.settings.loading import GROUPS, group_names
from fer_id.runs.run_dir import RunDir
from fer_id.store.reader import ClipStore

SHIPPED = {group: group_names(group) for group in ("data", "model", "recipe")}
PROTOCOLS = group_names("protocol")
SHORT = (
    *("trainer.max_epochs=1", "trainer.precision=32", "trainer.memory_format=contiguous", "trainer.accelerator=cpu"),
    *("logging.wandb=disabled", "data.num_workers=0", "batch_size=12"),
)
LARGE, AT_MOST = ("resnet50", "efficientnet_b0"), "[40,10,10]"
"""Large models, and clips of each split for them: few to judge, and of every class one to learn from."""

OF_PEOPLE = ("synthetic", "cohort", "cafe", "ckplus", "liris_cse", "video_folder")

FILES = ("config.yaml", "job.json", "predictions.parquet", "metrics.json", "report.html", "DONE")


@pytest.fixture(scope="module", autouse=True)
def without_figures(sketched_figures: None) -> None:
    """Draw the figures here."""


def combinations() -> list[tuple[str, str, str, str]]:
    """Return the fewest trainings with every dataset and YAML: the groups side by side, the shorter ones repeated."""
    count = max(len(PROTOCOLS), *map(len, SHIPPED.values()))
    columns = [list(islice(cycle(SHIPPED[group]), count)) for group in ("data", "model", "recipe")]
    # People have no splits of their own, so they take the protocols that make them.
    own = [name for name in PROTOCOLS if name != "official"]
    protocols = [
        own[number % len(own)] if data in OF_PEOPLE and protocol == "official" else protocol
        for number, (data, protocol) in enumerate(zip(columns[0], cycle(PROTOCOLS), strict=False))
    ]
    return list(zip(*columns, protocols, strict=True))


CASES = combinations()


def test_every_dataset_and_yaml_is_in_a_training() -> None:
    for number, group in enumerate((*SHIPPED, "protocol")):
        shipped = SHIPPED.get(group, PROTOCOLS)
        assert {case[number] for case in CASES} == set(shipped), group
    elsewhere = {"benchmark", "policy"}  # test_benchmark.py trains the one, test_release.py reads the others
    assert {path.name for path in GROUPS.iterdir()} == {"data", "model", "recipe", "protocol"} | elsewhere


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_it_trains_and_its_metrics_can_be_recomputed(
    case: tuple[str, str, str, str], stores: dict[str, list[Path]], tmp_path: Path
) -> None:
    data, model, recipe, protocol = case
    of_protocol = {
        "kfold": ["protocol.folds=3", "protocol.only=[01]"],
        "loso": [f"protocol.only=[{first(stores[data])}]"],
    }
    short = (*SHORT[:-1], "explain.clips=0") if model in LARGE else SHORT
    arguments = [
        *("train", f"data={data}", f"model={model}", f"recipe={recipe}", f"protocol={protocol}", *short),
        *(f"data.store=[{','.join(map(str, stores[data]))}]", f"runs.root={tmp_path}", "name=study/run"),
        *of_protocol.get(protocol, []),
        *([f"protocol.at_most={AT_MOST}"] if model in LARGE else []),
    ]
    assert main(arguments) == DONE
    run = RunDir.open(tmp_path / "study" / "run")
    if data in ("folder", "liris_cse"):  # test_rafdb.py and others have the like; CAFE's run is judged below
        assert main(["evaluate", str(run.path)]) == main(["report", str(run.path)]) == DONE
    trained = run.folds or [run]
    for finished in {run.path: run, **{fold.path: fold for fold in trained}}.values():
        assert all((finished.path / name).is_file() for name in FILES)
        assert (finished.figures / "confusion_matrix.svg").is_file()
        check_metrics(finished)
    for fold in trained:
        assert fold.checkpoint("best").is_file()
        assert fold.checkpoint("last").is_file()
        assert fold.learning_curve()["epoch"].tolist() == [0]
        assert (fold.job().precision, fold.job().memory_format) == ("32", "contiguous")


def test_children_s_sets_keep_subjects_and_groups(stores: dict[str, list[Path]]) -> None:
    cafe, liris = (ClipStore.open(stores[name][0]) for name in ("cafe", "liris_cse"))
    assert cafe.card.groups == ["gender", "ethnicity", "age_group"]
    child = cafe.clips[cafe.clips["subject_id"] == "F-LA-03"]
    assert child[cafe.card.groups].drop_duplicates().values.tolist() == [["F", "LA", "4"]]
    assert sorted(child["label"]) == sorted(cafe.labels.names)
    assert sorted(liris.clips["subject_id"].unique()) == ["S1", "S2", "S3"]
    assert set(liris.clips["label"]) == {"happy", "sad"}
    assert (cafe.card.source, liris.card.source) == ("cafe", "liris_cse")


def test_a_run_of_one_children_s_set_is_judged_on_the_other(
    stores: dict[str, list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cafe,), (liris,) = stores["cafe"], stores["liris_cse"]
    run = tmp_path / "study" / "run"
    chosen = ("data=cafe", "model=shallow_cnn", "recipe=demo", "protocol=holdout", f"data.store={cafe}")
    assert main(["train", *chosen, *SHORT, "explain.clips=0", f"runs.root={tmp_path}", "name=study/run"]) == DONE
    assert main(["evaluate", str(run), "groups=[gender]"]) == DONE
    assert main(["evaluate", str(run), f"on={liris}", "other_geometry=true"]) == DONE
    assert main(["report", str(run)]) == DONE
    assert main(["card", str(run)]) == DONE
    judged = RunDir.open(run / "on" / liris.name)
    check_metrics(judged)
    assert (RunDir.open(run).job().dataset, judged.job().dataset) == ("cafe", "liris_cse")
    assert "authorised Databrary investigators" in (run / "card.md").read_text()


FEWER = {
    "synth": ("subjects=6", "clips_per_emotion=1", "frames=3"),
    "train": (*SHORT, "explain.clips=0", "trainer.validate_every=1"),
    "compare": (),
}


def test_the_demo_on_fewer_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of ``make demo`` in the Makefile, with other sizes."""
    make, root = ["make", "--dry-run", "--always-make", "demo"], Path(__file__).parents[2]
    listed = subprocess.run(make, cwd=root, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True)
    monkeypatch.chdir(tmp_path)
    commands = [shlex.split(line)[1:] for line in listed.stdout.splitlines() if line.startswith(".venv/bin/fer-id ")]
    assert [command[0] for command in commands] == ["synth", "train", "train", "compare"]
    for verb, *arguments in commands:
        changed = {argument.partition("=")[0] for argument in FEWER[verb]}
        same = [argument for argument in arguments if argument.partition("=")[0] not in changed]
        assert main([verb, *same, *FEWER[verb]]) == DONE
    still, temporal = (RunDir.open(Path("runs/demo") / name) for name in ("conv4", "cnn_lstm"))
    encoders = [torch.load(run.checkpoint("best"), weights_only=True)["state_dict"] for run in (still, temporal)]
    names = [name for name in encoders[0] if ".encoder." in name]
    assert names
    assert all(torch.equal(encoders[0][name], encoders[1][name]) for name in names)  # frozen, as the page is to say
    table = pd.read_csv("compare/demo/comparison.csv").set_index("run")
    assert table["accuracy_with_missing_difference"].notna().sum() == 1  # paired, child by child
    assert "built into the drawing" in Path("compare/demo/index.html").read_text()


def first(stores: list[Path]) -> str:
    """Return a subject that can be left out."""
    clips = pd.read_parquet(stores[0] / "clips.parquet")
    return ("0:" if len(stores) > 1 else "") + str(clips["subject_id"].min())


def check_metrics(run: RunDir) -> None:
    """Compare ``metrics.json`` with scikit-learn's metrics of ``predictions.parquet``."""
    metrics, table = run.metrics(), run.predictions()
    names = metrics["labels"]
    test = table[(table["split"] == "test") & table["label"].notna() & table["predicted"].notna()]
    p = test[[f"p_{name}" for name in names]].to_numpy()
    logits = test[[f"logit_{name}" for name in names]].to_numpy()
    np.testing.assert_allclose(p, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), rtol=1e-9)
    assert test["predicted"].tolist() == [names[k] for k in p.argmax(1)]
    truth, predicted = test["label"].to_numpy(), test["predicted"].to_numpy()
    present = [name for name in names if name in set(truth)]

    assert metrics["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert metrics["confusion_matrix"] == confusion_matrix(truth, predicted, labels=names).tolist()
    scores = precision_recall_fscore_support(truth, predicted, labels=present, zero_division=0)
    for name, of_class in zip(("precision", "recall", "f1"), scores, strict=False):
        assert metrics[f"macro_{name}"] == pytest.approx(of_class.mean())
        assert [metrics["per_class"][label][name] or 0.0 for label in present] == pytest.approx(of_class.tolist())
    assert [metrics["per_class"][name]["support"] for name in present] == scores[3].tolist()
    if len(present) > 1:
        auc = {name: roc_auc_score(truth == name, p[:, names.index(name)]) for name in present}
        assert {name: metrics["per_class"][name]["auc"] for name in present} == pytest.approx(auc)
        assert metrics["auc"] == pytest.approx(np.mean(list(auc.values())))
    else:
        assert metrics["auc"] is None
        assert "auc" in metrics["reasons"]
