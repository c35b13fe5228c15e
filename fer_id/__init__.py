"""Facial emotion recognition for children with intellectual disabilities: the science; no dataset, config or CLI."""

__version__ = "0.1.0"
