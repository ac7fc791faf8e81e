"""Spaces of completions small enough to enumerate: expectations, optima and the reward-KL curve without sampling."""
