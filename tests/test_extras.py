"""Extras: what a command without its optional modules says, and that the table is the one of pyproject.toml."""

import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import torch

from experiments.cli import USERS_FAULT, main
from experiments.online.dashboard import build
from fer_id.extras import EXTRAS, MissingExtraError, require_extra
from fer_id.models.export import export_onnx

PROJECT = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text("utf-8"))["project"]
OPTIONAL = PROJECT["optional-dependencies"]


def names(requirements: list[str]) -> set[str]:
    """Return the distributions of requirements, without extras and versions."""
    return {re.split(r"[\[<>=!~]", requirement)[0] for requirement in requirements}


def test_each_extra_installs_the_modules_that_it_is_named_for() -> None:
    installed = packages_distributions()
    for extra, modules in EXTRAS.items():
        assert {installed[module][0] for module in modules} == names(OPTIONAL[extra])
        assert not names(OPTIONAL[extra]) & names(PROJECT["dependencies"])


def test_all_has_every_extra_and_the_tests_have_all() -> None:
    assert OPTIONAL["all"] == [f"fer-id[{','.join(EXTRAS)}]"]
    assert "fer-id[all]" in OPTIONAL["dev"]


@pytest.mark.parametrize(
    ("extra", "module", "command"),
    [
        ("sweep", "ray", ["sweep", "run", "drawn"]),
        ("sweep", "optuna", ["sweep", "run", "drawn"]),
        ("export", "onnxscript", ["release", "runs/none"]),
    ],
)
def test_a_verb_without_its_extra_says_what_to_install(
    extra: str, module: str, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert main(command) == USERS_FAULT
    message = capsys.readouterr().err
    assert f'needs {module}, not installed here; install the extra {extra!r}: pip install "fer-id[{extra}]"' in message
    assert "Traceback" not in message


def test_a_part_without_its_extra_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("wandb_workspaces", "onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r'"fer-id\[workspaces\]"'):
        build("project", "team")
    with pytest.raises(MissingExtraError, match=r"needs onnx, onnxruntime, not .* 'export'"):
        export_onnx(torch.nn.Identity(), 10)  # type: ignore[arg-type]
    require_extra("sweep", "a sweep")
