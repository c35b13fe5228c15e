"""LightningDataModules of stores that other commands make: drawn children, and clips simulated from real stills."""

from __future__ import annotations

from collections.abc import Sequence

from torch.utils.data import DataLoader

from data_modules.base import FerDataModule
from fer_id.errors import Problems, StoreError
from fer_id.labels import TARGET
from fer_id.store.card import SIMULATION
from fer_id.store.reader import ClipStore
from fer_id.types import ClipItem


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

    def train_dataloader(self) -> DataLoader[ClipItem]:
        """Return the loader of the training clips; StoreError for a store of an earlier simulation, whose first frames
        tell the class. Runs that learned from such a store can still be evaluated."""
        require_this_simulation(self.stores)
        return super().train_dataloader()


def require_this_simulation(stores: Sequence[ClipStore]) -> None:
    """Raise StoreError for stores of an earlier simulation, whose first frames tell the class."""
    problems = Problems("simulated by an earlier version, in which the first frame of a clip tells its class")
    for store in stores:
        if store.card.provenance == "simulated" and store.card.settings.simulation != SIMULATION:
            problems.add(f"{store.path}; make it again: fer-id simulate source=STORE out={store.path} overwrite=true")
    problems.raise_if_any(StoreError)
