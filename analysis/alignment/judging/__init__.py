"""Win rates by judges: what is to be judged, what judges said, and what follows from it."""
