"""The verbs of ``fer-id``: each a configuration and a function."""
