"""PrivateWandbLogger: how its mode is chosen, and that nothing of the place it runs in reaches W&B."""

import dataclasses
import os
import platform
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import wandb
from matplotlib.figure import Figure

from data_modules.config import DataConfig
from fer_id.explain.regions import REGIONS
from fer_id.loggers.disclosure import CHOSEN_BY, FEW, Rules, public, withheld
from fer_id.loggers.results import send_explanation, send_results
from fer_id.loggers.server import RUN_ID, has_key, no_answer
from fer_id.loggers.wandb import PrivateWandbLogger
from fer_id.loggers.wandb_session import close_session, harmless, wandb_mode
from fer_id.reporting.explanation import draw
from fer_id.reporting.gallery import Shown
from fer_id.runs.job import Job, Store
from fer_id.runs.metrics import Metrics
from fer_id.runs.run_dir import RunDir

KEY = "0123456789abcdef0123456789abcdef01234567"
PICTURE = np.zeros((4, 4, 3), np.uint8)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No key, no mode, a home without a netrc file; whatever is set meanwhile is taken back."""
    if "WANDB_SERVICE" in os.environ:  # else that is put back afterwards, when its process may be gone
        wandb.teardown()
    for name in [name for name in os.environ if name.startswith("WANDB_")] + ["NETRC"]:
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"):  # set by the mirror itself
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    yield
    close_session()


# --- mode -------------------------------------------------------------------------------------------------------------


def netrc(path: Path, host: str) -> Path:
    path.write_text(f"machine {host}\n  login user\n  password {KEY}\n")
    path.chmod(0o600)
    return path


HELD_BACK = {"online": "online", "": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}
HELD_BACK |= {"banana": "offline"}


@pytest.mark.parametrize(
    ("mode", "environment", "expected"),
    [
        *((mode, {"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, mode) for mode in ("online", "offline", "disabled")),
        ("auto", {}, "offline"),
        ("auto", {"WANDB_API_KEY": ""}, "offline"),
        ("auto", {"WANDB_API_KEY": KEY}, "online"),
        *(("auto", {"WANDB_API_KEY": KEY, "WANDB_MODE": value}, mode) for value, mode in HELD_BACK.items()),
    ],
)
def test_a_chosen_mode_is_taken_and_auto_asks_for_a_key_and_the_environment(
    monkeypatch: pytest.MonkeyPatch, mode: str, environment: dict[str, str], expected: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wandb_mode(mode) == expected


def test_an_unknown_mode_in_the_environment_is_named_and_the_run_recorded_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", "banana")
    run = mirror(tmp_path / "run", {}, mode="online")
    assert run is not None
    assert run.settings.mode == "offline"
    assert "WANDB_MODE=banana is no mode of W&B (online, offline or disabled)" in capsys.readouterr().err
    close_session()


def test_auto_is_online_with_a_key_in_a_netrc_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc(tmp_path / "home" / ".netrc", "api.wandb.ai")
    assert wandb_mode("auto") == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.hospital.example/")
    assert wandb_mode("auto") == "offline"  # the key is for another server
    monkeypatch.setenv("NETRC", str(netrc(tmp_path / "keys", "wandb.hospital.example")))
    assert wandb_mode("auto") == "online"


@pytest.mark.parametrize("content", [b"machine", b"nonsense here\n", b"\xff\xfe machine \x00"])
def test_an_unreadable_netrc_file_means_no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "keys").write_bytes(content)
    monkeypatch.setenv("NETRC", str(tmp_path / "keys"))
    assert wandb_mode("auto") == "offline"


def test_disabled_opens_nothing(tmp_path: Path) -> None:
    assert mirror(tmp_path / "run", {}, mode="disabled") is None
    assert not (tmp_path / "run").exists()


# --- what cannot be opened --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_closed_port_costs_a_line_and_the_run_is_recorded_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    run = mirror(tmp_path / "run", {}, mode="auto")
    told = capsys.readouterr().err
    assert "127.0.0.1 does not answer" in told
    assert f"wandb sync {run.settings.sync_dir}" in told
    assert Path(run.settings.sync_dir).name.startswith("offline-run-")


def test_a_server_that_takes_the_call_and_says_nothing_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "does not answer (timed out)" in str(no_answer(0.1))


@pytest.mark.parametrize("address", ["nonsense", "ftp://host", "http://", "http://host:port", "http://[::"])
def test_an_address_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", address)
    assert no_answer(0.1)
    assert not has_key()


def test_online_without_a_key_is_offline_with_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mirror(tmp_path / "run", {}, mode="online").settings.mode == "offline"
    assert "no API key is known" in capsys.readouterr().err


@pytest.mark.parametrize(
    "fault", [wandb.errors.UsageError("a bad key"), wandb.errors.CommError(""), ValueError("x\ny")]
)
def test_a_mirror_that_cannot_be_opened_is_none_and_raises_nothing(
    fault: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise fault

    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr("fer_id.loggers.wandb_session.no_answer", lambda: None)
    monkeypatch.setattr(wandb, "init", refuse)
    assert mirror(tmp_path / "run", {}, mode="online") is None
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert "The training goes on without it" in told
    assert not list((tmp_path / "run").rglob("debug*.log"))


@pytest.mark.parametrize("content", [b"", b"a/b", b"\xff\xfe\x00", b"x" * 500, b"two\nlines"])
def test_a_damaged_id_is_replaced_with_a_line(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from fer_id.loggers.wandb_session import _identity

    (tmp_path / "id").write_bytes(content)
    identity = _identity(tmp_path)
    assert RUN_ID.fullmatch(identity)
    assert (tmp_path / "id").read_text() == identity
    assert "holds no id of a run" in capsys.readouterr().err
    assert _identity(tmp_path) == identity


def test_a_run_id_of_the_environment_that_is_none_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "a/b")
    assert mirror(tmp_path / "run", {}).id == (tmp_path / "run" / "wandb" / "id").read_text()
    assert "WANDB_RUN_ID holds no id" in capsys.readouterr().err
    assert os.environ["WANDB_RUN_ID"] == "a/b"


def test_a_mirror_that_fails_later_is_told_and_nothing_is_raised(capsys: pytest.CaptureFixture[str]) -> None:
    with harmless():
        raise BrokenPipeError("the service is gone")
    assert "W&B: the service is gone. The training goes on" in capsys.readouterr().err


# --- what is sent -----------------------------------------------------------------------------------------------------


def mirror(folder: Path, config: dict[str, Any], *, mode: str = "offline") -> Any:
    """The W&B run that the logger of a run opens; None where it opens none."""
    if config:
        RunDir(folder).write_config(config)
    return PrivateWandbLogger(
        RunDir(folder), "study/run", group="study", job_type="fold", tags=["drawn", "synthetic"], mode=mode
    )._open()


METRICS = {
    "provenance": "synthetic",
    "accuracy": 0.8125,
    "auc": None,
    "labels": ["happy"],
    "n_subjects": 7,
    "intervals": {"accuracy": {"low": 0.75, "high": 0.875}, "auc": None},
    "per_class": {"happy": {"f1": 0.46875, "support": 7}, "sad": {"support": 0}},
}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A W&B run that keeps its ``summary``, and under ``logged`` what it is sent; images with their captions."""
    monkeypatch.setattr(wandb, "Image", lambda value, caption="": (value, caption))
    monkeypatch.setattr(wandb, "Html", lambda value: value)
    logged: dict[str, Any] = {}
    return SimpleNamespace(summary={}, logged=logged, log=logged.update)


def content_of(folder: Path) -> bytes:
    """All bytes that W&B keeps for the run, and names of its files, its logs too."""
    wandb.teardown()  # its own process goes on writing after finish() has returned
    return b"".join(
        file.name.encode() + b"\0" + (file.read_bytes() if file.is_file() else b"") + b"\0"
        for file in sorted((folder / "wandb").rglob("*"))
    )


def test_an_offline_run_holds_results_and_nothing_of_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "planted-host")  # real names may be too short to look for
    monkeypatch.setattr(platform, "node", lambda: "planted-host")
    for name in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(name, "planted-user")
    monkeypatch.setenv("HOSPITAL_SECRET", "value-of-the-environment")
    monkeypatch.setenv("WANDB_RUN_NOTES_FILE", "another-value-of-it")
    monkeypatch.setattr(sys, "argv", ["fer-id", "train", "planted.argument=7f3a"])
    store = tmp_path / "planted-store"
    config = {
        "seed": 424242,
        "data": {"name": "drawn", "store": [str(store)], "source": f"{store}/raw", "label_space": None},
        "model": {"name": "cnn_lstm", "weights": "planted-weights/w.pt", "some_new_setting": f"{store}/weights.pt"},
        "trainer": {"monitor": "val/macro_f1", "resolution": [[0.0, 32]]},
        "runs": {"root": str(tmp_path)},
        "init": {"run": "planted-run"},
    }
    logger = mirror(tmp_path / "run", config)
    logger.log({"epoch": 3, "val/macro_f1": 0.640625})
    figures = {"confusion_matrix": plt.figure(), "subjects": plt.figure(figsize=(1, 1))}
    send_results(logger, Metrics.model_validate(METRICS), figures, Rules(real=False))
    close_session()
    plt.close("all")

    said = capfd.readouterr()
    assert [line for line in (said.out + said.err).splitlines() if "metrics.jsonl has them" not in line] == []
    held = content_of(tmp_path / "run")
    expected = (b"424242", b"cnn_lstm", b"val/macro_f1", b"0.640625", b"test/accuracy", b"0.8125", b"synthetic")
    tables = (b"test/accuracy_low", b"test/per_class", b"test/happy/f1", b"0.469", b"undefined")
    for word in (*expected, *tables, b"figures/confusion_matrix", b"\x89PNG"):
        assert word in held, word
    assert b"test/sad/f1" not in held  # undefined is no number
    secrets = {
        "a planted path, host or user": "planted",
        "the folder of the run": str(tmp_path),
        "the working directory": str(Path.cwd()),
        "the source of the program": "PrivateWandbLogger",
        "the command line": "7f3a",
        "a value of the environment": "value-of-the-environment",
        "another value of it": "another-value-of-it",
        "the interpreter": sys.executable,
        "the home directory": os.environ["HOME"],
    }
    if len(host := os.uname().nodename) > 5:
        secrets["the real host name"] = host
    leaks = [what for what, secret in secrets.items() if secret.encode() in held]
    assert not leaks
    assert not list((tmp_path / "run").rglob("*.py"))
    assert not list((tmp_path / "run").rglob("requirements.txt"))


def test_every_setting_that_could_hold_a_path_stays_at_home() -> None:
    """Whatever text field of whatever dataset: a path in it is not sent, also a relative one where its key is known."""
    from data_modules.registry import DATASETS, source_config

    for config in (DataConfig, *map(source_config, DATASETS)):
        fields = [field.name for field in dataclasses.fields(config) if "str" in str(field.type)]
        sent = public({"data": dict.fromkeys(fields, "/planted/place"), "init": {"run": "a", "encoder_from": "b"}})
        assert sent["init"] == {}
        assert set(sent["data"]) <= {"name"}


def test_what_is_no_path_is_sent() -> None:
    config = {"name": "study/run", "tags": ["a/b"], "monitor": "val/loss", "lr": 0.1, "widths": [1, 2], "x": None}
    assert public(config) == config


def test_what_may_be_a_path_or_a_name_of_a_child_is_not() -> None:
    assert public({"a": ["C:\\videos"], "b": "~/videos", "c": Path("here/there"), "protocol": {"only": ["s01"]}}) == {
        "protocol": {}
    }
    assert public({"a_new_list": ["s01", "s02"], "annotator": "Jo"}) == {}  # a list of words may be of names


def test_each_fold_is_a_run_of_its_own(tmp_path: Path) -> None:
    names = [mirror(tmp_path / fold, {}).id for fold in ("one", "two")]
    close_session()
    assert len(set(names)) == 2
    assert all(list((tmp_path / fold / "wandb").glob("offline-run-*/*.wandb")) for fold in ("one", "two"))


def test_a_run_that_is_opened_again_is_the_same_one_and_lies_there_once(tmp_path: Path) -> None:
    names = [mirror(tmp_path / "run", {}).id for _ in range(2)]
    close_session()
    assert len(set(names)) == 1
    assert len(list((tmp_path / "run" / "wandb").glob("offline-run-*"))) == 1


def test_a_run_that_an_agent_started_bears_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "agents1")
    assert mirror(tmp_path / "run", {}).id == "agents1"


def test_only_the_first_of_several_processes_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert mirror(tmp_path / "run", {}) is None
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("provenance", "leaves"), [("real", False), ("simulated", False), ("synthetic", True)])
def test_the_figure_that_names_children_leaves_only_where_they_are_drawn(
    sent: Any, provenance: str, leaves: bool
) -> None:
    figures = {name: Figure() for name in ("confusion_matrix", "subjects")}
    metrics = Metrics.model_validate({**METRICS, "provenance": provenance})
    send_results(sent, metrics, figures, Rules(real=False))
    assert ("figures/subjects" in sent.logged) is leaves
    assert "figures/confusion_matrix" in sent.logged
    assert sent.summary["provenance"] == provenance
    assert sent.summary["test/happy/support"] == 7
    assert "test/auc" not in sent.summary


@pytest.mark.parametrize("real", [True, False])
def test_of_real_children_the_public_view_of_groups_leaves(sent: Any, real: bool) -> None:
    def group(subjects: int, accuracy: float) -> dict[str, Any]:
        scores = dict.fromkeys(("accuracy", "macro_recall", "macro_f1", "ece", "abstention"), accuracy)
        intervals = dict.fromkeys(("accuracy", "macro_recall", "macro_f1"))
        return {"n_clips": 10 * subjects, "n_subjects": subjects, **scores, "recall": {}, "intervals": intervals}

    told = {"gap": 0.25, "ratio": 0.5, "worst": "b", "best": "a", "p": 0.01, "p_holm": 0.02, "verdict": "gap"}
    column: dict[str, Any] = {
        "of": ["site"],
        "varies": "between subjects",
        "groups": {"a": group(9, 0.5), "b": group(8, 0.25), "c": group(2, 0.125)},
        "gaps": {score: {**told, "reason": None} for score in ("accuracy", "macro_recall", "macro_f1")},
        "in_no_group": {"n_clips": 0, "n_subjects": 0},
    }
    subgroups = {"min_subjects": 5, "columns": {"site": column}, "left_out": {}}
    figures = {name: Figure() for name in ("groups", "group_reliability", "training", "confusion_matrix")}
    # The whole may bear another word: a store of real children pooled with a drawn one is synthetic.
    metrics = Metrics.model_validate({**METRICS, "provenance": "synthetic", "subgroups": subgroups})
    send_results(sent, metrics, figures, Rules(real=real))
    assert sent.summary["test/group/site/a/accuracy"] == 0.5
    # With a and the total, b would give c away; the figure of a cross-validation's training shows every fold.
    for name in ("test/group/site/c/accuracy", "test/group/site/b/accuracy", "test/gap/site/accuracy"):
        assert (name in sent.summary) is not real
    for name in ("groups", "group_reliability", "training"):
        assert (f"figures/{name}" in sent.logged) is not real
    assert "figures/confusion_matrix" in sent.logged
    if not real:
        assert sent.summary["test/gap/site/macro_f1/verdict"] == "gap"
        assert sent.summary["test/gap/site/macro_f1/p"] == 0.02


@pytest.mark.parametrize(("subjects", "told"), [(1, False), (4, False), (5, True)])
def test_of_a_fold_of_few_real_children_no_score_leaves(sent: Any, subjects: int, told: bool) -> None:
    """A fold that leaves one child out would tell how that child was recognised."""
    figures = {"confusion_matrix": Figure()}
    hidden = withheld(Job.model_validate({"children": {"test": subjects}}), "fold")
    metrics = Metrics.model_validate({**METRICS, "provenance": "real"})
    send_results(sent, metrics, figures, Rules(hidden))
    assert ("test/accuracy" in sent.summary) is told
    assert bool(sent.logged) is told
    assert sent.summary["provenance"] == "real"
    assert sent.summary.get("test/withheld") == (None if told else FEW)


def test_what_is_withheld_follows_the_children_of_each_split() -> None:
    children = {"train": 8, "validation": 3, "test": 1}
    assert withheld(Job.model_validate({"children": children}), "fold") == {"val": FEW, "test": FEW}
    assert withheld(Job.model_validate({"children": dict.fromkeys(children, 0)}), "fold") == {}  # nobody real
    assert withheld(Job.model_validate({"children": dict.fromkeys(children, 0)}), "trial") == {"test": CHOSEN_BY}
    assert withheld(Job.model_validate({}), "train") == dict.fromkeys(("train", "val", "test"), FEW)  # nothing is known


def test_strips_of_people_leave_only_with_their_consent(sent: Any) -> None:
    words = ("sad (90 %), labelled fear", "subject s1", "from above: the frames, Grad-CAM")
    gallery = [Shown("Wrong", PICTURE, *words, False, "real", shareable=share) for share in (True, False, True)]
    leakage = {"value": 1.5, "low": 1.0, "high": 2.0, "n_subjects": 4}
    regions = {name: {**leakage, "share": 0.1, "area": 0.1} for name in REGIONS}
    sad = {"n_clips": 3, "leakage": leakage, "expected": {"regions": [], "value": None}, "regions": regions}
    content = {"provenance": "real", "leakage": leakage, "regions": regions, "by_frame": {}, "by_class": {"sad": sad}}
    content |= {"checks": {}, "failed": ["deletion"]}
    logged, figures = sent.logged, draw(content)
    send_explanation(sent, content, figures, gallery, faces=True)
    assert sent.summary == {"explain/leakage": 1.5}
    assert len(logged["explain/clips"]) == 2
    assert all("real" in caption and "failed: deletion" in caption for _, caption in logged["explain/clips"])
    assert all("the frames, Grad-CAM" in caption for _, caption in logged["explain/clips"])
    assert not any("s1" in caption for _, caption in logged["explain/clips"])
    assert "failed: deletion" in logged["explain/by_class"]
    logged.clear()
    content["failed"] = []
    send_explanation(sent, content, figures, gallery[:1], faces=True)
    assert "not checked" in logged["explain/clips"][0][1]
    logged.clear()
    send_explanation(sent, content, figures, gallery[1:2], faces=True)
    assert "explain/clips" not in logged
    send_explanation(sent, content, figures, gallery, faces=False)
    assert "explain/clips" not in logged  # consent alone is not enough: the run must say so too


# ------------------------------------------------------------------------------------- the experiment, for other code


def experiment(folder: Path, children: dict[str, int], *, drawn: bool = False, job_type: str = "train") -> Any:
    """``.experiment`` of a run with so many real children in each split, one of them called s1-7f3a."""
    job = Job(children=children, subjects={"train": ["s1-7f3a"]}, store=Store(drawn=drawn))
    RunDir(folder).write_job(job)
    return PrivateWandbLogger(RunDir(folder), mode="offline", job_type=job_type).experiment


def test_other_code_sends_numbers_of_many_children_only(tmp_path: Path, wandb_run: Any, capsys: Any) -> None:
    run = experiment(tmp_path, {"train": 9, "validation": 3, "test": 9})
    run.log({"train/mine": 0.5, "val/mine": 0.25, "test/mine": 0.125, "unnamed": 2.0, "lr-Adam": 0.1, "epoch": 1})
    run.log({"train/text": "text", "train/none": float("nan"), "train/s1-7f3a": 1.0, "train/acc_s1-7f3a": 1.0})
    run.summary["val/best"] = 0.75
    run.summary.update({"train/best": 0.625})
    close_session()
    wandb.teardown()
    told = wandb_run(tmp_path)
    (row,) = [{k: v for k, v in row.items() if not k.startswith("_")} for row in told.rows]
    assert row == {"train/mine": 0.5, "test/mine": 0.125, "lr-Adam": 0.1, "epoch": 1}
    assert told.summary["train/best"] == 0.625
    assert "val/best" not in told.summary
    lines = capsys.readouterr().err
    assert f"val/mine is not sent: {FEW}" in lines
    assert "unnamed is not sent" in lines


def test_other_code_sends_no_file_picture_table_or_place(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "planted.txt").write_text("planted")
    run = experiment(tmp_path / "run", {"train": 9, "validation": 9, "test": 9})
    picture = wandb.Image(PICTURE, caption="planted")
    run.log({"train/face": picture, "train/faces": [picture], "train/table": wandb.Table(["a"], [["planted"]])})
    run.config.update({"lr": 0.5, "data": {"store": str(tmp_path)}, "place": f"{tmp_path}/planted"})
    run.config["root"] = str(tmp_path)
    run.save(str(tmp_path / "planted.txt"))
    run.log_artifact(str(tmp_path / "planted.txt"))
    run.log_code(str(tmp_path))
    run.alert("planted")
    close_session()
    held = content_of(tmp_path / "run")
    assert b"planted" not in held
    assert str(tmp_path).encode() not in held
    assert b"PNG" not in held
    assert b'"lr"' in held or b"lr" in held
    lines = capsys.readouterr().err
    for name in ("train/face ", "train/faces", "train/table", "save()", "log_artifact()", "log_code()", "alert()"):
        assert f"W&B: {name.strip()} is not sent" in lines


def test_wandbs_own_globals_obey_too(tmp_path: Path, wandb_run: Any, capsys: Any) -> None:
    (tmp_path / "planted.txt").write_text("planted")
    experiment(tmp_path / "run", {"train": 9, "validation": 3, "test": 9})
    assert wandb.run is not None
    wandb.log({"train/mine": 0.5, "val/mine": 0.25, "train/face": wandb.Image(PICTURE)})
    wandb.run.log({"mine": 1.0})
    wandb.summary["val/best"] = 0.75
    wandb.config.update({"lr": 0.5, "who": "s1-7f3a", "s1-7f3a": 1, "place": f"{tmp_path}/planted"})
    wandb.save(str(tmp_path / "planted.txt"))
    wandb.log_artifact(str(tmp_path / "planted.txt"))
    wandb.run.log_code(str(tmp_path))
    close_session()
    assert wandb.run is None
    held = content_of(tmp_path / "run" / "wandb")
    for secret in (b"planted", b"PNG", b"s1-7f3a", str(tmp_path).encode()):
        assert secret not in held
    wandb.teardown()
    recorded = wandb_run(tmp_path / "run")
    assert [{key: value for key, value in row.items() if "/" in key} for row in recorded.rows] == [{"train/mine": 0.5}]
    assert "mine" not in recorded.rows[0]
    assert "val/best" not in recorded.summary
    assert "train/face is not sent" in capsys.readouterr().err


def test_the_loggers_own_methods_obey_too(tmp_path: Path, capsys: Any) -> None:
    RunDir(tmp_path).write_job(Job.model_validate({"children": {"train": 9, "validation": 9, "test": 9}}))
    logger = PrivateWandbLogger(RunDir(tmp_path), mode="offline")
    logger.log_image("train/face", [PICTURE])
    logger.log_table("train/table", columns=["a"], data=[["planted"]])
    logger.log_text("train/text", columns=["a"], data=[["planted"]])
    logger.log_hyperparams({"lr": 0.5, "file": "/planted/file"})
    logger.watch(None)  # type: ignore[arg-type]
    logger.close()
    held = content_of(tmp_path)
    assert b"planted" not in held
    assert b"PNG" not in held
    assert "train/face is not sent" in capsys.readouterr().err


@pytest.mark.parametrize(("drawn", "children", "sent"), [(True, 0, True), (True, 1, False), (False, 0, False)])
def test_pictures_of_other_code_leave_where_every_face_is_drawn(
    drawn: bool, children: int, sent: bool, tmp_path: Path
) -> None:
    run = experiment(tmp_path, dict.fromkeys(("train", "validation", "test"), children), drawn=drawn)
    run.log({"train/face": wandb.Image(PICTURE)})
    run.log({"train/named": wandb.Image(PICTURE, caption="/a/place")})
    close_session()
    held = content_of(tmp_path)
    assert (b"\x89PNG" in held) is sent
    assert b"/a/place" not in held


def test_a_trial_keeps_its_test_scores_from_other_code_too(tmp_path: Path, wandb_run: Any) -> None:
    run = experiment(tmp_path, dict.fromkeys(("train", "validation", "test"), 0), job_type="trial")
    run.log({"test/mine": 0.5, "anything": 2.0})
    close_session()
    wandb.teardown()
    (row,) = wandb_run(tmp_path).rows
    assert "test/mine" not in row
    assert row["anything"] == 2.0


def test_a_fold_is_named_by_its_number_unless_somebody_says_otherwise(tmp_path: Path) -> None:
    for child in ("s1-7f3a", "s2-9b1c"):
        (tmp_path / "study" / "folds" / child / "job").mkdir(parents=True)
    folds = tmp_path / "study" / "folds"
    assert PrivateWandbLogger(RunDir(folds / "s2-9b1c"))._details.name == "study/folds/02"
    assert PrivateWandbLogger(RunDir(folds / "s1-7f3a" / "job"))._details.name == "study/folds/01/job"
    assert PrivateWandbLogger(RunDir(tmp_path / "study" / "first"))._details.name == "study/first"
    RunDir(folds / "s2-9b1c").write_config({"name": "folds/s2-9b1c", "seed": 3})
    study = {"group": "study", "name": "study", "fold": 2, "provenance": None}
    settings = PrivateWandbLogger(RunDir(folds / "s2-9b1c"))._settings()
    assert settings == {"name": "study/folds/02", "seed": 3, "study": study}


# ------------------------------------------------------------------------------------------------------ film strips


def strips(provenance: str) -> list[Shown]:
    """Two clips, of which the second may leave by the child's consent."""
    picture = np.full((4, 4, 3), 200, np.uint8)
    return [
        Shown("Kind", picture, "sad", "subject s", "", None, provenance, share, f"clip{n}", f"child{n}")
        for n, share in enumerate((provenance == "synthetic", True))
    ]


@pytest.mark.parametrize(
    ("provenance", "faces", "children", "sent"),
    [
        ("real", False, 9, 0),
        ("real", True, 9, 1),
        ("real", True, 3, 0),  # its caption tells how one of three children was recognised
        ("synthetic", False, 0, 2),
        ("simulated", False, 0, 0),
    ],
)
def test_a_face_leaves_by_consent_and_setting_and_is_noted(
    provenance: str, faces: bool, children: int, sent: int, tmp_path: Path, wandb_run: Any
) -> None:
    run = RunDir(tmp_path)
    run.write_job(Job.model_validate({"children": dict.fromkeys(("train", "validation", "test"), children)}))
    logger = PrivateWandbLogger(run, mode="offline", faces=faces)
    logger.begin([])
    shown = [strip._replace(shareable=False) if provenance == "simulated" else strip for strip in strips(provenance)]
    logger.log_panels({"val/grad_cam": shown})
    logger.log_epoch({"epoch": 0, "val/loss": 1.0, "train/loss": 1.0})
    identity = logger.version
    logger.close()
    wandb.teardown()
    (row,) = wandb_run(tmp_path).rows  # the pictures stand in the row of their epoch
    assert row["epoch"] == 0
    assert row.get("val/grad_cam.count", 0) == sent
    noted = [(line["wandb_run"], line["key"], line["clip_id"], line["subject_id"]) for line in run.uploads()]
    assert noted == [(identity, "val/grad_cam", "clip1", "child1")] * (sent if provenance == "real" else 0)
