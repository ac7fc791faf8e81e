"""How completions are drawn, as data. Nothing here imports JAX."""

import dataclasses

from scaling.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """A sampling distribution and when a completion ends.

    Temperature comes first, then top-k, then top-p over what top-k left and renormalised. Among equal logits lower ids come first, so that a filter
    keeps the number of tokens that its definition says.

    Attributes:
      temperature: divides the logits; 0 takes the likeliest token.
      top_k: keeps the k likeliest tokens (Fan et al. 2018); 0 keeps all.
      top_p: keeps the smallest set of likeliest tokens whose mass reaches p, never none (Holtzman et al. 2020); 1 keeps all.
      max_new_tokens: length of the longest completion, EOS included.
      min_new_tokens: no completion ends before it: EOS is taken out of the distribution (the log-probabilities say so) and stop sequences are not heeded.
      stop_sequences: token ids; a row ends with the first of them that stands complete in its completion. Its tokens are kept and counted.

    Raises:
      ConfigError: a value outside its range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    max_new_tokens: int = 128
    min_new_tokens: int = 0
    stop_sequences: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self):
        # Gin gives lists where a tuple is meant, and the configuration is a key of compiled programs.
        object.__setattr__(self, "stop_sequences", tuple(tuple(sequence) for sequence in self.stop_sequences))
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(
                f"SamplingConfig.temperature is {self.temperature!r}", "give 0 (likeliest token) or a positive number"
            )
        if not isinstance(self.top_k, int) or self.top_k < 0:
            raise ConfigError(f"SamplingConfig.top_k is {self.top_k!r}", "give a positive integer, or 0 to keep all")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"SamplingConfig.top_p is {self.top_p!r}", "give a mass above 0 and at most 1 (keep all)")
        if not isinstance(self.max_new_tokens, int) or self.max_new_tokens < 1:
            raise ConfigError(f"SamplingConfig.max_new_tokens is {self.max_new_tokens!r}", "give a positive integer")
        if not isinstance(self.min_new_tokens, int) or not 0 <= self.min_new_tokens <= self.max_new_tokens:
            raise ConfigError(
                f"SamplingConfig.min_new_tokens is {self.min_new_tokens!r}",
                f"give an integer from 0 to max_new_tokens ({self.max_new_tokens})",
            )
        for sequence in self.stop_sequences:
            if not sequence or not all(isinstance(token, int) and token >= 0 for token in sequence):
                raise ConfigError(
                    f"SamplingConfig.stop_sequences has {sequence!r}", "give each as one or more token ids, 0 or above"
                )
