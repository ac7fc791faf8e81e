"""What an example is, before and after it is tokenised."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

Kind = Literal["prompts", "dialogue", "pairs", "ranked"]
UNKNOWN = math.nan


class TextExample(NamedTuple):
    """A prompt with K completions, as text.

    Attributes:
      name: says where it comes from; for messages.
      prompt: what is answered.
      completions: K texts; where K >= 2, in order of preference, the preferred one first.
      scores: the gold score of each completion, NaN where it is not known.
      margin: by how much the first completion is preferred to the second, in the units of its source; NaN where not known.
      filtered: why its source leaves it out; empty where it does not.
      flaw: what makes it unusable; empty where nothing does.
    """

    name: str
    prompt: str
    completions: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    margin: float = UNKNOWN
    filtered: str = ""
    flaw: str = ""


class TokenExample(NamedTuple):
    """The same as token ids.

    Attributes:
      name, scores, margin, filtered, flaw: as of a :class:`TextExample`.
      prompt: int32 [tokens].
      completions: K arrays int32 [tokens], each with the EOS that ends it, unless it was cut off.
    """

    name: str
    prompt: np.ndarray
    completions: tuple[np.ndarray, ...] = ()
    scores: Sequence[float] = ()
    margin: float = UNKNOWN
    filtered: str = ""
    flaw: str = ""


def kind_of(num_completions: int) -> Kind:
    """The kind of store that examples of K completions make."""
    return {0: "prompts", 1: "dialogue", 2: "pairs"}.get(num_completions, "ranked")
