"""Checkpoints as policies, reward models and value models."""
