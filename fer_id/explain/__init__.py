"""Where a model looks, measured: attribution, facial regions, and checks that the maps mean something."""
