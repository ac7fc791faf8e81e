"""Slurm: one array task for each job of a sweep, through submitit (the extra `slurm`)."""
