"""One symbol is one character is one token: printable ASCII, because white space alone would be no document."""

import numpy as np

FIRST_CHARACTER = 33  # "!"
CHARACTERS = bytes(range(FIRST_CHARACTER, 127)).decode("ascii")


def text_of(symbols: np.ndarray) -> str:
    """The text of symbols from 0, int [symbols]."""
    return (np.asarray(symbols) + FIRST_CHARACTER).astype(np.uint8).tobytes().decode("ascii")


def symbols_of(text: str) -> np.ndarray:
    """The inverse of :func:`text_of`, int64 [symbols]."""
    return np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - FIRST_CHARACTER
