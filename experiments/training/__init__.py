"""One training: from a configuration to data, model, task and Trainer, and to a finished run."""
