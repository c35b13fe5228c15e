"""Models: an encoder of frames, a temporal head, a classifier. ``nn.Module`` only; ``build`` is the way in."""
