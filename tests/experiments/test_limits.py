"""Upper limits of every number that can be set: an absurd number is refused by its key before torch is imported."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import pytest

from data_modules.registry import DATASETS, source_config
from experiments.config import TrainConfig
from experiments.measure.planted_gaps import PlantedConfig
from experiments.settings.loading import Setting, load, settings
from experiments.verbs.table import VERBS
from fer_id.errors import ConfigError
from fer_id.exports import imported
from fer_id.settings import converted

KEYS = ("trainer.max_epochs", "trainer.max_time_min", "optim.lr", "model.hidden", "model.widths", "protocol.at_most")
HUGE = ("1" + "0" * 9, "1" + "0" * 30, "9" * 400, "9" * 5000, "1e300")


def numeric(setting: Setting) -> bool:
    return "choices" not in setting.metadata and any(kind in str(setting.hint) for kind in ("int", "float"))


def allowed(value: int, setting: Setting) -> bool:
    """Return whether a setting takes a number, or a list of numbers."""
    hint = str(setting.hint)
    raw = [(value, value)] if "tuple" in hint else [value] if "list" in hint else value
    try:
        converted(raw, setting.hint, setting.metadata)
    except ValueError:
        return False
    return True


@cache
def every_number() -> dict[str, Setting]:
    """Yield each number among the settings of verbs and datasets, by schema and key."""
    schemas = [imported(verb.config) for verb in VERBS.values()]
    schemas += [PlantedConfig, *(source_config(dataset) for dataset in DATASETS)]
    return {
        f"{schema.__name__}: {entry.key}": entry for schema in schemas for entry in settings(schema()) if numeric(entry)
    }


@pytest.mark.parametrize("value", [10**30, int("9" * 400)], ids=["10^30", "400 digits"])
def test_every_number_has_an_upper_limit_beside_its_field(value: int) -> None:
    accepted = [name for name, entry in every_number().items() if allowed(value, entry)]
    assert accepted == []
    assert len(every_number()) > 100  # the walk has found them


def test_few_numbers_may_have_ten_digits() -> None:
    large = {entry.key for entry in every_number().values() if allowed(10**9, entry)}
    assert all("seed" in key or key.endswith("budget") for key in large), large  # a budget is in multiply-adds


@pytest.mark.parametrize("text", HUGE)
@pytest.mark.parametrize("key", KEYS)
def test_an_absurd_number_is_refused_by_its_key(key: str, text: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load(TrainConfig, ["data=synthetic", "data.store=x", f"{key}={text}"])
    (line,) = [line for line in str(refusal.value).splitlines() if line.startswith(f"  - {key}=")]
    assert "expected" in line


def test_a_huge_number_is_refused_before_torch_is_imported() -> None:
    code = (
        "import sys; from experiments.cli import main\n"
        "code = main(['train', 'data=synthetic', 'data.store=x', 'trainer.max_epochs=' + '9' * 400])\n"
        "print(code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]
    assert "trainer.max_epochs" in done.stderr
