"""Fits tokenised examples to the lengths that a stage works with, and finds those that nothing can learn from.

Prompt and completion were tokenised apart, so the boundary between them is one between tokens, whatever is sampled after the prompt.
"""

import dataclasses
from typing import Any, Literal

import numpy as np

from align.data.examples import TokenExample
from align.data.tally import Tally
from scaling.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class EncodingConfig:
    """How long prompts and completions may be; their sum is the row length of a stage.

    Attributes:
      max_prompt_tokens: longest prompt.
      max_completion_tokens: longest completion, its EOS counted.
      long_prompts: "refuse" calls a longer prompt a flaw; "truncate" keeps its last tokens, next to the completion.
      long_completions: "truncate" keeps the first tokens, which then do not end in EOS; "refuse" calls it a flaw.
    """

    max_prompt_tokens: int
    max_completion_tokens: int
    long_prompts: Literal["refuse", "truncate"] = "refuse"
    long_completions: Literal["truncate", "refuse"] = "truncate"

    def __post_init__(self):
        """See the base class."""
        for field in ("max_prompt_tokens", "max_completion_tokens"):
            if getattr(self, field) < 1:
                raise ConfigError(
                    f"EncodingConfig.{field} is {getattr(self, field)}", "give a positive number of tokens"
                )


class Encoder:
    """Fits examples one by one and counts what it changes or finds unusable.

    Args:
      config: the lengths.
      num_completions: K, which every example must have.
      eos_id: ends a completion that was not cut off.

    Attributes:
      flawed: examples that cannot be used.
      filtered: examples that their source leaves out.
      truncated: prompts and completions that were cut.
    """

    def __init__(self, config: EncodingConfig, num_completions: int, eos_id: int):
        self._config = config
        self._num_completions = num_completions
        self._eos_id = eos_id
        self.flawed, self.filtered, self.truncated = Tally(), Tally(), Tally()

    def fitted(self, example: TokenExample) -> TokenExample | None:
        """The example in the lengths of the configuration; None where it was counted as filtered or flawed instead."""
        if example.filtered:
            self.filtered.add(example.filtered, example.name)
            return None
        cut = example._replace(
            prompt=self._fitted_prompt(example.prompt),
            completions=tuple(completion[: self._config.max_completion_tokens] for completion in example.completions),
        )
        flaw = example.flaw or self._length_flaw(example) or self._flaw(cut)
        if flaw:
            self.flawed.add(flaw, example.name)
            return None
        self._count_cuts(example)
        return cut

    def to_json(self) -> dict[str, Any]:
        """The counts, for a manifest."""
        return {
            "dropped": self.flawed.to_json(),
            "filtered": self.filtered.to_json(),
            "truncated": self.truncated.to_json(),
        }

    def _fitted_prompt(self, prompt: np.ndarray) -> np.ndarray:
        return prompt[max(0, len(prompt) - self._config.max_prompt_tokens) :]

    def _length_flaw(self, example: TokenExample) -> str:
        config = self._config
        if config.long_prompts == "refuse" and len(example.prompt) > config.max_prompt_tokens:
            return f"with a prompt that fills the context (more than {config.max_prompt_tokens} tokens)"
        longest = max((len(completion) for completion in example.completions), default=0)
        if config.long_completions == "refuse" and longest > config.max_completion_tokens:
            return f"with a completion of more than {config.max_completion_tokens} tokens"
        return ""

    def _flaw(self, example: TokenExample) -> str:
        if not len(example.prompt):
            return "with an empty prompt"
        if len(example.completions) != self._num_completions:
            return f"with another number of completions than {self._num_completions}"
        if any(len(completion) == 0 or completion[0] == self._eos_id for completion in example.completions):
            return "with an empty completion"
        if len({completion.tobytes() for completion in example.completions}) < len(example.completions):
            return "with equal sides"
        if np.isinf(np.asarray(example.scores, np.float64)).any():
            return "with an infinite score"
        return ""

    def _count_cuts(self, example: TokenExample) -> None:
        if len(example.prompt) > self._config.max_prompt_tokens:
            self.truncated.add("prompts", example.name)
        for completion in example.completions:
            if len(completion) > self._config.max_completion_tokens:
                self.truncated.add("completions", example.name)
