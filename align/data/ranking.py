"""Stores of completions that a policy sampled and a gold reward scored."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from align.data import store_writer
from align.data.encoding import Encoder, EncodingConfig
from align.data.examples import TokenExample
from align.data.judging import OrderedJudge, judged, summary
from align.data.labels import Labels, preferred_order
from align.data.store import ExampleStore
from align.sequences import Sequences
from scaling.data.vocabularies import Vocabulary
from scaling.errors import ConfigError


class ScoredSamples(NamedTuple):
    """K completions of each of N prompts.

    Attributes:
      sequences: N * K rows, the completions of a prompt side by side.
      scores: float [N * K], gold scores.
      names: N names of prompts, for messages.
      rated: float [N * K], what a noisy rater thinks (see `align.gold.lexicon.LexiconRater`): the order follows it, while the gold scores are stored;
        None orders by the gold scores.
    """

    sequences: Sequences
    scores: np.ndarray
    names: Sequence[str]
    rated: np.ndarray | None = None


def write_ranked(
    path: str | os.PathLike[str],
    splits: Mapping[str, ScoredSamples],
    vocabulary: Vocabulary,
    labels: Labels | OrderedJudge,
    seed: int,
    pairs_per_prompt: int = 0,
    description: Mapping[str, Any] | None = None,
) -> ExampleStore:
    """Writes a store of pairs, or of K ranked completions a prompt, labelled by a simulated rater.

    Examples with two equal completions, of which there are many where a policy has little entropy, are left out and counted. So are pairs that
    the rater does not tell apart, unless the labels are drawn from Bradley-Terry. Of a judge, the manifest says how its two orders agree.

    Args:
      path: of the store.
      splits: what was sampled, by split.
      vocabulary: of the tokens.
      labels: the rater.
      seed: of the labels and of the choice of pairs.
      pairs_per_prompt: 0 ranks all K; otherwise so many of the C(K, 2) pairs of each prompt are drawn without replacement, each an example of its own.
      description: further fields of the manifest (policy, gold reward, temperature, ...).

    Raises:
      ConfigError: there are too few completions for pairs.
      DataError: a split has no example left.
      OutputError: the store cannot be written, or is there already.
    """
    path = pathlib.Path(path)
    completions = {len(samples.scores) // max(1, len(samples.names)) for samples in splits.values()}
    if len(completions) != 1 or min(completions) < 2:
        raise ConfigError(
            f"the splits of {path} have {sorted(completions)} completions per prompt",
            "sample at least 2, equally many of every prompt",
        )
    (K,) = completions
    num_completions = 2 if pairs_per_prompt else K
    if isinstance(labels, OrderedJudge) and num_completions != 2:
        raise ConfigError(
            f"OrderedJudge compares two completions, and {path} ranks {num_completions}",
            "make pairs, or order them by Labels",
        )
    with store_writer.writing(path, vocabulary, num_completions) as writer:
        left_out, judges = {}, {}
        for name, samples in splits.items():
            generator = np.random.Generator(np.random.PCG64([seed, *name.encode()]))
            length = samples.sequences.tokens.shape[1]
            encoder = Encoder(EncodingConfig(length, length), num_completions, vocabulary.eos_id)
            chosen = _pairs(samples, K, pairs_per_prompt, generator) if pairs_per_prompt else _all(samples, K)
            ordered = _ordered(samples, chosen, labels, generator)
            examples = _examples(samples, chosen, ordered)
            writer.write_split(name, (fitted for example in examples if (fitted := encoder.fitted(example))))
            left_out[name] = encoder.to_json()
            judges |= {name: ordered.judge} if ordered.judge else {}
        writer.finish(
            {**(description or {}), "label_noise": dataclasses.asdict(labels), "left_out": left_out, "seed": seed}
            | ({"judge": judges} if judges else {})
        )
    return ExampleStore.open(path)


def _all(samples: ScoredSamples, K: int) -> np.ndarray:
    return np.arange(len(samples.names) * K).reshape(-1, K)


def _pairs(samples: ScoredSamples, K: int, pairs_per_prompt: int, generator: np.random.Generator) -> np.ndarray:
    """Rows of the two sides of each chosen pair, int64 [N * pairs_per_prompt, 2]."""
    every_Px2 = np.array(list(itertools.combinations(range(K), 2)))
    if pairs_per_prompt > len(every_Px2):
        raise ConfigError(
            f"pairs_per_prompt is {pairs_per_prompt}, but {K} completions make {len(every_Px2)} pairs",
            "ask for fewer, or sample more completions",
        )
    draws = [generator.permutation(len(every_Px2))[:pairs_per_prompt] for _ in samples.names]
    return np.concatenate([number * K + every_Px2[draw] for number, draw in enumerate(draws)])


class _Order(NamedTuple):
    """Indices of completions, the preferred one first; which examples are left out as ties; what is said of a judge."""

    order_NxK: np.ndarray
    tied_N: np.ndarray
    judge: dict[str, Any] | None


def _ordered(samples: ScoredSamples, rows_NxK: np.ndarray, labels: Labels | OrderedJudge, generator) -> _Order:
    rated = samples.scores if samples.rated is None else samples.rated
    rated_NxK = np.asarray(rated, np.float64)[rows_NxK]
    if isinstance(labels, OrderedJudge):
        found = judged(rated_NxK, labels, generator)
        return _Order(found.order_Nx2, found.tied_N, summary(found.verdicts))
    order_NxK = preferred_order(rated_NxK, labels, generator)
    can_tie = labels.noise != "bradley_terry" and rated_NxK.shape[1] == 2
    return _Order(order_NxK, can_tie & (rated_NxK[:, 0] == rated_NxK[:, 1]), None)


def _examples(samples: ScoredSamples, rows_NxK: np.ndarray, ordered: _Order) -> Iterator[TokenExample]:
    K = len(samples.scores) // len(samples.names)
    scores_NxK = np.asarray(samples.scores, np.float64)[rows_NxK]
    tokens, prompt_lengths, lengths = map(np.asarray, samples.sequences)
    for rows, order, scores, tied in zip(rows_NxK, ordered.order_NxK, scores_NxK, ordered.tied_N, strict=True):
        ranked = rows[order]
        prompt_length = prompt_lengths[ranked[0]]
        yield TokenExample(
            name=f"{samples.names[rows[0] // K]}#{'>'.join(str(row % K) for row in ranked)}",
            prompt=tokens[ranked[0], :prompt_length],
            completions=tuple(tokens[row, prompt_length : lengths[row]] for row in ranked),
            scores=scores[order],
            margin=abs(float(scores[0] - scores[1])) if len(rows) == 2 else np.nan,
            filtered="pairs that the rater does not tell apart" if tied else "",
        )
