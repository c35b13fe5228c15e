"""``fer-id release`` from a run to a bundle with the same predictions, or to the reasons against it."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pandas as pd
import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from experiments.cli import DONE, USERS_FAULT, main
from experiments.releasing import lineage
from experiments.settings.loading import GROUPS, group_names
from experiments.training.setup import open_run_data
from fer_id.consent.audit_log import AuditLog
from fer_id.consent.keys import Key
from fer_id.files import write_json
from fer_id.release.bundle import CONTENT, MANIFEST, SIGNATURE, load_bundle
from fer_id.release.policy import SETTINGS, read_policy
from fer_id.runs.run_dir import RunDir
from fer_id.store.reader import ClipStore
from tests.experiments.messages import Capture, Tiny, edited, reconfigure, refusal, train
from tests.release.conftest import NAMES, column, good_explanation, good_metrics


def good(run: RunDir, **changed: Any) -> None:
    """Write metrics that pass the gate into a run, whose own would not."""
    metrics = good_metrics("synthetic") | {"labels": list(NAMES)}
    metrics["per_class"] = dict.fromkeys(NAMES, metrics["per_class"]["happy"])
    metrics["confusion_matrix"] = [[40 * (row == column) for column in range(5)] for row in range(5)]
    write_json(run.path / "metrics.json", metrics | changed)
    (run.path / "explain").mkdir(exist_ok=True)
    write_json(run.path / "explain" / "explain.json", good_explanation())


@pytest.fixture(scope="module", autouse=True)
def _made_up_numbers() -> Iterator[None]:
    """Skip the comparison with the predictions (``test_lineage.py``), as the metrics of :func:`good` are made up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lineage, "_contradictions", lambda run: [])
        yield


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a site's keys and its new log."""
    home = tmp_path_factory.mktemp("keys")
    AuditLog(home, Key.load(home, create=True)).begin()
    return home


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, drawn: Path, tiny: Tiny) -> Path:
    """Folder of runs with ``a/run``, a small CNN-LSTM on drawn children."""
    runs = tmp_path_factory.mktemp("release") / "runs"
    good(train(tiny(drawn, runs, "name=a/run")))
    return runs


@pytest.fixture(scope="module")
def bundle(trained: Path, keys: Path) -> Path:
    """Bundle of ``a/run``."""
    out = trained.parent / "bundle of a run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_ID_KEYS", str(keys))
        if main(["release", str(trained / "a" / "run"), "policy=demonstration", f"out={out}"]) != DONE:
            raise RuntimeError("the release failed")
    return out


@pytest.fixture
def run(trained: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """Copy of the run, which a test may damage."""
    monkeypatch.setenv("FER_ID_KEYS", str(keys))
    return RunDir(shutil.copytree(trained / "a" / "run", tmp_path / "runs" / "a" / "run"))


def policy_file(folder: Path, **changed: Any) -> Path:
    """Write the shipped policy ``demonstration`` with changes."""
    content = yaml.safe_load((GROUPS / "policy" / "demonstration.yaml").read_text()) | changed
    (folder / "policy.yaml").write_text(yaml.safe_dump(content))
    return folder / "policy.yaml"


def refused(capsys: Capture, *arguments: object) -> str:
    """Return the message of a refused ``fer-id release``, which writes nothing."""
    out = Path(str(arguments[0])).parent / "refused"
    assert main(["release", *map(str, arguments), f"out={out}"]) == USERS_FAULT
    assert not out.exists()
    return capsys.readouterr().err


@pytest.mark.parametrize("name", group_names("policy"))
def test_every_shipped_policy_is_sound_and_strict_in_order(name: str) -> None:
    policy = read_policy(GROUPS / "policy" / f"{name}.yaml")
    research = read_policy(GROUPS / "policy" / "research.yaml")
    assert policy.setting in SETTINGS
    assert (policy.kind == "demonstration") == (name == "demonstration")
    if name == "therapy":
        assert policy.min_subjects >= research.min_subjects
        assert policy.min_accuracy >= research.min_accuracy
        assert policy.max_gap <= research.max_gap
        assert policy.max_ece <= research.max_ece
        assert policy.max_risk <= research.max_risk
        assert set(research.groups) <= set(policy.groups)
        assert set(research.required_checks) <= set(policy.required_checks)


@pytest.mark.parametrize("name", [name for name in group_names("policy") if name != "demonstration"])
def test_no_shipped_policy_releases_drawn_children(run: RunDir, name: str, capsys: Capture) -> None:
    assert "provenance synthetic" in refused(capsys, run.path, f"policy={name}")


def test_a_bundle_has_its_files_for_its_owner_only(bundle: Path) -> None:
    assert {path.name for path in bundle.iterdir()} == {*CONTENT, MANIFEST, SIGNATURE}
    assert bundle.stat().st_mode & 0o777 == 0o700
    contract = json.loads((bundle / "contract.json").read_text())
    assert contract["onnx"]["parity"]["max_difference"] < 1e-4
    assert contract["onnx"]["parity"]["frames_without_face"] > 0
    assert contract["onnx"]["parity"]["of"] == "clips of the store"
    assert 0 < contract["onnx"]["latency_ms"]["median"] <= contract["onnx"]["latency_ms"]["p95"]
    assert contract["reproduced"]["mean_difference"] < 1e-4
    assert contract["reproduced"]["mean_logit_difference"] < 1e-4
    assert (contract["reproduced"]["judged_in"], contract["reproduced"]["precision"]) == ("32", "32")
    assert (contract["input"]["frames"], contract["input"]["geometry"]["colour"]) == (3, "rgb")
    assert contract["labels"] == {"space": "target5", "names": list(NAMES)}


def judged(run: RunDir, precision: str, apart: float) -> None:
    """Record another precision of the evaluation in a run, with all logits of a clip shifted by the same amount, so
    that the probabilities are the same."""
    reconfigure(run, "trainer", precision=precision)
    table = run.predictions()
    logits = [name for name in table if name.startswith("logit_")]
    run.write_predictions(table.assign(**{name: table[name] + apart for name in logits}))


@pytest.mark.usefixtures("without_bf16")
def test_a_run_judged_in_bf16_is_released_in_float32_within_a_stated_tolerance(
    run: RunDir, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("FER_ID_KEYS", str(shutil.copytree(keys, tmp_path / "keys")))  # with a log of its own
    judged(run, "bf16", 0.05)
    assert main(["release", str(run.path), "policy=demonstration", f"out={tmp_path / 'bundle'}"]) == DONE
    assert capsys.readouterr().err.count("computes in float32") == 1
    reproduced = json.loads((tmp_path / "bundle" / "contract.json").read_text())["reproduced"]
    assert (reproduced["judged_in"], reproduced["precision"]) == ("bf16", "32")
    assert reproduced["mean_logit_difference"] == pytest.approx(0.05, abs=1e-4)
    assert reproduced["logit_tolerance"] == pytest.approx(0.1, rel=0.5)
    assert "judged in bfloat16; a bundle computes in float32" in (tmp_path / "bundle" / "LIMITS").read_text()


@pytest.mark.parametrize(("precision", "apart"), [pytest.param("32", 0.05, marks=pytest.mark.slow), ("bf16", 0.5)])
def test_logits_out_of_the_tolerance_of_their_precision_are_refused(
    run: RunDir, precision: str, apart: float, capsys: Capture
) -> None:
    judged(run, precision, apart)
    message = refused(capsys, run.path, "policy=demonstration")
    assert f"gives other logits than the run recorded in {precision}, by {apart:.3f} on average" in message


def test_every_file_of_a_demonstration_states_that_it_is_one(bundle: Path) -> None:
    import onnx
    from safetensors import safe_open

    for name in ("README.md", "LIMITS"):
        assert "DEMONSTRATION" in (bundle / name).read_text()
    for name in ("contract.json", "metrics.json", "manifest.json"):
        assert json.loads((bundle / name).read_text())["kind"] == "demonstration"
    assert yaml.safe_load((bundle / "policy.yaml").read_text())["kind"] == "demonstration"
    with safe_open(bundle / "weights.safetensors", "pt") as weights:
        assert weights.metadata()["kind"] == "demonstration"
    marks = {entry.key: entry.value for entry in onnx.load(bundle / "model.onnx").metadata_props}
    assert (marks["kind"], marks["provenance"]) == ("demonstration", "synthetic")
    assert "diagnosis" in marks["never for"]


def test_no_pseudonym_leaves(bundle: Path, trained: Path) -> None:
    subjects = {subject for split in RunDir(trained / "a" / "run").job().subjects.values() for subject in split}
    for path in bundle.iterdir():
        content = path.read_bytes()
        assert not [subject for subject in subjects if subject.encode() in content], path.name
        assert str(trained).encode() not in content, path.name


def test_the_loaded_model_has_the_runs_predictions(bundle: Path, trained: Path) -> None:
    released = load_bundle(bundle)
    run = RunDir(trained / "a" / "run")
    _, data = open_run_data(run)
    table = run.predictions().set_index("clip_id")
    for batch in data.plain_batches(data.fold.test):
        with torch.inference_mode():
            logits = released.model(batch["frames"], batch["valid"], batch["landmarks"]).numpy()
        expected = table.loc[batch["clip_id"], [f"logit_{name}" for name in released.labels.names]]
        assert np.abs(logits - expected.to_numpy(np.float64)).max() < 1e-4
    assert released.demonstration
    assert released.temperature == 1.3


def test_the_onnx_file_has_the_models_logits_by_the_contract_alone(bundle: Path, trained: Path) -> None:
    """Inference by ``contract.json`` with onnxruntime and numpy only, on frames some of which have no face."""
    contract = json.loads((bundle / "contract.json").read_text())
    session = ort.InferenceSession(bundle / "model.onnx")
    assert {tensor.name: tensor.shape for tensor in session.get_inputs()} == contract["onnx"]["inputs"]
    assert [tensor.name for tensor in session.get_outputs()] == contract["onnx"]["outputs"]
    store = ClipStore.open(RunDir(trained / "a" / "run").config()["data"]["store"][0])
    clip = store.read(0)
    frames = np.tile(clip.frames, (3, 1, 1, 1)).transpose(0, 3, 1, 2).astype(np.float32) / 255
    valid = np.array([False, True, True, False, True, False, True, True, False])
    state = {name: np.zeros((1, size), np.float32) for name, size in contract["onnx"]["state"].items()}
    for frame, seen in zip(frames, valid, strict=True):
        inputs = {"frame": frame[None], "valid": np.array([seen])} | state
        logits, *new = session.run(None, inputs)
        state = dict(zip(state, new, strict=True))
    with torch.inference_mode():
        expected = load_bundle(bundle).model(torch.from_numpy(frames)[None], torch.from_numpy(valid)[None])
    assert np.abs(logits - expected.numpy()).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "kind"),
    [(("model.head=own_set",), "clip"), (("model.head=running_set",), "step"), (("model=compact_vit",), "step")],
)
def test_other_models_are_explained_released_and_streamed_where_they_have_a_state(
    settings: tuple[str, ...], kind: str, drawn: Path, tiny: Tiny, keys: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("FER_ID_KEYS", str(keys))
    arguments = tiny(drawn, tmp_path / "runs", "name=a/run", *settings)
    conv = ("model.widths", "model.convs") if "model=compact_vit" in settings else ()
    run = train([argument for argument in arguments if argument.partition("=")[0] not in conv])
    assert main(["explain", str(run.path), "clips=4", "checks=0"]) == DONE
    good(run)
    assert main(["release", str(run.path), "policy=demonstration", f"out={tmp_path / 'bundle'}"]) == DONE
    onnx = json.loads((tmp_path / "bundle" / "contract.json").read_text())["onnx"]
    assert onnx["kind"] == kind
    assert onnx["parity"]["max_difference"] < 1e-4
    frames, valid = torch.rand(1, 3, 3, 64, 64), torch.ones(1, 3, dtype=torch.bool)
    assert load_bundle(tmp_path / "bundle").model(frames, valid).shape == (1, 5)


def test_a_bundle_is_verified_and_tampering_is_reported(
    bundle: Path, keys: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FER_ID_KEYS", str(keys))
    assert main(["release", "verify", str(bundle)]) == DONE
    output = capsys.readouterr().out
    assert "this machine's own key" in output
    fingerprint = json.loads((bundle / MANIFEST).read_text())["signed_by"]
    assert main(["release", "verify", str(bundle), f"trusted_key={fingerprint}"]) == DONE
    assert main(["release", "verify", str(bundle), f"trusted_key={'0' * 64}"]) == USERS_FAULT
    monkeypatch.setenv("FER_ID_KEYS", str(tmp_path / "elsewhere"))
    capsys.readouterr()
    assert main(["release", "verify", str(bundle)]) == DONE
    assert "not origin" in capsys.readouterr().out
    copy = shutil.copytree(bundle, tmp_path / "copy")
    (copy / "LIMITS").write_text("none")
    assert "LIMITS: changed" in refusal(capsys, ["release", "verify", str(copy)])


def test_releases_and_refusals_are_in_the_log(bundle: Path, run: RunDir, keys: Path, capsys: Capture) -> None:
    lines = AuditLog(keys, Key.load(keys)).verify()
    (released,) = [line for line in lines if line["event"] == "released" and line["bundle"] == bundle.name]
    assert released["kind"] == "demonstration"
    refused(capsys, run.path)
    last = AuditLog(keys, Key.load(keys)).verify()[-1]
    assert last["event"] == "release refused"
    assert any("provenance synthetic" in reason for reason in last["reasons"])


def test_every_reason_is_reported_however_many(run: RunDir, capsys: Capture) -> None:
    columns = {f"column{number}": column(gap=0.5, a=0.7, b=0.7) for number in range(25)}
    good(run, subgroups={"min_subjects": 5, "columns": columns, "left_out": {}})
    message = refused(capsys, run.path, f"policy={policy_file(run.path.parent, max_gap=0.1)}")
    assert "25 reasons" in message
    assert all(f"column{number}:" in message for number in range(25))


def test_missing_measurements_are_reported(run: RunDir, capsys: Capture) -> None:
    with edited(run.path / "metrics.json") as metrics:
        del metrics["subgroups"], metrics["review"]
    (run.path / "explain" / "explain.json").unlink()
    message = refused(capsys, run.path, "policy=demonstration")
    assert message.count("not measured") == 3
    assert "fer-id explain" in message


def test_unfinished_and_quarantined_runs_are_refused(run: RunDir, capsys: Capture) -> None:
    (run.path / "DONE").unlink()
    run.quarantine("somebody withdrew")
    message = refused(capsys, run.path, "policy=demonstration")
    assert "not finished (no DONE)" in message
    assert "is quarantined" in message


def test_another_checkpoint_than_the_evaluated_one_is_refused(run: RunDir, capsys: Capture) -> None:
    path = run.checkpoint()
    content = torch.load(path, map_location="cpu", weights_only=True)
    content["state_dict"]["model.classifier.1.bias"] += torch.tensor([4.0, 0, 0, 0, 0])
    torch.save(content, path)
    assert "is not the checkpoint that this run finished with" in refused(capsys, run.path, "policy=demonstration")
    run.finish()  # DONE records the changed file: the gate compares its answers with the predictions
    assert "it is not the model that was judged" in refused(capsys, run.path, "policy=demonstration")


def test_a_missing_or_quarantined_ancestor_is_a_reason(run: RunDir, tmp_path: Path, capsys: Capture) -> None:
    shutil.copytree(run.path, tmp_path / "parent")
    run.write_job(run.job().model_copy(update={"parents": [str(tmp_path / "parent")]}))
    RunDir(tmp_path / "parent").quarantine("somebody withdrew")
    assert "is quarantined" in refused(capsys, run.path, "policy=demonstration")
    shutil.rmtree(tmp_path / "parent")
    assert "is not a run" in refused(capsys, run.path, "policy=demonstration")


@pytest.mark.slow
def test_a_cross_validation_is_refused_and_serves_as_evidence(
    drawn: Path, tiny: Tiny, tmp_path: Path, keys: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FER_ID_KEYS", str(keys))
    runs = tmp_path / "runs"
    loso, final = train(tiny(drawn, runs, "name=a/loso", "protocol=loso")), train(tiny(drawn, runs, "name=a/final"))
    good(loso)
    good(final, intervals={"accuracy": None}, n_subjects=1)
    assert f"evidence={loso.path}" in refused(capsys, loso.path, "policy=demonstration")
    assert "judged on 1 subjects" in refused(capsys, final.path, "policy=demonstration")
    out = tmp_path / "bundle"
    wanted = ["release", str(final.path), f"evidence={loso.path}", "policy=demonstration", f"out={out}"]
    assert main(wanted) == DONE
    assert "judged on nobody new" in (out / "README.md").read_text()
    assert "those of 4 models" in (out / "LIMITS").read_text()
    assert "exists already" in refusal(capsys, wanted)


def test_without_the_drawn_store_noise_takes_its_place(run: RunDir, tmp_path: Path, capsys: Capture) -> None:
    reconfigure(run, "data", store=[str(tmp_path / "gone")])
    assert main(["release", str(run.path), "policy=demonstration", f"out={tmp_path / 'bundle'}"]) == DONE
    contract = json.loads((tmp_path / "bundle" / "contract.json").read_text())
    assert contract["onnx"]["parity"]["of"] == "noise"
    assert contract["onnx"]["parity"]["max_difference"] < 1e-4
    assert "within" in capsys.readouterr().out


class TestRealChildren:
    """Runs that record real children; their stores are drawn, without a contradicting record."""

    def real(self, run: RunDir) -> RunDir:
        job = run.job()
        run.write_job(job.model_copy(update={"store": job.store.model_copy(update={"provenance": "real"})}))
        good(run, provenance="real")
        return run

    def test_without_its_store_consent_is_unknown(self, run: RunDir, tmp_path: Path, capsys: Capture) -> None:
        reconfigure(self.real(run), "data", store=[str(tmp_path / "gone")])
        message = refused(capsys, run.path)
        assert "consent of those whom" in message
        assert "its data cannot be read" in message

    def test_a_withdrawal_prevents_the_release(
        self, run: RunDir, drawn: Path, keys: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        store = shutil.copytree(drawn, tmp_path / "store")
        subject = str(pd.read_parquet(store / "clips.parquet")["subject_id"].iloc[0])
        consent = {"purposes": ["training"], "recorded_on": "2026-01-01", "expires_on": "2026-02-01"}
        with edited(store / "card.json") as card:
            card["consent"] = {subject: consent}
            card["parameters"]["key_id"] = Key.load(keys).id
        reconfigure(self.real(run), "data", store=[str(store)])
        assert "consent expired on 2026-02-01" in refused(capsys, run.path)

    def test_without_the_sites_key_nothing_is_released(
        self, run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
    ) -> None:
        self.real(run)
        monkeypatch.setenv("FER_ID_KEYS", str(tmp_path / "nobody"))
        assert "no key of the site" in refused(capsys, run.path)
        assert not (tmp_path / "nobody").exists()

    @pytest.mark.parametrize("setting", ["education", "workplace"])
    def test_schools_and_workplaces_are_refused(self, run: RunDir, setting: str, capsys: Capture) -> None:
        policy = policy_file(run.path.parent, kind="release", setting=setting)
        assert "Art. 5(1)(f)" in refused(capsys, self.real(run).path, f"policy={policy}")


def test_a_run_on_real_children_with_consent_that_passes_is_released(
    drawn: Path, tiny: Tiny, tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The children are drawn, and their store records real ones: no other run in the repository could be released."""
    monkeypatch.setenv("FER_ID_KEYS", str(keys))
    store = shutil.copytree(drawn, tmp_path / "store")
    subjects = sorted(pd.read_parquet(store / "clips.parquet")["subject_id"].unique())
    term = {"recorded_on": "2026-01-01", "expires_on": None}
    with edited(store / "card.json") as card:
        card["consent"] = {subject: {"purposes": ["evaluation", "training"], **term} for subject in subjects}
        card["parameters"]["key_id"] = Key.load(keys).id
        card["provenance"] = "real"
    run = train(tiny(store, tmp_path / "runs", "data=cohort", "name=a/real"))
    good(run, provenance="real")
    out, policy = tmp_path / "bundle", policy_file(tmp_path, kind="release", setting="therapy", legal_basis="consent")
    assert main(["release", str(run.path), f"policy={policy}", f"out={out}"]) == DONE
    released, text = load_bundle(out), (out / "README.md").read_text()
    assert not released.demonstration
    assert released.provenance == "real"
    assert "4 children; evaluation 4, training 4" in text
    assert "Setting: **therapy**. consent" in text
    assert not any(word in text for word in ("DEMONSTRATION", "SYNTHETIC", *subjects))
    assert AuditLog(keys, Key.load(keys)).verify()[-1]["event"] == "released"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["release", "nowhere"], "is not a run"),
        (["release", "verify"], "say fer-id release verify BUNDLE"),
        (["release", "nowhere", "more"], "is of verify only"),
        (
            ["release", "nowhere", "policy=reserch"],
            "policy=reserch: unknown. Known: demonstration, fer2013, research, therapy",
        ),
        (["release", "nowhere", "policy=nowhere.yaml"], "nowhere.yaml: no such file"),
        (["card", "nowhere"], "is not a run"),
    ],
)
def test_mistakes_are_reported_before_any_work(arguments: list[str], message: str, capsys: Capture) -> None:
    assert message in refusal(capsys, arguments)


def test_the_card_of_a_run_is_valid(trained: Path, capsys: Capture) -> None:
    assert main(["card", str(trained / "a" / "run")]) == DONE
    written = trained / "a" / "run" / "card.md"
    assert capsys.readouterr().out.strip() == str(written)
    card = ModelCard.load(written)
    assert card.data.eval_results
    assert "(SYNTHETIC DATA)" in card.text
    assert "drawn by fer_id (Apache-2.0)" in card.text
    assert os.fspath(trained) not in card.text
