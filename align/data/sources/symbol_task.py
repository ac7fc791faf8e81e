"""A synthetic task: prompts of random symbols, and a reward that is a program over tokens, so that the optimum can be computed."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from align.data.examples import UNKNOWN, TokenExample
from align.data.labels import Labels, preferred_order
from align.data.sources.ratings import SPLITS
from align.data.sources.source import READER_VERSION
from align.gold.token_programs import TokenProgram
from align.sequences import Sequences
from scaling.data.vocabularies import SPECIALS, Vocabulary
from scaling.errors import ConfigError, DataError


@dataclasses.dataclass(frozen=True)
class SymbolTask:
    """Prompts and completions of symbols drawn uniformly.

    A completion has `completion_tokens` symbols and an EOS, so there are symbols ** completion_tokens of them: few enough, where one chooses, to compute every
    expectation exactly.

    Attributes:
      symbols: the ids 3 ... 3 + symbols - 1 are used.
      prompt_tokens: symbols of a prompt.
      completion_tokens: symbols of a completion.
      completions: K of each prompt; 0 makes prompts.
      gold: the program that scores them; needed where K > 0.
      labels: how they are ordered by it.
      train_examples, held_out_examples: of train; of validation and of test.
      seed: of all draws.
    """

    symbols: int
    prompt_tokens: int
    completion_tokens: int
    completions: int = 2
    gold: TokenProgram | None = None
    labels: Labels = Labels()
    train_examples: int = 4096
    held_out_examples: int = 512
    seed: int = 0
    kind: Literal["symbol_task"] = "symbol_task"

    splits = SPLITS

    def __post_init__(self):
        """See the base class."""
        if (
            min(self.symbols, self.prompt_tokens, self.completion_tokens, self.train_examples, self.held_out_examples)
            < 1
        ):
            raise ConfigError("SymbolTask has a size below 1", "give positive sizes")
        if self.completions and self.gold is None:
            raise ConfigError(
                "SymbolTask.gold is missing", "bind the program that scores completions, or set completions to 0"
            )

    @property
    def num_completions(self) -> int:
        """K."""
        return self.completions

    def check(self) -> None:
        """Nothing can be missing: everything is drawn."""

    def request(self) -> dict[str, Any]:
        """Everything that determines the examples."""
        return {**dataclasses.asdict(self), "reader_version": READER_VERSION}

    def manifest(self) -> dict[str, Any]:
        """Provenance."""
        gold = {"gold": self.gold.name, "gold_identity": self.gold.identity} if self.gold else {}
        return {"name": "symbols drawn at random", "licence": "none needed", **gold}

    def token_examples(self, split: str, vocabulary: Vocabulary) -> Iterator[TokenExample]:
        """Examples of a split.

        Raises:
          DataError: the vocabulary has too few ids.
        """
        if vocabulary.size < SPECIALS + self.symbols:
            raise DataError(
                f"SymbolTask needs {self.symbols} symbols, but the vocabulary has {vocabulary.size - SPECIALS}",
                f"give a VocabularyConfig.size of at least {SPECIALS + self.symbols}",
            )
        generator = np.random.Generator(np.random.PCG64([self.seed, *split.encode()]))
        N = self.train_examples if split == "train" else self.held_out_examples
        prompts_NxP = SPECIALS + generator.integers(self.symbols, size=(N, self.prompt_tokens), dtype=np.int32)
        if not self.completions:
            yield from (TokenExample(f"{split}:{n}", prompt) for n, prompt in enumerate(prompts_NxP))
            return
        yield from self._scored(split, prompts_NxP, vocabulary, generator)

    def _scored(
        self, split: str, prompts_NxP: np.ndarray, vocabulary: Vocabulary, generator: np.random.Generator
    ) -> Iterator[TokenExample]:
        N, K = len(prompts_NxP), self.completions
        symbols = generator.integers(self.symbols, size=(N, K, self.completion_tokens), dtype=np.int32)
        ends = np.full((N, K, 1), vocabulary.eos_id, np.int32)
        completions_NxKxC = np.concatenate([SPECIALS + symbols, ends], axis=2)
        scores_NxK = self._scores(prompts_NxP, completions_NxKxC, vocabulary)
        order_NxK = preferred_order(scores_NxK, self.labels, generator)
        for n, order in enumerate(order_NxK):
            scores = scores_NxK[n, order]
            yield TokenExample(
                f"{split}:{n}",
                prompts_NxP[n],
                tuple(completions_NxKxC[n, order]),
                scores,
                abs(float(scores[0] - scores[1])) if K == 2 else UNKNOWN,
                filtered=self._unfit(completions_NxKxC[n], scores),
            )

    def _unfit(self, completions_KxC: np.ndarray, scores_K: np.ndarray) -> str:
        if len(np.unique(completions_KxC, axis=0)) < self.completions:
            return "with completions that are equal by chance"
        tied = self.completions == 2 and scores_K[0] == scores_K[1] and self.labels.noise != "bradley_terry"
        return "pairs of equal gold score" if tied else ""

    def _scores(self, prompts_NxP: np.ndarray, completions_NxKxC: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
        N, K, C = completions_NxKxC.shape
        prompts = np.repeat(prompts_NxP, K, axis=0)
        tokens = np.concatenate([prompts, completions_NxKxC.reshape(N * K, C)], axis=1)
        lengths = np.full(N * K, tokens.shape[1], np.int32)
        rows = Sequences(tokens, np.full_like(lengths, prompts.shape[1]), lengths)
        return self.gold.score(rows, vocabulary).reshape(N, K)
