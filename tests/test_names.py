"""Names of runs and studies: what is refused, by every verb that takes one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.config import TrainConfig
from experiments.settings.loading import load
from experiments.sweeping.machines import SweepConfig
from fer_id.errors import ConfigError
from fer_id.settings import PATH, is_name

HOSTILE = (
    *("", " ", ".", "..", "../x", "a/../../x", "/tmp/x", "a//b", "a/", "a ", "a\\\\b", ".ssh", "-rf"),
    *("a\nb", "a\x1b[2Jb", "a\x07", "a\x00b", "a\u202egnp", "a\u200b", "a\u2028b"),  # not printable
    *("study/folds/x", "study/figures", "study/Folds", "study/crossfit/0"),  # folders of a study
    *("=HYPERLINK(1)", "@SUM(1)"),  # spreadsheet formulas
    *("x" * 300, "\U0001f600" * 90),  # long, the second in bytes only
)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
@pytest.mark.parametrize(
    ("schema", "arguments"),
    [(TrainConfig, ["data=synthetic", "data.store=x"]), (SweepConfig, ["action=run", "file=drawn"])],
)
def test_a_hostile_name_is_refused(schema: type, arguments: list[str], name: str) -> None:
    with pytest.raises(ConfigError, match=r"- name=.*expected a name "):
        load(schema, [*arguments, f"name={name}"])


@pytest.mark.parametrize(
    "name",
    ["drawn/cnn_lstm", "site_a/gradual, 2nd try", "fer2013/timm-resnet18-tuned", "\u00c9tude/1", "a.b+c=1", "null"],
)
def test_an_ordinary_name_is_accepted(name: str) -> None:
    config = load(TrainConfig, ["data=synthetic", "data.store=x", f"name={name}"])
    assert config.name == (None if name == "null" else name)


@given(st.text(max_size=30))
def test_an_accepted_name_is_a_folder_below_the_root(name: str) -> None:
    if is_name(name, PATH):
        path = (Path("/runs") / name).resolve()
        assert path.parts[2:] == tuple(name.split("/"))
        assert name.isprintable()


@pytest.mark.parametrize("name", ["study/folds/s01/0123456789ab", "wandb/study/run", "figures/a/b"])
def test_a_word_that_is_reserved_may_stand_farther_up(name: str) -> None:
    """``study/folds/FOLD/TRIAL`` is a trial of a sweep in a fold: its config.yaml says so, and it opens."""
    assert load(TrainConfig, ["data=synthetic", "data.store=x", f"name={name}"]).name == name


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "../../evil", "", "x" * 3000])
def test_the_name_of_a_model_is_one_too(name: str, tmp_path: Path) -> None:
    """A model's name stands in tables, on pages and in the default name of the run, and may come from a file."""
    arguments = ["data=synthetic", "data.store=x"]
    with pytest.raises(ConfigError, match=r"- model.name=.* \(command line\): expected a name "):
        load(TrainConfig, [*arguments, f"model.name={name}"])
    file = tmp_path / "mine.yaml"
    file.write_text(f"model:\n  name: {json.dumps(name)}\n")
    with pytest.raises(ConfigError, match=r"- model.name=.*mine.yaml, line 2\): expected a name "):
        load(TrainConfig, [*arguments, f"model={file}"])
