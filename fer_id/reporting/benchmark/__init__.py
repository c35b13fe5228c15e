"""Benchmark of the paper's five models under one protocol: page, tables, and sentences that its tests support."""
