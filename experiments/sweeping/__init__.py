"""Hyperparameter sweeps: a file in W&B's sweep format, searched by Optuna, run by Ray Tune.

Read in this order: parameters, spec, plan, ledger, search, trial, study, tuning, results.
"""
