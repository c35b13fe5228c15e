"""Benchmark of encoders and readers: its configuration, its budget, and its parts from configuration to results."""
