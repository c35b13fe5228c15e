"""The command line: help, refusals, and exit codes."""

from __future__ import annotations

import csv
import errno
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_modules.registry import DATASETS
from experiments import cli
from experiments.benchmarking.config import ENCODERS
from experiments.cli import DONE, INTERRUPTED, OUR_FAULT, TERMINATED, USERS_FAULT, main
from experiments.interrupts import Terminated, terminable
from experiments.settings.loading import load
from experiments.verbs.controls import require_one_length
from experiments.verbs.stores import PrepareConfig, describe
from experiments.verbs.table import VERBS
from fer_id.errors import DataError, RunError
from fer_id.files import write_json
from fer_id.runs.job import Job
from fer_id.runs.run_dir import RunDir
from fer_id.store.reader import ClipStore
from tests.experiments.messages import Capture, refusal

HEAVY = {"torch", "pytorch_lightning", "mediapipe", "pandas", "albumentations", "matplotlib", "cv2", "timm", "wandb"}


def test_help_names_every_verb_and_imports_nothing_heavy() -> None:
    code = "import sys; from experiments.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"  {verb} " in done.stdout for verb in VERBS)
    assert not (HEAVY | {"omegaconf"}) & set(done.stderr.split())


def test_without_a_verb_the_help_is_printed(capsys: Capture) -> None:
    assert main([]) == DONE
    assert "fer-id synth out=" in capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: Capture) -> None:
    assert main([verb, "--help"]) == DONE
    output = capsys.readouterr().out
    assert VERBS[verb].example in output
    assert "=" in output


@pytest.mark.parametrize(("data", "made_by"), [("synthetic", "synth out="), ("simulated", "simulate source=")])
def test_the_help_of_a_dataset_that_is_made_names_its_command(data: str, made_by: str, capsys: Capture) -> None:
    assert main(["prepare", f"data={data}", "--help"]) == DONE
    assert capsys.readouterr().out.splitlines()[2].startswith(f"  fer-id {made_by}")


@pytest.mark.parametrize(
    ("data", "words"), [("jaffe", "data=jaffe (command line): unknown"), ("my/data.yaml", "my/data.yaml: no such file")]
)
def test_the_help_of_an_unknown_dataset_says_so(data: str, words: str, capsys: Capture) -> None:
    assert words in refusal(capsys, ["prepare", f"data={data}", "--help"])


@pytest.mark.parametrize("data", sorted({*DATASETS, "cafe", "liris_cse"} - {"synthetic", "simulated"}))
def test_the_help_of_a_dataset_begins_with_a_command_of_valid_settings(data: str, capsys: Capture) -> None:
    assert main(["prepare", f"data={data}", "--help"]) == DONE
    command = shlex.split(capsys.readouterr().out.splitlines()[2])
    assert command[:3] == ["fer-id", "prepare", f"data={data}"]
    config = load(PrepareConfig, command[2:])
    assert config.data.source
    assert config.out == f"data/{data}"


def test_every_setting_of_train_has_help(capsys: Capture) -> None:
    assert main(["prepare", "data=ferplus", "--help"]) == DONE
    assert "data.votes=" in capsys.readouterr().out
    assert main(["train", "data=ferplus", "--help"]) == DONE
    output = capsys.readouterr().out
    for expected in ("data.store=", "optim.lr=0.0001", "above 0", "model=NAME", "timm:", "one of adam, adamw, sgd"):
        assert expected in output
    type_first = r"^  [\w.]+=\S* +\[(str|int|float|bool|list)"
    assert not re.search(type_first, output, re.MULTILINE)


@pytest.mark.parametrize("arguments", [["prepare", "data=affwild2"], ["benchmark"]])
def test_the_words_on_a_section_are_whole_sentences(arguments: list[str], capsys: Capture) -> None:
    assert main([*arguments, "--help"]) == DONE
    sections = re.findall(r"^[a-z_.]+: .*(?:\n  [^=\n]*$)*", capsys.readouterr().out, re.MULTILINE)
    assert sections
    assert [text for text in sections if not text.endswith(".")] == []


def test_an_unknown_verb(capsys: Capture) -> None:
    assert main(["trian", "data=fer2013"]) == USERS_FAULT
    output = capsys.readouterr()
    assert "did you mean train?" in output.err
    assert not output.out


def test_wrong_settings_end_before_any_work(tmp_path: Path, capsys: Capture) -> None:
    output = refusal(capsys, ["synth", f"out={tmp_path / 'a'}", "subjects=-1", "fps=0", "subjets=3"])
    assert all(key in output for key in ("subjects", "fps", "did you mean subjects?"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (DataError("a.csv: row 3 is wrong"), USERS_FAULT, "fer-id: a.csv: row 3 is wrong"),
        (OSError(errno.ENOSPC, "No space left on device", "out"), USERS_FAULT, "the disk is full: out"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), USERS_FAULT, "permission denied: out"),
        (OSError(errno.EROFS, "Read-only file system"), USERS_FAULT, "the disk is read-only"),
        (FileExistsError(errno.EEXIST, "File exists", "out"), USERS_FAULT, "a file stands where a folder is needed"),
        (OSError(errno.EIO, "I/O error"), OUR_FAULT, "Traceback"),
        (ZeroDivisionError("x"), OUR_FAULT, "Traceback"),
        (OSError(errno.EFBIG, "File too large", "out"), USERS_FAULT, "ulimit -f): out"),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted"),
        (Terminated(143), TERMINATED, "terminated"),
        (MemoryError(), USERS_FAULT, "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), USERS_FAULT, "out of memory"),
        (
            UnicodeEncodeError("utf-8", "face\udcff.png", 4, 5, ""),
            USERS_FAULT,
            "'face\\udcff.png': a name that is not UTF-8",
        ),
    ],
)
def test_errors_have_their_exit_codes_and_messages(
    error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:

    def broken(config: object) -> str:
        raise error

    monkeypatch.setattr("experiments.verbs.models.models", broken)
    assert main(["models"]) == code
    output = capsys.readouterr().err
    assert message in output
    assert ("Traceback" in output) == (code == OUR_FAULT)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "lost", [SystemExit(1), RuntimeError("lost"), None], ids=["by an exit", "by an error", "whole"]
)
def test_a_signal_counts_where_a_library_loses_its_exception(lost: BaseException | None, sent: signal.Signals) -> None:
    steps, ends = [0], Terminated if sent == signal.SIGTERM else KeyboardInterrupt

    def work() -> None:
        with terminable(signal.SIGINT) as again:
            try:
                os.kill(os.getpid(), sent)
            except BaseException:
                if lost is not None:
                    raise lost from None
            with suppress(ends):
                again()
                steps.append(1)

    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(ends):
        work()
    assert steps == [0]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_models_prints_a_table(capsys: Capture) -> None:
    assert main(["models", "frames=2"]) == DONE
    output = capsys.readouterr().out
    assert all(f"| {name} |" in output for name in ENCODERS)


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["model=cnn_lstm", "model.head=gru"], "| cnn_lstm | conv4 | gru |"),
        (["model=timm:resnet18", "model.head=gru"], "| timm:resnet18 | timm:resnet18 | gru |"),
        (["model=timm:resnet18*"], "| timm:resnet18d | 4x4 |"),
    ],
)
def test_models_takes_the_keys_of_a_training_and_patterns(arguments: list[str], output: str, capsys: Capture) -> None:
    assert main(["models", "frames=2", *arguments]) == DONE
    assert output in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["model=timm:resnet-19*"], ["(nearest: timm:resnet1", "`fer-id models 'model=timm:*NAME*'` lists"]),
        (["model.hed=gru"], ["model.hed=gru", "did you mean model.head?"]),
        (["frams=2"], ["frams=2: unknown key", "frames"]),
        (["model=timm:resnet18*", "model.head=gru"], ["a pattern with * stands alone"]),
    ],
)
def test_models_names_what_would_do(arguments: list[str], parts: list[str], capsys: Capture) -> None:
    message = refusal(capsys, ["models", *arguments])
    assert [part for part in parts if part not in message] == []


def test_inspect_counts_a_store(tiny_store: Callable[..., Path], capsys: Capture) -> None:
    store = tiny_store(subjects=3, clips=2, length=3)
    assert main(["inspect", str(store)]) == DONE
    output = capsys.readouterr().out
    assert "30 clips, 90 frames (90 valid)" in output
    assert "provenance synthetic, label space target5, 3 subjects" in output
    assert output.splitlines()[3].split() == ["all", "6", "6", "6", "6", "6", "30"]


def test_inspect_counts_detected_landmarks(tiny_store: Callable[..., Path]) -> None:
    store = ClipStore.open(tiny_store())
    assert "with landmarks" not in describe(store)
    store.card.parameters["images_with_landmarks"] = 7
    assert "120 frames (120 valid), 7 images with landmarks" in describe(store)


@pytest.mark.parametrize("verb", ["report", "compare"])
def test_metrics_of_an_older_version_are_refused(verb: str, tmp_path: Path, capsys: Capture) -> None:
    run = RunDir.create(tmp_path / "run", {"name": "run"}, Job())
    write_json(run.path / "metrics.json", {"accuracy": 0.5, "labels": ["happy"]})
    run.finish()
    output = refusal(capsys, [verb, str(run.path)])
    assert "provenance, n_clips" in output
    assert f"`fer-id evaluate {run.path}` computes it again" in output


@pytest.mark.parametrize(("lengths", "refused"), [([3, 3], False), ([3, 5], True)])
def test_frames_needs_clips_of_one_length(lengths: list[int], refused: bool, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="3 to 5 frames") if refused else nullcontext():
        require_one_length(RunDir(tmp_path), pd.Series(lengths))


def test_inspect_refuses_folders_that_are_no_store(tmp_path: Path, capsys: Capture) -> None:
    assert str(tmp_path) in refusal(capsys, ["inspect", str(tmp_path)])


@pytest.mark.parametrize(
    ("verb", "message"), [("evaluate", "is not a run"), ("report", "is not a run"), ("compare", "holds no run")]
)
def test_folders_that_are_no_run_are_refused(verb: str, message: str, tmp_path: Path, capsys: Capture) -> None:
    assert message in refusal(capsys, [verb, str(tmp_path)])


def test_synth_then_inspect(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "drawn"
    assert main(["synth", f"out={out}", "subjects=1", "clips_per_emotion=1", "frames=2"]) == DONE
    assert "5 clips, 10 frames" in capsys.readouterr().out
    assert "overwrite=true" in refusal(capsys, ["synth", f"out={out}", "subjects=1"])
    assert main(["synth", f"out={out}", "subjects=1", "clips_per_emotion=2", "frames=2", "overwrite=true"]) == DONE
    output = capsys.readouterr().out
    assert "10 clips, 20 frames" in output
    assert output.splitlines()[-1] == f"picture: {out / 'strips.png'}"
    assert (out / "strips.png").is_file()
    assert main(["inspect", str(out)]) == DONE


def test_prepare_from_a_csv(tmp_path: Path, capsys: Capture) -> None:
    source, out = tmp_path / "fer2013.csv", tmp_path / "store"
    rng = np.random.default_rng(0)
    with source.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["emotion", "pixels", "Usage"])
        for number in range(42):
            usage = ("Training", "PublicTest", "PrivateTest")[number % 3]
            rows.writerow([number // 3 % 7, " ".join(map(str, rng.integers(0, 256, 48 * 48))), usage])
    assert main(["prepare", "data=fer2013", f"data.source={source}", f"out={out}"]) == DONE
    output = capsys.readouterr().out
    assert "42 images" in output
    assert "label space fer7" in output
    assert main(["inspect", str(out)]) == DONE
    assert "published, images, PrivateTest: 14" in capsys.readouterr().out
    source.write_text("emotion,pixels,Usage\n9,1 2 3,Sunday\n")
    assert main(["prepare", "data=fer2013", f"data.source={source}", f"out={tmp_path / 'bad'}"]) == USERS_FAULT
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "bad").exists()


def test_examples_in_the_help_have_existing_settings() -> None:
    for name, verb in VERBS.items():
        program, typed, *arguments = shlex.split(verb.example)
        assert (program, typed) == ("fer-id", name)
        load(cli.imported(verb.config), arguments, verb.paths)


# ----------------------------------------------------------------------------------- what is quoted, and hostile names


LONG = "x" * 100_000
TRAIN = ["train", "data=synthetic", "data.store=none", "model=conv4"]


@pytest.mark.parametrize(
    "arguments",
    [
        [LONG],
        ["train", LONG],
        ["train", f"--{LONG}"],
        [*TRAIN, f"{LONG}=1"],
        [*TRAIN, f"{'a.' * 50_000}b=1"],
        [*TRAIN, f"model={LONG}"],
        [*TRAIN, f"seed={LONG}"],
        [*TRAIN, f"name={LONG}"],
        [*TRAIN, f"recipe={LONG}.yaml"],
        [*TRAIN, f"data.store={LONG}"],
        [*TRAIN, f"data.label_space={LONG}"],
        [*TRAIN, f"seed={LONG}", f"seed={LONG}"],
        ["prepare", "data=fer2013", f"data.source={LONG}", "out=none"],
        ["consent", "check", f"cohort={LONG}"],
        ["compare", LONG, "out=none"],
        ["inspect", LONG],
    ],
    ids=lambda arguments: " ".join(argument[:20] for argument in arguments),
)
def test_long_quotations_are_cut(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    output = refusal(capsys, arguments)
    assert len(output) < 2000
    assert "x" * 1000 not in output
    assert not list(tmp_path.rglob("*"))


def test_twenty_thousand_unknown_keys_are_one_kind_of_problem_and_hide_no_other(capsys: Capture) -> None:
    unknown = [f"k{chr(97 + number % 26)}{number}=1" for number in range(20_000)]
    output = refusal(capsys, [*TRAIN, *unknown, "optim.lr=abc"])
    assert len(output) < 2000
    assert output.count("Known here:") == 1
    assert "20001 problems" in output
    assert "optim.lr=abc" in output
    assert "more like this" in output


@pytest.mark.parametrize("key", ["name", "logging.group", "logging.tags", "logging.project"])
@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/../b", "a\nb", "a\x1b[31m", "\u202ea", "a\0b", "=1+1", "@a", "folds", " a", "x" * 300]
)
def test_a_name_has_to_fit_a_folder_a_cell_and_a_line(key: str, name: str, capsys: Capture) -> None:
    output = refusal(capsys, [*TRAIN, f"{key}={name}"])
    assert f"{key}=" in output
    assert ("expected a list" if (key, name) == ("logging.tags", "") else "expected a name") in output
    assert "\x1b" not in output
    assert "\u202e" not in output


def test_folds_are_no_study(capsys: Capture) -> None:
    assert "not called folds" in refusal(capsys, [*TRAIN, "name=study/folds/x"])
