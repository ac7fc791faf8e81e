"""PLACEHOLDER by the lead so that training can be tested: replace this whole file."""
def peak_flops(compute_dtype): return 1e11
