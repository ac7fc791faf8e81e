"""Sweeps drawn from laws that are known, and what every interval method makes of them."""
