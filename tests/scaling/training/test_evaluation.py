"""Held-out losses: exact sums over documents, and standard errors that treat documents as the unit."""

import math

import numpy as np
import pytest

from scaling.data import batches
from scaling.data.store import TokenStore
from scaling.run_config import EvaluationConfig, EvaluationDomain
from scaling.training.evaluation import DocumentSums, HeldOutText, ratio_standard_error


def test_every_target_counts_once_whatever_the_batch(byte_store):
    """A model that gives token v the loss v makes the expected sums known exactly."""
    store = TokenStore.open(byte_store)
    text = HeldOutText(EvaluationDomain("speeches", byte_store), store)
    split = store.split("validation")
    tokens = np.asarray(split.tokens).astype(np.int64)
    counted = tokens[1:][tokens[:-1] != store.eos_id]
    for length, batch_size in ((64, 4), (100, 7)):
        config = EvaluationConfig(batch_size=batch_size)
        loss = text.evaluate(
            lambda _, batch: batch.targets.astype(np.float32), None, config, length, True, lambda: None
        )
        assert loss.tokens == len(counted)
        assert loss.nats_per_token == pytest.approx(counted.mean(), rel=1e-6)
        assert loss.bytes == store.token_bytes[counted].sum()
        assert loss.bits_per_byte == pytest.approx(counted.sum() / math.log(2) / loss.bytes, rel=1e-6)


def test_the_standard_error_is_that_of_documents():
    """Documents with losses of their own: the standard error must match the spread over many draws of documents, which that of tokens does not."""
    rng = np.random.default_rng(0)
    estimates, errors = [], []
    for _ in range(400):
        tokens = rng.integers(50, 500, size=40).astype(float)
        nats = tokens * (3 + 0.5 * rng.standard_normal(40))
        estimates.append(nats.sum() / tokens.sum())
        errors.append(ratio_standard_error(nats, tokens))
    assert np.mean(errors) == pytest.approx(np.std(estimates), rel=0.15)


def test_one_document_has_no_standard_error():
    sums = DocumentSums.zeros(3)
    batch = batches.Batch(*(np.ones((1, 4), np.int32) for _ in range(4)), loss_mask=np.ones((1, 4), np.float32))
    sums.add(batches.EvaluationBatch(batch, np.full((1, 4), 2, np.int32)), np.ones((1, 4)), np.full(5, 2))
    loss = sums.loss()
    assert (loss.documents, loss.tokens, loss.bytes) == (1, 4, 8)
    assert loss.standard_error is None and loss.bits_per_byte_standard_error is None
