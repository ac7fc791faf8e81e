"""Held-out losses of a model, in nats per token and bits per byte, with standard errors."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from scaling.data import batches
from scaling.data.store import TokenStore
from scaling.run_config import EvaluationConfig, EvaluationDomain


@dataclasses.dataclass(frozen=True)
class DomainLoss:
    """The loss on one held-out text.

    Standard errors treat documents, not tokens, as independent: they are those of a ratio estimator over documents (Cochran 1977, section 2.11), and None
    with fewer than two documents.

    Attributes:
      nats_per_token: mean negative log-likelihood of the counted targets.
      standard_error: of `nats_per_token`.
      bits_per_byte: the same sum in bits over the UTF-8 bytes that these targets stand for.
      bits_per_byte_standard_error: of `bits_per_byte`.
      tokens: counted targets.
      bytes: UTF-8 bytes of those targets.
      documents: documents that the targets come from.
      entropy_nats_per_token: the least loss that any model can be expected to have on such text in these windows; None where it is not known
        (:mod:`scaling.data.known_truth.floor`).
      entropy_error: of `entropy_nats_per_token`, as the store states it: a standard error or a numerical tolerance.
    """

    nats_per_token: float
    standard_error: float | None
    bits_per_byte: float
    bits_per_byte_standard_error: float | None
    tokens: int
    bytes: int
    documents: int
    entropy_nats_per_token: float | None = None
    entropy_error: float | None = None


@dataclasses.dataclass
class DocumentSums:
    """Sums per document, gathered batch by batch.

    Attributes:
      nats, tokens, bytes: float64 [documents of the split].
    """

    nats: np.ndarray
    tokens: np.ndarray
    bytes: np.ndarray

    @classmethod
    def zeros(cls, documents: int) -> "DocumentSums":
        """No tokens yet."""
        return cls(*(np.zeros(documents) for _ in range(3)))

    def add(self, evaluated: batches.EvaluationBatch, nats_BxT: np.ndarray, token_bytes_V: np.ndarray) -> None:
        """Adds the counted targets of a batch, given the negative log-likelihood of each in nats."""
        counted = evaluated.batch.loss_mask > 0
        documents = evaluated.documents[counted]
        np.add.at(self.nats, documents, nats_BxT[counted].astype(np.float64))
        np.add.at(self.tokens, documents, 1.0)
        np.add.at(self.bytes, documents, token_bytes_V[evaluated.batch.targets[counted]])

    def loss(self) -> DomainLoss:
        """The ratio estimates over the documents that were seen."""
        seen = self.tokens > 0
        nats, tokens, bytes_ = self.nats[seen], self.tokens[seen], self.bytes[seen]
        bits = nats / math.log(2)
        return DomainLoss(
            nats_per_token=float(nats.sum() / tokens.sum()),
            standard_error=ratio_standard_error(nats, tokens),
            bits_per_byte=float(bits.sum() / bytes_.sum()),
            bits_per_byte_standard_error=ratio_standard_error(bits, bytes_),
            tokens=int(tokens.sum()),
            bytes=int(bytes_.sum()),
            documents=int(seen.sum()),
        )


def ratio_standard_error(numerators: np.ndarray, denominators: np.ndarray) -> float | None:
    """Standard error of sum(numerators) / sum(denominators) over independent units (Cochran 1977, equation 2.46).

    Args:
      numerators, denominators: [units].
    """
    units = len(numerators)
    if units < 2:
        return None
    ratio = numerators.sum() / denominators.sum()
    residuals = numerators - ratio * denominators
    return float(math.sqrt(units / (units - 1) * np.square(residuals).sum()) / denominators.sum())


@dataclasses.dataclass(frozen=True)
class HeldOutText:
    """One domain with its opened store, which :func:`scaling.run_stores.check` has seen."""

    domain: EvaluationDomain
    store: TokenStore

    def evaluate(
        self,
        token_nats: Callable[[Any, batches.Batch], Any],
        parameters: Any,
        config: EvaluationConfig,
        length: int,
        isolate_documents: bool,
        after_batch: Callable[[], None],
    ) -> DomainLoss:
        """Measures the loss of `parameters`.

        Args:
          token_nats: the compiled function from parameters and batch to nats [B, T].
          parameters: of the model.
          config: batch size.
          length: T.
          isolate_documents: as in training.
          after_batch: called after each batch; may raise to stop (signals).
        """

        def of_one(parameters: Any, batch: batches.Batch) -> np.ndarray:
            return np.asarray(token_nats(parameters, batch))[None]

        return self.evaluate_members(of_one, parameters, 1, config, length, isolate_documents, after_batch)[0]

    def evaluate_members(
        self,
        token_nats: Callable[[Any, batches.Batch], Any],
        parameters: Any,
        members: int,
        config: EvaluationConfig,
        length: int,
        isolate_documents: bool,
        after_batch: Callable[[], None],
    ) -> list[DomainLoss]:
        """The losses of several models at once, each as :meth:`evaluate` measures it.

        Args:
          token_nats: from the parameters of all and a batch to nats [P, B, T], of which the first `members` count.
          parameters: of the models, stacked.
          members: how many models.
          config, length, isolate_documents, after_batch: see :meth:`evaluate`.
        """
        split = self.store.split(self.domain.split)
        plan = batches.evaluation_plan(split, length, config.batch_size, self.domain.max_tokens)
        sums = [DocumentSums.zeros(split.num_documents) for _ in range(members)]
        for evaluated in batches.evaluation_batches(split, plan, isolate_documents):
            nats_PxBxT = np.asarray(token_nats(parameters, evaluated.batch))
            for member, nats_BxT in zip(sums, nats_PxBxT[:members], strict=True):
                member.add(evaluated, nats_BxT, self.store.token_bytes)
            after_batch()
        # Where documents are not isolated, their first tokens count too, and the store states no entropy of that.
        entropy = self.store.entropy(length) if isolate_documents else None
        return [
            dataclasses.replace(
                member.loss(),
                entropy_nats_per_token=entropy and entropy.nats,
                entropy_error=entropy and entropy.error,
            )
            for member in sums
        ]
