"""Losses of alignment as pure functions of log-probabilities and rewards."""
