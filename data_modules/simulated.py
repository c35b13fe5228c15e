"""LightningDataModules of stores that other commands make: drawn children, and clips simulated from real stills."""

from __future__ import annotations

from data_modules.base import FerDataModule
from fer_id.labels import TARGET


class SyntheticDataModule(FerDataModule):
    """Drawn cohorts: the five target classes, one shard per subject."""

    dataset = "synthetic"
    label_space = TARGET.name
    licence = "drawn by fer_id (Apache-2.0); nobody is shown"
    made_by = "fer-id synth out=FOLDER"


class SimulatedDataModule(FerDataModule):
    """Clips simulated from real stills: the five target classes, one shard per subject."""

    dataset = "simulated"
    label_space = TARGET.name
    licence = "as the stills it was made of"
    made_by = "fer-id simulate source=STORE out=FOLDER"
