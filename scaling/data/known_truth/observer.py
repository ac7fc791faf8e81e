"""The process itself as a model: what the true law scores on a text, by the evaluation's own windows and masks."""

import numpy as np

from scaling.data.batches import Batch
from scaling.data.known_truth.process import Process
from scaling.data.vocabularies import SymbolVocabulary


def token_nats(process: Process, batch: Batch) -> np.ndarray:
    """Negative log-likelihood of every counted target given what its window shows, float64 [B, T]; 0 where nothing is counted.

    No model can have a lower expected loss. It takes the place of a model's compiled function in
    :meth:`scaling.training.evaluation.HeldOutText.evaluate`.

    Args:
      process: that drew the text.
      batch: of a store in a :class:`scaling.data.vocabularies.SymbolVocabulary`, documents isolated.
    """
    nats_BxT = np.zeros(batch.tokens.shape)
    for row, (tokens, targets, segments) in enumerate(zip(batch.tokens, batch.targets, batch.segment_ids, strict=True)):
        for segment in range(1, int(segments.max(initial=0)) + 1):
            places = np.flatnonzero(segments == segment)
            places = places[tokens[places] != SymbolVocabulary.eos_id]
            if not len(places):
                continue
            ended = targets[places[-1]] == SymbolVocabulary.eos_id
            seen = np.append(tokens[places], targets[places[-1:]][: int(not ended)])
            nats_BxT[row, places] = process.visible_nats(SymbolVocabulary.symbols(seen), bool(ended))
    return nats_BxT
