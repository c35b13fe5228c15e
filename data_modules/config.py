"""Settings of every dataset, separate from the data module, so that reading them does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fer_id.settings import setting

NO_LICENCE = "licence not given"
"""``licence`` of a dataset that states none."""
OWN_PROTOCOLS = {"ckplus": "kfold"}
"""Dataset without published splits -> the protocol of a training that names none; of the others it is official."""


@dataclass
class DataConfig:
    """Stores that a training reads, and reading options."""

    name: str = setting("", help="dataset, chosen by data=")
    store: list[str] = setting([], help="ClipStores to learn from; several are pooled, labels mapped by name")
    label_space: str | None = setting(None, help="label space to train in; empty for the store's own")
    drop_duplicates: bool = setting(
        True, help="near-identical pictures: leave them out of training, refuse folds that separate alike subjects"
    )
    excluding: str | None = setting(
        None, help="simulated store: leave out of training the stills that its validation and test clips were made of"
    )
    frames: str = setting(
        "clip", choices=("clip", "frame"), help="clip: learn from whole clips; frame: from one drawn frame of each"
    )
    balanced: float = setting(
        0.0,
        min=0,
        max=1,
        help="draw a training clip of each class in proportion to (clips of the class)^(1 - this): 0 as they are, "
        "0.5 to the square root, 1 all classes equally",
    )
    num_workers: int = setting(1, min=0, max=256, help="processes that read and augment")


@dataclass
class SourceConfig:
    """Raw data that ``fer-id prepare`` converts to a store; a dataset's own configuration adds its settings.
    ``example`` has those that a first command needs, for ``--help``."""

    example: ClassVar[str] = "data.source=FOLDER"
    name: str = setting("", help="dataset, chosen by data=")
    source: str | None = setting(None, help="raw input: a file or folder")


@dataclass
class DividedConfig(SourceConfig):
    """Settings of a dataset whose authors publish training and test, of which training gives a validation set."""

    validation_fraction: float = setting(
        0.1, above=0, below=1, help="share of training that becomes validation where none is published"
    )
    split_seed: int = setting(0, min=0, max=2**32 - 1, help="seed of that division")
