"""Datasets: a reader for each, and in ``base`` the LightningDataModule that turns stores into batches."""
