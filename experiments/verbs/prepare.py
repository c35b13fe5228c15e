"""``fer-id prepare``: conversion of a raw dataset to a ClipStore."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data_modules.config import SourceConfig
from data_modules.registry import load_dataset, source_config
from experiments.settings.loading import chosen_by_name
from experiments.verbs.inspect import describe, require_free
from fer_id.settings import Clash, setting
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


def prepare(config: PrepareConfig) -> str:
    """Write the store; return its summary."""
    out = Path(config.out)
    require_free(out, overwrite=config.overwrite)
    load_dataset(config.data.name).prepare(config.data, out, overwrite=config.overwrite)
    return describe(ClipStore.open(out))
