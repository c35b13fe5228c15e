"""Settings of a verb: read from YAML files and arguments, typed, with every problem listed at once."""
