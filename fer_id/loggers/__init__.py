"""Lightning loggers: ``RunLogger`` (the record, ``metrics.jsonl``), ``PrivateWandbLogger``, and the rules both obey."""
