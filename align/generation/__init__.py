"""Sampling from a policy: prompts in, completions with the log-probabilities of what was sampled out."""
