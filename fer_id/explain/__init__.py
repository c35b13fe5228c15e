"""Explanations of a trained model: attribution maps, their shares on facial regions, and sanity checks of the maps."""
