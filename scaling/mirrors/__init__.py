"""Tracking services that repeat what a run's files say. The files are the record; a service may fail, and no run stops for it."""
