"""Scores by subgroup, gaps between groups and their permutation tests, and which cells may be published."""
