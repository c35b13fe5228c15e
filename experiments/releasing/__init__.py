"""Preparation of a run's bundle: checks of its lineage on disk, and packing."""
