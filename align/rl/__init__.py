"""Estimators and losses of reinforcement learning from rewards of whole completions, as pure functions."""
