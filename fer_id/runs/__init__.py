"""RunDir: the folder that a training leaves behind, its records, and the erasure of a withdrawn child from it."""
