"""FLOPs of one pass over a batch, where not every column needs the vocabulary's head or the last layer (no JAX here).

A convention of :mod:`scaling.accounting.flops` is affine in the sequence length: so many FLOPs a token, and so many a token and column that it attends to. From
these two figures follows what a pass costs whose columns and whose pairs of query and key are counted apart, as they must be where completions share their
prompt's row or a token is decoded behind a cache. What is not computed is taken off, in every convention that counts it.
"""

import dataclasses
from collections.abc import Iterable

from scaling.accounting.flops import CONVENTIONS
from scaling.models.config import TransformerConfig

# Kaplan's N leaves the head out, so nothing is taken off where none is computed.
_WITHOUT_HEAD = ("kaplan_6nd_non_embedding",)


@dataclasses.dataclass(frozen=True)
class Pass:
    """One model reading so many columns; all counts are totals over rows and may be means times rows.

    Attributes:
      model: the architecture.
      columns: tokens that the layers read, padding included.
      cells: pairs of query and key in one layer, masked ones included (conventions with causal attention take their half).
      head_columns: columns at which the vocabulary's head is computed; 0 for rewards and values, whose own heads (2 D a column) are not counted.
      last_columns: columns at which the last layer answers; None for all.
      last_cells: pairs of query and key in the last layer; None for all.
      trained: whether a backward pass follows, which costs twice the forward pass (also for an adapter: its kernels are merged before the product).
    """

    model: TransformerConfig
    columns: float
    cells: float
    head_columns: float = 0.0
    last_columns: float | None = None
    last_cells: float | None = None
    trained: bool = False

    def times(self, number: float) -> "Pass":
        """So many such passes."""
        scaled = {
            field.name: number * getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("model", "trained") and getattr(self, field.name) is not None
        }
        return dataclasses.replace(self, **scaled)

    def with_gradient(self) -> "Pass":
        """The same with a backward pass behind it."""
        return dataclasses.replace(self, trained=True)

    def flops(self) -> dict[str, float]:
        """By convention."""
        return {name: self._flops(name) for name in CONVENTIONS}

    def _flops(self, convention: str) -> float:
        model = self.model
        at_one, at_two = (CONVENTIONS[convention](model, length) for length in (1, 2))
        # Conventions give training, which is three forward passes.
        per_cell, per_column = (at_two - at_one) / 3, (2 * at_one - at_two) / 3
        forward = self.columns * per_column + self.cells * per_cell
        if convention not in _WITHOUT_HEAD:
            forward -= 2 * model.vocab_size * model.width * (self.columns - self.head_columns)
        if self.last_columns is not None:
            forward -= 2 * _beyond_keys_and_values(model) * (self.columns - self.last_columns)
            forward -= per_cell / model.depth * (self.cells - self.last_cells)
        return 3 * forward if self.trained else forward


def total(passes: Iterable[Pass]) -> dict[str, float]:
    """FLOPs of all passes together, by convention."""
    counts = [each.flops() for each in passes]
    return {name: float(sum(count[name] for count in counts)) for name in CONVENTIONS}


def whole_rows(model: TransformerConfig, rows: float, length: int, head_columns: float | None = None) -> Pass:
    """Rows that the model reads as they are.

    Args:
      model: the architecture.
      rows: their number.
      length: T.
      head_columns: of a row; None for all.
    """
    of_row = length if head_columns is None else head_columns
    return Pass(model, rows * length, rows * length**2, rows * of_row)


def answers(
    model: TransformerConfig, prompts: float, ranks: int, prompt: int, completion: int, length: int, head_columns: int
) -> Pass:
    """K completions of each prompt, in one row where that is shorter (:mod:`align.models.shared_prompts`).

    Args:
      model: the architecture.
      prompts: their number.
      ranks: K.
      prompt, completion: P and C, room for the longest.
      length: T, of a completion's own row.
      head_columns: of a completion's own row.
    """
    shared = prompt + ranks * completion < ranks * length
    columns = prompt + ranks * completion if shared else ranks * length
    width = prompt + completion if shared else length
    return Pass(model, prompts * columns, prompts * ranks * width**2, prompts * ranks * head_columns)


def at_last_tokens(rows: Pass, answered: float) -> Pass:
    """The pass of a reward model: no vocabulary's head, and the last layer at the last token of each completion.

    Args:
      rows: the pass with its last layer everywhere.
      answered: completions.
    """
    width = (rows.cells / answered) ** 0.5
    return dataclasses.replace(rows, head_columns=0, last_columns=answered, last_cells=answered * width)


def sampled(model: TransformerConfig, rows: float, prompt: int, length: float) -> list[Pass]:
    """A batch of samples: the prompts at once, then a token at a time.

    Counted are the tokens that belong to a completion; a row that has ended computes on until the batch has, which is not.

    Args:
      model: the architecture.
      rows: completions.
      prompt: P, the padded width of prompts.
      length: mean tokens of a completion; the last is drawn and not read.
    """
    steps = max(0.0, length - 1)
    decoded = Pass(model, rows * steps, rows * steps * (prompt + (steps + 1) / 2), rows * steps)
    return [whole_rows(model, rows, prompt, head_columns=1), decoded]


def _beyond_keys_and_values(model: TransformerConfig) -> int:
    """Weights of a layer's query, output and feed-forward products."""
    matrices = 3 if model.gated else 2
    return model.width * (2 * model.heads * model.head_dim + matrices * model.mlp_dim)
