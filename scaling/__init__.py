"""Stage one: text, models, training, checkpoints, records and their accounting."""
