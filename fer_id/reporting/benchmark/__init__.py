"""Page of a benchmark: what each reader makes of each encoder's features, and what the contrasts support."""
