"""Children drawn by a small renderer: faces, acting and filming, with no download."""
