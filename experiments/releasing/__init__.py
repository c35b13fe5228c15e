"""A run on its way to a bundle: its lineage on disk, and the packing."""
