"""LightningDataModules of the datasets, separate from their readers: preparing a store does not import Lightning."""

from __future__ import annotations

from data_modules.base import FerDataModule


class FER2013DataModule(FerDataModule):
    """Stores of :mod:`data_modules.fer2013`: seven classes, or FER+'s eight."""

    dataset = "fer2013"


class AffectNetDataModule(FerDataModule):
    """Stores of :mod:`data_modules.affectnet`: eight classes."""

    dataset = "affectnet"


class FolderDataModule(FerDataModule):
    """Stores of :mod:`data_modules.folders`."""

    dataset = "folder"


class CohortDataModule(FerDataModule):
    """Stores of :mod:`data_modules.cohort.reader`: a site's children, one shard per subject."""

    dataset = "cohort"


class SyntheticDataModule(FerDataModule):
    """Drawn cohorts, made by ``fer-id synth``: the five target classes, one shard per subject."""

    dataset = "synthetic"


class SimulatedDataModule(FerDataModule):
    """Clips simulated from real stills by ``fer-id simulate``: the five target classes, one shard per subject."""

    dataset = "simulated"
