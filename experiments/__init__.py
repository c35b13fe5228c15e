"""What people run: the command line, the typed configuration, its YAML groups, and the verbs."""
