"""``fer-id simulate``: simulation of target-domain clips from real stills with landmarks, written as a ClipStore."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from experiments.verbs.inspect import describe, require_free
from fer_id.settings import setting
from fer_id.simulation.domain import DomainConfig
from fer_id.store.reader import ClipStore


@dataclass
class SimulateConfig(DomainConfig):
    """Configuration of a simulation: its domain, source and output."""

    source: str = setting("", required=True, help="ClipStore of real stills with landmarks")
    out: str = setting("", required=True, help="folder of the store to make")
    overwrite: bool = setting(False, help="replace what is there")
    workers: int = setting(0, min=0, max=256, help="processes; 0: one per core")


def simulate(config: SimulateConfig) -> str:
    """Write the store with a picture ``strips.png``; return its summary."""
    out = Path(config.out)
    require_free(out, overwrite=config.overwrite)
    from fer_id.simulation.stills import choose_stills
    from fer_id.simulation.target_domain import write_simulated_store

    domain = DomainConfig(**{field.name: getattr(config, field.name) for field in fields(DomainConfig)})
    stills = choose_stills(ClipStore.open(config.source), domain)
    write_simulated_store(stills, domain, out, overwrite=config.overwrite, workers=config.workers)
    left_out = ", ".join(f"{count} {reason}" for reason, count in stills.left_out.items()) or "none"
    return f"{describe(ClipStore.open(out))}\nstills left out: {left_out}\npicture: {out / 'strips.png'}"
