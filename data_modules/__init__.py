"""LightningDataModules of the datasets, and the readers that prepare their stores."""

from fer_id.exports import lazy_exports

__all__ = [
    "AffectNetDataModule",
    "CohortDataModule",
    "FER2013DataModule",
    "FerDataModule",
    "FolderDataModule",
    "SimulatedDataModule",
    "SyntheticDataModule",
]

__getattr__ = lazy_exports(
    __name__,
    {name: "data_modules.base" if name == "FerDataModule" else "data_modules.modules" for name in __all__},
)
