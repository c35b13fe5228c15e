"""Measurements of the framework itself: speed, coverage of intervals, planted gaps. Not part of the wheel."""
