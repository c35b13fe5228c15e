"""The command line: its verbs, the typed configuration and its YAML groups, sweeps, and measurements."""
