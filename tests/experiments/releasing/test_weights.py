"""Weights that travel with fer_id: cast, scored, gate, packing; and ``shipped:NAME`` wherever a run is named."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from pathspec import GitIgnoreSpec

from experiments.cli import DONE, main
from experiments.releasing import half
from experiments.releasing.lineage import check_lineage
from experiments.releasing.weights import traces
from experiments.settings.loading import GROUPS
from experiments.verbs.table import VERBS
from fer_id.files import sha256, write_json
from fer_id.models.checkpoint import load_state
from fer_id.release.policy import read_policy
from fer_id.runs import shipped
from fer_id.runs.run_dir import RunDir
from tests.conftest import ROOT
from tests.experiments.messages import Capture, Tiny, refusal, train
from tests.release.conftest import good_explanation

NAME = "shipped:fer2013"
STILLS = ("model=conv4", "model.widths=[4,4,8,8]", "model.convs=[1,2,1,1]")
FILES = {
    *("DONE", "LIMITS", "card.md", "config.yaml", "job.json", "metrics.json", "metrics.jsonl", "policy.yaml"),
    *("checkpoints", "checkpoints/best.ckpt", "explain", "explain/explain.json"),
}
REAL = ROOT / "fer_id" / "shipped" / "fer2013"


def stills(arguments: list[str]) -> list[str]:
    """Return the arguments of a training without those of a temporal head."""
    return [argument for argument in arguments if argument.partition("=")[0] != "model.hidden"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, stills_store: Path, tiny: Tiny) -> Iterator[Path]:
    """Folder with the shipped runs of this module, one, in place of the package's; and ``runs`` beside it."""
    folder = tmp_path_factory.mktemp("weights")
    content = yaml.safe_load((GROUPS / "policy" / "fer2013.yaml").read_text())
    content |= {"min_subjects": 2, "min_accuracy": 0.0, "max_ece": 1.0, "max_risk": 0.9, "required_checks": []}
    (folder / "policy.yaml").write_text(yaml.safe_dump(content))

    def explained(run: RunDir, *_: object) -> None:
        (run.path / "explain").mkdir()
        write_json(run.path / "explain" / "explain.json", good_explanation())

    run = train(stills(tiny(stills_store, folder / "runs", "data=fer2013", *STILLS, "protocol=official", "name=a/b")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(half, "explain_run", explained)
        out = f"out={folder / 'shipped' / 'fer2013'}"
        assert main(["release", str(run.path), f"policy={folder / 'policy.yaml'}", out]) == DONE
        patch.setattr(shipped, "FOLDER", folder / "shipped")
        yield folder


def test_the_numbers_are_those_of_the_float16_weights_that_travel(made: Path) -> None:
    run, cast = RunDir.open(NAME), RunDir.open(made / "runs" / "a" / "b-float16")
    weights = load_state(run.checkpoint())
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float16}
    trained = load_state(RunDir.open(made / "runs" / "a" / "b").checkpoint())
    assert all(torch.equal(weights[name], trained[name].to(weights[name])) for name in weights)
    assert check_lineage(cast, None, logged=False)[1] == []  # its metrics are those of its predictions
    assert run.metrics() == cast.metrics().model_copy(update={"per_subject": {}, "reasons": run.metrics().reasons})
    assert (run.path / "DONE").read_text().startswith(sha256(run.checkpoint()))


def without_pictures_and_places(folder: Path) -> None:
    """Check the content of a folder that travels."""
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*")} == FILES
    assert list(traces(folder)) == []
    run = RunDir.open(folder)
    assert run.metrics().per_subject == {}
    assert run.job().parents == []
    assert len(run.job().started or "") == len("2026-11-29")
    card = " ".join((folder / "card.md").read_text("utf-8").replace(">", "").split())
    words = " ".join(read_policy(folder / "policy.yaml").legal_basis.split())
    assert words in card
    assert "consent is unknown" in words
    assert all(f"| {label} |" in card for label in run.metrics().labels)


def test_what_travels_holds_no_picture_and_names_no_machine(made: Path, stills_store: Path) -> None:
    folder = made / "shipped" / "fer2013"
    without_pictures_and_places(folder)
    for path in (path for path in folder.rglob("*") if path.is_file()):
        assert not [word for word in (str(made), str(stills_store)) if word.encode() in path.read_bytes()], path.name
    copy = Path(shutil.copytree(folder, made / "copy"))
    (copy / "job.json").write_text('{"command": "/home/somebody/x", "started": "at 12:30"}')
    assert [line.partition(" of ")[0] for line in traces(copy)] == [
        "job.json: names a path",
        "job.json: names a time",
    ]


def test_the_shipped_folder_is_as_the_gate_left_it() -> None:
    if not REAL.is_dir():
        pytest.skip("no weights travel with this checkout: make shipped makes them")
    without_pictures_and_places(REAL)
    assert read_policy(REAL / "policy.yaml") == read_policy(GROUPS / "policy" / "fer2013.yaml")
    assert sum(path.stat().st_size for path in REAL.rglob("*") if path.is_file()) < 5e6


def test_the_wheel_takes_these_weights_and_no_others() -> None:
    """Hatchling leaves out what git ignores, and the hook refuses what git would take."""
    ignored = GitIgnoreSpec.from_lines((ROOT / ".gitignore").read_text().splitlines())
    weights = "fer_id/shipped/fer2013/checkpoints/best.ckpt"
    others = ("fer_id/shipped/fer2013/checkpoints/last.ckpt", "fer_id/shipped/other/checkpoints/best.ckpt", "a.ckpt")
    assert not ignored.match_file(weights)
    assert all(ignored.match_file(name) for name in others)
    (hooks,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (hook,) = [hook for hook in hooks["hooks"] if hook["id"] == "no-data"]
    assert re.search(hook["exclude"], weights)
    assert not any(re.search(hook["exclude"], name) for name in others)


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("verb", [name for name, verb in VERBS.items() if {"run", "runs"} & {*verb.paths.split()}])
def test_every_verb_of_a_run_takes_the_shipped_one_or_says_why_not(verb: str, capsys: Capture) -> None:
    if verb == "card":
        assert main([verb, NAME]) == DONE
        assert capsys.readouterr().out.strip().endswith("fer2013/card.md")
    elif verb == "surface":
        assert "learned stills without data.excluding" in refusal(capsys, [verb, NAME])
    else:
        assert f"{NAME} travels with fer_id without predictions" in refusal(capsys, [verb, NAME])
    assert f"Known: {NAME}" in refusal(capsys, [verb, "shipped:x"])


def test_a_folder_of_that_name_hides_nothing(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    shutil.copytree(made / "runs" / "a" / "b", tmp_path / NAME)
    monkeypatch.chdir(tmp_path)
    assert RunDir.open(NAME).path == made / "shipped" / "fer2013"
    assert main(["models", "model=conv4"]) == DONE
    assert capsys.readouterr().out.strip().endswith(NAME)


def test_an_adaptation_records_the_weights_and_inherits_their_provenance(
    made: Path, tmp_path: Path, drawn: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = ("protocol=holdout", f"init.run={NAME}", "adapt.strategy=source_only", "name=a/child")
    arguments = stills(tiny(drawn, tmp_path / "runs", *STILLS, *start))
    child = train(["adapt", *arguments[1:]])
    (parent,) = child.job().parents
    assert parent == f"{NAME}@{sha256(RunDir.open(NAME).checkpoint())[:12]}"
    assert check_lineage(child, None, logged=False)[1] == []
    assert main(["card", str(child.path)]) == DONE
    assert "| fer2013 | real | started from |" in (child.path / "card.md").read_text()
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "other")
    other = Path(shutil.copytree(made / "shipped" / "fer2013", tmp_path / "other" / "fer2013"))
    (other / "DONE").write_text("0" * 64)
    (reason,) = check_lineage(child, None, logged=False)[1]
    assert "ships other weights under that name (000000000000)" in reason


@pytest.mark.usefixtures("remembered_faces")
@pytest.mark.parametrize("real", [False, True])
def test_a_video_of_a_face_is_answered_in_an_empty_folder(
    real: bool, made: Path, shared_data: Path, landmark_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if real:
        if not REAL.is_dir():
            pytest.skip("no weights travel with this checkout: make shipped makes them")
        monkeypatch.setattr(shipped, "FOLDER", REAL.parent)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FER_ID_FACE_LANDMARKER", landmark_model)
    assert main(["predict", str(shared_data / "videos" / "single_face.mp4"), f"run={NAME}"]) == DONE
    record = json.loads((tmp_path / "prediction" / "prediction.json").read_text())
    assert record["model"] == NAME
    assert record["frames"]["found"] > 10
    for text in ((tmp_path / "prediction" / "index.html").read_text(), " ".join(record["notes"])):
        assert "their consent is unknown" in text
        assert "Research alone." in text
        assert "Of each class they recognised: angry" in text
    assert made.is_dir()
