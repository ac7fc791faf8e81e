"""This machine: jobs in slots with device masks, one subprocess a job, through Dask's `distributed` or one after another."""
