"""Runs of alignment become measurements, reward-KL frontiers, comparisons of methods and laws of over-optimisation."""
