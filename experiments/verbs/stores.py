"""``fer-id prepare | synth | simulate | inspect``: ClipStores made from raw, drawn or simulated data, and described."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from data_modules.config import SourceConfig
from data_modules.registry import load_dataset, source_config
from experiments.settings.loading import chosen_by_name, part_of
from fer_id.errors import ConfigError
from fer_id.reporting.audit import audit_rows
from fer_id.settings import Clash, setting
from fer_id.simulation.domain import DomainConfig
from fer_id.simulation.drawn.clip_store import SyntheticConfig, write_synthetic_store
from fer_id.simulation.drawn.site_videos import HEIGHT, VIDEO_FPS, WIDTH, write_cohort_folder
from fer_id.simulation.strips import film_strips
from fer_id.store.reader import ClipStore


@dataclass
class PrepareConfig:
    """Configuration of a preparation: raw data and output."""

    data: SourceConfig = field(default_factory=SourceConfig, metadata=chosen_by_name(variant=source_config))
    out: str = setting("", required=True, help="folder of the store to make")
    overwrite: bool = setting(False, help="replace what is there")

    def clashes(self) -> Iterator[Clash]:
        """Yield the clashes of missing raw data, and of a dataset that another command makes."""
        made_by = load_dataset(self.data.name).made_by if self.data.name else ""
        if made_by:
            yield Clash(("data.name",), f"{self.data.name} is not prepared but made by {made_by}")
        elif not self.data.source:
            yield Clash(("data.source",), "is empty; say data.source=FILE or FOLDER, the raw dataset")


@dataclass
class SynthConfig(SyntheticConfig):
    """Configuration of a drawn cohort and its output."""

    as_: str = setting(
        "store",
        choices=("store", "videos"),
        help="store: aligned crops to train on; videos: a cohort folder, as a site hands it over, for `prepare`",
    )
    out: str = setting("", required=True, help="folder of the store or the cohort to make")
    overwrite: bool = setting(False, help="replace what is there")
    workers: int = setting(0, min=0, max=256, help="processes that draw; 0: one per core")

    def clashes(self) -> Iterator[Clash]:
        """Yield the clashes of videos with a shortcut patch, and of clips with less than two frames."""
        if self.as_ == "videos" and self.shortcut != "none":
            yield Clash(("shortcut",), f"{self.shortcut} is drawn into crops; say as=store")
        if self.as_ == "videos" and self.frames / self.fps * VIDEO_FPS < 2:
            yield Clash(
                ("frames", "fps"), f"give a clip of less than two frames of a video with {VIDEO_FPS} per second"
            )


@dataclass
class SimulateConfig(DomainConfig):
    """Configuration of a simulation: its domain, source and output."""

    source: str = setting("", required=True, help="ClipStore of real stills with landmarks")
    out: str = setting("", required=True, help="folder of the store to make")
    overwrite: bool = setting(False, help="replace what is there")
    workers: int = setting(0, min=0, max=256, help="processes; 0: one per core")


@dataclass
class InspectConfig:
    """Configuration of an inspection."""

    store: str = setting("", required=True, help="folder of the store")


def prepare(config: PrepareConfig) -> str:
    """Convert a raw dataset to a store; return its summary."""
    out = _free(config)
    load_dataset(config.data.name).prepare(config.data, out, overwrite=config.overwrite)
    return describe(ClipStore.open(out))


def synth(config: SynthConfig) -> str:
    """Draw a cohort, as a store with a picture ``strips.png`` or as a folder with videos; return its summary."""
    out, cohort = _free(config), part_of(SyntheticConfig, config)
    if config.as_ == "videos":
        write_cohort_folder(cohort, out, overwrite=config.overwrite, workers=config.workers)
        return (
            f"{out}: {config.subjects} drawn subjects on {len(list((out / 'videos').iterdir()))} videos "
            f"({WIDTH}x{HEIGHT}, {VIDEO_FPS} frames per second)\n"
            f"next: fer-id prepare data=cohort data.source={out} out={out}_store"
        )
    write_synthetic_store(cohort, out, overwrite=config.overwrite, workers=config.workers)
    strips = film_strips(cohort, out / "strips.png")
    return f"{describe(ClipStore.open(out))}\npicture: {strips}"


def simulate(config: SimulateConfig) -> str:
    """Simulate target-domain clips from real stills: a store with a picture ``strips.png``; return its summary."""
    from fer_id.simulation.stills import choose_stills
    from fer_id.simulation.target_domain import write_simulated_store

    out, domain = _free(config), part_of(DomainConfig, config)
    stills = choose_stills(ClipStore.open(config.source), domain)
    write_simulated_store(stills, domain, out, overwrite=config.overwrite, workers=config.workers)
    left_out = ", ".join(f"{count} {reason}" for reason, count in stills.left_out.items()) or "none"
    return f"{describe(ClipStore.open(out))}\nstills left out: {left_out}\npicture: {out / 'strips.png'}"


def inspect(config: InspectConfig) -> str:
    """Return the summary of a store and the results of its audit."""
    store = ClipStore.open(config.store)
    audit = [f"  {name}: {value}" for name, value in audit_rows(store.card.audit) if value]
    return "\n".join([describe(store), "audit (what is not listed was counted as 0):" if audit else "no audit", *audit])


def describe(store: ClipStore) -> str:
    """Return path, provenance, and a table of clips by split (where there are splits) and class."""
    clips, card = store.clips, store.card
    what = "images" if (clips["length"] == 1).all() else "clips"
    rows = clips["split"].fillna("no split") if clips["split"].notna().any() else pd.Series("all", index=clips.index)
    labels = clips["label"].fillna("unlabelled")
    counts = pd.crosstab(rows, labels, margins=True, margins_name="total").rename_axis(index=None, columns=None)
    order = [name for name in (*store.labels.names, "unlabelled", "total") if name in counts.columns]
    with_landmarks = card.parameters.get("images_with_landmarks")
    lines = [
        f"{store.path}: {len(clips)} {what}, {clips['length'].sum()} frames ({clips['n_valid'].sum()} valid)"
        + ("" if with_landmarks is None else f", {with_landmarks} images with landmarks"),
        f"provenance {card.provenance}, label space {card.label_space}, {clips['subject_id'].nunique()} subjects"
        + (" (groups of near-identical images)" if card.shard_by == "split" else ""),
        counts[order].to_string(),
        *(f"note: {note}" for note in card.notes),
    ]
    return "\n".join(lines)


def _free(config: PrepareConfig | SynthConfig | SimulateConfig) -> Path:
    """Return the folder to make; raise ConfigError where it exists, unless it is to be replaced."""
    out = Path(config.out)
    if out.exists() and not config.overwrite:
        raise ConfigError(f"out={out}: exists already; choose another folder, or say overwrite=true to replace it")
    return out
