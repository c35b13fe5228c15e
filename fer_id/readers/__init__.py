"""Readers: classifiers of clips on frame features of one trained encoder, and the cache of these features."""
