"""Statistics of samples and comparisons: best-of-n, rejection sampling, win rates, alarms. Pure NumPy and SciPy."""
