"""How far the numbers may be off: resampling, noise of a run, likelihood."""
