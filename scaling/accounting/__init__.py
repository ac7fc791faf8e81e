"""Parameters, FLOPs, peaks and memory, under every convention by name."""
