"""``fer-id synth``: a cohort of drawn children becomes a ClipStore."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from experiments.inspect import describe
from fer_id.errors import ConfigError
from fer_id.settings import setting
from fer_id.simulation.strips import film_strips
from fer_id.simulation.synthetic import SyntheticConfig, write_synthetic_store
from fer_id.store import ClipStore


@dataclass
class SynthConfig(SyntheticConfig):
    """The drawn cohort, and where to put it."""

    out: str = setting("", required=True, help="folder of the store to make")
    overwrite: bool = setting(False, help="replace what is there")


def synth(config: SynthConfig) -> str:
    """Draws the cohort, puts ``strips.png`` into its folder for people to look at, and says what is in it.

    Raises:
        ConfigError: ``out`` exists.
    """
    out = Path(config.out)
    if out.exists() and not config.overwrite:
        raise ConfigError(f"out={out}: exists already; choose another folder, or say overwrite=true to replace it")
    cohort = SyntheticConfig(**{field.name: getattr(config, field.name) for field in fields(SyntheticConfig)})
    write_synthetic_store(cohort, out, overwrite=config.overwrite)
    strips = film_strips(cohort, out / "strips.png")
    return f"{describe(ClipStore.open(out))}\npicture: {strips}"
