"""What we train on: a file for each dataset's reader, ``base`` for what turns stores into batches."""
