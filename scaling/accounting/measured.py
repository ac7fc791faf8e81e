"""PLACEHOLDER by the lead so that training can be tested: replace this whole file; the record calls flops_per_token(train_step) -> float | None."""
def flops_per_token(train_step): return None
