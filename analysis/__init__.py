"""Laws, evaluations and reports over the records of runs."""
