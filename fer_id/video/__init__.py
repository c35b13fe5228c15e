"""A trained model on a whole video: windows, timeline, and the files of ELAN and BORIS."""
