"""Settings of a verb: read from YAML files and arguments, typed, with all problems reported together."""
