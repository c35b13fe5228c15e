"""Registry of datasets by name: fer_id's own, and entry points of installed packages.

A package offers a dataset as an entry point of the group ``fer_id.datasets``: ``my_faces = "my_package:MyDataModule"``.
A name in a configuration or downloaded file never becomes an import path.
"""

from __future__ import annotations

import traceback
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from fer_id.errors import ConfigError
from fer_id.exports import entry_points, imported
from fer_id.progress import say

if TYPE_CHECKING:
    from data_modules.base import FerDataModule
    from data_modules.config import SourceConfig

GROUP = "fer_id.datasets"
"""Group of entry points: name -> subclass of ``FerDataModule``."""

DATASETS = {
    "fer2013": "data_modules.fer2013:FER2013DataModule",
    "ferplus": "data_modules.fer2013:FERPlusDataModule",
    "affectnet": "data_modules.affectnet:AffectNetDataModule",
    "rafdb": "data_modules.rafdb:RAFDBDataModule",
    "ckplus": "data_modules.ckplus:CKPlusDataModule",
    "affwild2": "data_modules.affwild2:AffWild2DataModule",
    "folder": "data_modules.folders:FolderDataModule",
    "video_folder": "data_modules.video_folders:VideoFolderDataModule",
    "cohort": "data_modules.cohort.reader:CohortDataModule",
    "synthetic": "data_modules.simulated:SyntheticDataModule",
    "simulated": "data_modules.simulated:SimulatedDataModule",
}
"""Name -> ``module:class``, imported when the dataset is used, since the class imports Lightning."""


class DatasetImportError(ConfigError):
    """The module of a registered dataset cannot be imported."""


def known_datasets() -> list[str]:
    """Return the sorted names of all datasets; no package is imported for it."""
    return sorted({*DATASETS, *entry_points(group=GROUP).names})


def unknown_dataset(name: str) -> str:
    """Return the message for an unknown name."""
    near = get_close_matches(name, known_datasets(), n=1)
    meant = f", did you mean {near[0]}?" if near else "."
    return f"unknown dataset{meant} Known: {', '.join(known_datasets())}"


def load_dataset(name: str) -> type[FerDataModule]:
    """Return the data module of a dataset.

    ConfigError: an unknown name, which lists the known ones; or a registered class that cannot be imported, is no
    ``FerDataModule``, or has another name.
    """
    if name not in known_datasets():
        raise ConfigError(unknown_dataset(name))
    if name in DATASETS and name in entry_points(group=GROUP).names:
        say(f"data={name} is fer_id's own dataset; the entry point of that name in an installed package is not used")
    target = DATASETS.get(name) or entry_points(group=GROUP)[name].value
    from data_modules.base import FerDataModule

    try:
        dataset = imported(target)
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__)[2:] if Path(frame.filename).is_file()]
        place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
        module = target.partition(":")[0]
        raise DatasetImportError(
            f"{module}: cannot be imported as dataset {name}, {target}: {type(error).__name__}: {error}{place}"
        ) from error
    if not (isinstance(dataset, type) and issubclass(dataset, FerDataModule)):
        raise ConfigError(f"dataset {name}: {target} is {dataset!r}, expected a subclass of FerDataModule")
    if dataset.dataset != name:
        raise ConfigError(
            f"dataset {name}: {target} has dataset = {dataset.dataset!r}, expected {name!r}, as it is registered"
        )
    return dataset


def source_config(name: str) -> type[SourceConfig]:
    """Return the dataclass of the settings of ``prepare`` of that dataset; ConfigError as :func:`load_dataset`."""
    return load_dataset(name).settings
