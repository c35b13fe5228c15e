"""Sweeps: a file in W&B's format, searched by Optuna, run by Ray Tune.

Read in this order: parameters, spec, plan, ledger, search, study, trial, tuning, selection, results.
"""
