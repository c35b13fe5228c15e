"""Untrusted files and settings on the command line: no code in them runs, and they get nothing from the environment."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.cli import USERS_FAULT, main
from fer_id.runs.run_dir import RunDir
from tests.experiments.messages import Capture, Malicious, Tiny, refusal, train


@pytest.fixture(scope="module")
def finished(drawn: Path, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """Finished training; a test that changes it restores it."""
    return train(tiny(drawn, tmp_path_factory.mktemp("finished"), "name=a"))


LOADING = [
    ["explain", "{run}"],
    ["controls", "{run}"],
    ["train", "init.run={run}"],
    ["train", "init.encoder_from={run}"],
    ["train", "model.weights={file}"],
    ["adapt", "init.run={run}"],
]
"""What loads weights."""


@pytest.fixture
def refuse(finished: RunDir, drawn: Path, tiny: Tiny, tmp_path: Path, capsys: Capture) -> Callable[..., None]:
    """Run a command that loads weights after the checkpoint was changed, and restore the checkpoint."""

    def run(command: list[str], change: dict[str, Any], words: str) -> None:
        file = finished.path / "checkpoints" / "best.ckpt"
        good = file.read_bytes()
        content = torch.load(file, weights_only=True)
        published = tmp_path / "best.ckpt"  # outside of the run, whose own file is not taken as published weights
        command = [argument.format(run=finished.path, file=published) for argument in command]
        if command[0] in ("train", "adapt"):
            command = [command[0], *tiny(drawn, tmp_path / "runs", "name=b", *command[1:])[1:]]
        try:
            torch.save({**content, **change}, file)
            shutil.copy(file, published)
            finished.finish()  # records the changed file, so that its content is what is refused
            message = refusal(capsys, command)
        finally:
            file.write_bytes(good)
            finished.finish()
        assert words in message
        assert "best.ckpt" in message
        assert not (tmp_path / "runs" / "b" / "DONE").exists()

    return run


@pytest.mark.parametrize("command", LOADING, ids=" ".join)
def test_code_in_a_checkpoint_is_not_run(command: list[str], refuse: Callable[..., None], tmp_path: Path) -> None:
    trace = tmp_path / "it ran"
    refuse(command, {"hyper_parameters": Malicious(trace)}, "nothing of it was run")
    assert not trace.exists()


@pytest.mark.parametrize("command", LOADING, ids=" ".join)
def test_weights_that_are_not_finite_are_refused_by_file_and_tensor(
    command: list[str], refuse: Callable[..., None], finished: RunDir
) -> None:
    state = torch.load(finished.path / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    name = next(name for name in state if name.startswith("model.encoder.blocks"))
    spoilt = {"state_dict": {**state, name: torch.full_like(state[name], float("inf"))}}
    words = f"{name.rpartition('encoder.')[2]}: NaN or infinite values"
    refuse(command, spoilt, words)


TO_IMPORT = "_target_: pathlib.Path.touch\n_args_: ['{trace}']\n"
TO_CALL = "optim: !!python/object/apply:pathlib.Path.touch ['{trace}']\n"
TO_MAKE = "optim:\n  lr: !!python/object/new:pathlib.Path ['{trace}']\n"
TO_FILL_IN = "optim:\n  lr: ${{oc.env:PLANTED}}\n"
TO_DECODE = "optim:\n  name: ${{oc.decode:${{oc.env:PLANTED}}}}\n"
TO_SWELL = "a: &a [1, 1]\nb: &b [*a, *a]\noptim: [*b, *b]\n"


@pytest.mark.parametrize("content", [TO_IMPORT, TO_CALL, TO_MAKE, TO_FILL_IN, TO_DECODE, TO_SWELL])
@pytest.mark.parametrize("as_run", [False, True], ids=["a recipe", "a run's config.yaml"])
def test_code_and_interpolations_in_a_config_are_refused(
    content: str,
    as_run: bool,
    finished: RunDir,
    drawn: Path,
    tiny: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    monkeypatch.setenv("PLANTED", "value-of-the-environment")
    trace, file = tmp_path / "it ran", tmp_path / "recipe.yaml"
    text = content.format(trace=trace)
    if as_run:
        file = finished.path / "config.yaml"
        good = file.read_text()
        sections = good.splitlines(keepends=True)
        at = next((index for index, line in enumerate(sections) if line.startswith("optim:")), len(sections))
        end = next((i for i in range(at + 1, len(sections)) if not sections[i].startswith((" ", "-"))), len(sections))
        text = "".join(sections[:at]) + text + "".join(sections[end:])
        command = ["explain", str(finished.path)]
    else:
        command = tiny(drawn, tmp_path / "runs", f"recipe={file}", "name=b")
    before = file.read_bytes() if file.exists() else b""
    try:
        file.write_text(text)
        assert main(command) == USERS_FAULT
    finally:
        file.write_bytes(before)
    output = capsys.readouterr()
    assert not trace.exists()
    assert "Traceback" not in output.err
    assert "value-of-the-environment" not in output.out + output.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "setting",
    [
        "data.store=${oc.env:PLANTED}",
        "data.store=[${oc.env:PLANTED},b]",
        "name=study/${oc.env:PLANTED}",
        "logging.tags=[${oc.env:PLANTED}]",
        "logging.group=a${oc.env:PLANTED,none}",
        "recipe=${oc.env:PLANTED}",
        "model=${oc.env:PLANTED}",
    ],
)
def test_a_setting_takes_nothing_from_the_environment(
    setting: str, drawn: Path, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("PLANTED", "value-of-the-environment")
    assert main(tiny(drawn, tmp_path / "runs", setting)) == USERS_FAULT
    output = capsys.readouterr()
    assert "value-of-the-environment" not in output.out + output.err
    assert not (tmp_path / "runs").exists()


def test_a_dollar_sign_stays_unchanged(
    drawn: Path, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text that a shell would expand stays unchanged in all written files."""
    monkeypatch.setenv("PLANTED", "value-of-the-environment")
    run = train(tiny(drawn, tmp_path, "name=$PLANTED", "logging.tags=[$PLANTED,~]"))
    assert run.path == tmp_path / "$PLANTED"
    assert run.config()["logging"]["tags"] == ["$PLANTED", "~"]
    for name in ("config.yaml", "job.json", "report.html"):
        assert "value-of-the-environment" not in (run.path / name).read_text()
