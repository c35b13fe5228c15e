"""LightningDataModules of the datasets, each in the file of its reader."""

from fer_id.exports import lazy_exports

MODULES = {
    "AffectNetDataModule": "data_modules.affectnet",
    "AffWild2DataModule": "data_modules.affwild2",
    "RAFDBDataModule": "data_modules.rafdb",
    "CKPlusDataModule": "data_modules.ckplus",
    "CohortDataModule": "data_modules.cohort.reader",
    "FER2013DataModule": "data_modules.fer2013",
    "FERPlusDataModule": "data_modules.fer2013",
    "FerDataModule": "data_modules.base",
    "FolderDataModule": "data_modules.folders",
    "FrameSequence": "data_modules.frame_sequences",
    "FrameSequenceDataModule": "data_modules.frame_sequences",
    "PictureDataModule": "data_modules.pictures",
    "Recording": "data_modules.recordings",
    "SimulatedDataModule": "data_modules.simulated",
    "Still": "data_modules.stills",
    "SyntheticDataModule": "data_modules.simulated",
    "VideoFolderDataModule": "data_modules.video_folders",
    "VideoDataModule": "data_modules.recordings",
    "read_image": "data_modules.stills",
}
__all__ = list(MODULES)

__getattr__ = lazy_exports(__name__, MODULES)
