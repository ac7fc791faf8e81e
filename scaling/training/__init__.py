"""The compiled step, the loop around it, evaluation, checkpoints and the record."""
