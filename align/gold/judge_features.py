"""Features of a text: hashed words and word pairs, hashed character n-grams inside words, and what the sentiment lexicon says."""

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.sparse

from align.gold.lexicon import LexiconSentiment

# Raised when equal texts get other features.
FEATURES_VERSION = 1
HASH_BITS = 17
_BUCKETS = 2**HASH_BITS
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[!?]")
_CHARACTERS = (3, 4, 5)
# The lexicon's scores are few beside a hundred hashed features of norm 1 in all; this weight lets the penalty see them alike.
_LEXICON_WEIGHT = 2.0


def features(lines: Sequence[str], inverse_frequencies_H: np.ndarray) -> scipy.sparse.csr_matrix:
    """float64 [N, H + 2]: hashed counts by sublinear tf-idf, each row of norm 1, and the two lexicon scores.

    Args:
      lines: N texts.
      inverse_frequencies_H: of :func:`inverse_document_frequency`.
    """
    counts_NxH = _counts(lines)
    counts_NxH.data = (1 + np.log(counts_NxH.data)) * inverse_frequencies_H[counts_NxH.indices]
    norms_N = np.sqrt(np.asarray(counts_NxH.multiply(counts_NxH).sum(axis=1)).ravel())
    scaled_NxH = scipy.sparse.diags(1 / np.maximum(norms_N, 1e-12)) @ counts_NxH
    lexicon_Nx2 = np.stack(
        [LexiconSentiment(rule).score_texts(list(lines)) for rule in ("vader", "mean_valence")], axis=1
    )
    return scipy.sparse.csr_matrix(scipy.sparse.hstack([scaled_NxH, _LEXICON_WEIGHT * lexicon_Nx2]))


def inverse_document_frequency(lines: Sequence[str]) -> np.ndarray:
    """float64 [H]: log((1 + N) / (1 + texts with the feature)) + 1."""
    counts_NxH = _counts(lines)
    texts_with_H = np.bincount(counts_NxH.indices, minlength=_BUCKETS)
    return np.log((1 + len(lines)) / (1 + texts_with_H)) + 1


def _counts(lines: Sequence[str]) -> scipy.sparse.csr_matrix:
    columns, counts, starts = [], [], [0]
    for line in lines:
        # CRC-32 is the same on every machine; Python's own hash is not.
        found = Counter(zlib.crc32(gram.encode()) % _BUCKETS for gram in _grams(line.lower()))
        columns += sorted(found)
        counts += [found[column] for column in sorted(found)]
        starts.append(len(columns))
    shape = (len(lines), _BUCKETS)
    return scipy.sparse.csr_matrix(
        (np.array(counts, float), np.array(columns, np.int64), np.array(starts, np.int64)), shape
    )


def _grams(line: str) -> Iterator[str]:
    words = _WORD.findall(line)
    yield from (f"w:{word}" for word in words)
    yield from (f"p:{one} {other}" for one, other in zip(words[:-1], words[1:], strict=True))
    for word in words:
        padded = f" {word} "
        for size in _CHARACTERS:
            yield from (f"c:{padded[place : place + size]}" for place in range(len(padded) - size + 1))
