"""Registry of datasets. A new one is a file in ``data_modules/``, an entry here, and ``configs/data/<name>.yaml``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fer_id.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from data_modules.base import FerDataModule
    from data_modules.config import SourceConfig
    from fer_id.store.card import StoreCard


@dataclass(frozen=True)
class Dataset:
    """Parts of a dataset as ``module:name``, imported by the ``load`` methods, since some import torch.

    Attributes:
        config: dataclass of the settings of ``prepare``, a ``SourceConfig``.
        datamodule: ``FerDataModule``.
        prepare: ``prepare(config, out, *, overwrite)``, raw data -> store; empty where another command makes the store.
        made_by: the other command.
        licence: licence of the data, for model cards.
    """

    config: str
    datamodule: str
    prepare: str = ""
    made_by: str = ""
    licence: str = "unknown"

    def load_config(self) -> type[SourceConfig]:
        """Return the dataclass of the settings of ``prepare``."""
        config: type[SourceConfig] = imported(self.config)
        return config

    def load_datamodule(self) -> type[FerDataModule]:
        """Return the data module's class."""
        datamodule: type[FerDataModule] = imported(self.datamodule)
        return datamodule

    def load_prepare(self) -> Callable[..., StoreCard]:
        """Return the function that converts the raw data to a store.

        Raises:
            ConfigError: another command makes the store.
        """
        if not self.prepare:
            raise ConfigError(f"this dataset is not prepared but made by {self.made_by}")
        prepare: Callable[..., StoreCard] = imported(self.prepare)
        return prepare


_FER2013 = Dataset(
    "data_modules.fer2013:FER2013Config",
    "data_modules.modules:FER2013DataModule",
    "data_modules.fer2013:prepare",
    licence="unknown: pictures from the web, published for a contest without a licence",
)
DATASETS = {
    "fer2013": _FER2013,
    "ferplus": replace(  # the same images
        _FER2013,
        config="data_modules.fer2013:FERPlusConfig",
        licence=f"labels: MIT; pictures, FER2013's: {_FER2013.licence}",
    ),
    "affectnet": Dataset(
        "data_modules.affectnet:AffectNetConfig",
        "data_modules.modules:AffectNetDataModule",
        "data_modules.affectnet:prepare",
        licence="for research only, by agreement with its authors; not to be passed on",
    ),
    "folder": Dataset(
        "data_modules.folders:FolderConfig", "data_modules.modules:FolderDataModule", "data_modules.folders:prepare"
    ),
    "cohort": Dataset(
        "data_modules.cohort.reader:CohortConfig",
        "data_modules.modules:CohortDataModule",
        "data_modules.cohort.reader:prepare",
        licence="recordings of children, for what their guardians consented to; not to be passed on",
    ),
    "synthetic": Dataset(
        "data_modules.config:SourceConfig",
        "data_modules.modules:SyntheticDataModule",
        made_by="fer-id synth out=FOLDER",
        licence="drawn by fer_id (Apache-2.0); nobody is shown",
    ),
    "simulated": Dataset(
        "data_modules.config:SourceConfig",
        "data_modules.modules:SimulatedDataModule",
        made_by="fer-id simulate source=STORE out=FOLDER",
        licence="as the stills it was made of",
    ),
}


def get_dataset(name: str) -> Dataset:
    """Return the dataset of that name.

    Raises:
        ConfigError: unknown; lists the known names.
    """
    if name not in DATASETS:
        near = get_close_matches(name, DATASETS, n=1)
        meant = f", did you mean {near[0]}?" if near else "."
        raise ConfigError(f"unknown dataset{meant} Known: {', '.join(DATASETS)}")
    return DATASETS[name]


def source_config(name: str) -> type[SourceConfig]:
    """Return the dataclass of the settings of ``prepare`` of the dataset of that name.

    Raises:
        ConfigError: unknown.
    """
    return get_dataset(name).load_config()


def imported(target: str) -> Any:
    """Import and return the object named ``module:name``."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)
