"""Compute-optimal models: Chinchilla's approaches and what a budget buys."""
