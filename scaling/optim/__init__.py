"""Optimisers, schedules and rules for hyper-parameters."""
