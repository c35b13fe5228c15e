"""What we train on: one file per dataset, reader and LightningDataModule."""
