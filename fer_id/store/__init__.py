"""ClipStore: aligned face clips on disk, with their format, card, reader and writer."""
