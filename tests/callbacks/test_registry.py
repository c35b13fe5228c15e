"""Callbacks that a configuration may name, and that nothing else is imported by a name."""

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
import pytorch_lightning as pl

from fer_id.callbacks import registry
from fer_id.callbacks.registry import (
    callback_problems,
    known_callbacks,
    make_callbacks,
    register_callback,
    unknown_callback,
)
from fer_id.errors import ConfigError


class Mine(pl.Callback):
    """Anybody's callback."""


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(registry, "_checked", {})


def test_names_of_fer_id_of_python_and_of_installed_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("theirs", "pytorch_lightning.callbacks:Timer", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: EntryPoints([entry]).select(group=group))
    register_callback("mine", Mine)
    assert known_callbacks() == sorted([*registry.OWN, "mine", "theirs"])
    names = [type(callback).__name__ for callback in make_callbacks(["grad_cam_panel", "theirs", "mine"])]
    assert names == ["GradCamPanel", "Timer", "Mine"]
    assert make_callbacks(["mine"])[0] is not make_callbacks(["mine"])[0]
    with pytest.raises(ConfigError, match="the name is taken"):
        register_callback("theirs", Mine)


@pytest.mark.parametrize("name", ["evil", "evil:Callback", "evil.Callback", "", "fer_id.callbacks.ClassMetrics"])
def test_a_name_that_nobody_offers_imports_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"is unknown.* Known: class_metrics"):
        make_callbacks([name])
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    ("name", "near"),
    [
        *(("ClassMetrics", "class_metrics"), ("GradCamPannel", "grad_cam_panel"), ("fairness", "subgroup_fairness")),
        *(("Timer", "theirs"), ("their", "theirs"), ("pytorch_lightning.callbacks.Timer", "theirs")),
    ],
)
def test_a_mistyped_name_has_the_nearest_known_one(name: str, near: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("theirs", "pytorch_lightning.callbacks:Timer", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: EntryPoints([entry]).select(group=group))
    assert f"is unknown, did you mean {near}? Known: class_metrics" in unknown_callback(name)


def test_a_checked_callback_is_constructed_once() -> None:
    constructed = list[Mine]()
    register_callback("mine", lambda: constructed.append(Mine()) or constructed[-1])
    register_callback("needy", Needy)  # type: ignore[arg-type]
    problems = callback_problems(["mine", "needy", "mine"])
    assert len(problems) == 1
    assert "needy (register_callback) raises TypeError" in problems[0]
    assert callback_problems(["mine"]) == []
    assert make_callbacks(["mine"]) == constructed
    assert make_callbacks(["mine"]) != constructed[:1]  # that one is taken
    assert len(constructed) == 2


class Needy(pl.Callback):
    """A callback that cannot be made without arguments."""

    def __init__(self, needed: int) -> None:
        self.needed = needed


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("no_such_module:Callback", "raises ModuleNotFoundError: No module named 'no_such_module'"),
        ("pytorch_lightning.callbacks:NoSuch", "raises AttributeError"),
        ("collections:OrderedDict", "makes a OrderedDict, expected a Lightning callback"),
        (f"{__name__}:Needy", "raises TypeError"),
    ],
)
def test_somebodys_faulty_callback_is_named(target: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("theirs", target, registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: EntryPoints([entry]).select(group=group))
    with pytest.raises(ConfigError, match="made without arguments") as refused:
        make_callbacks(["theirs"])
    assert f"trainer.callbacks: theirs (entry point {target}) {says}" in str(refused.value)
