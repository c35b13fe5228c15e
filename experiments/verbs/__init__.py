"""Verbs of the command line: a configuration and a function each; mistakes of its user are a FerIdError."""
