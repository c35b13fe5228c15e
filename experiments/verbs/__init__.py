"""The verbs of ``fer-id``: a configuration and a function each."""
