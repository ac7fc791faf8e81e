"""Texts drawn from processes whose entropy is known, so that the irreducible loss of a fitted law can be held against the truth.

Each process is a frozen dataclass that Gin binds; it draws documents, states the least loss that an evaluation can measure
(:mod:`scaling.data.known_truth.floor`), and predicts its own text as well as anything can (:mod:`scaling.data.known_truth.observer`).
"""
