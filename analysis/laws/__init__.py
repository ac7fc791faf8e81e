"""Scaling laws as pure functions over runs tables; imports nothing else of this project."""
