"""Calibration, selective prediction, conformal sets, uncertainty, and their intervals over subjects."""
