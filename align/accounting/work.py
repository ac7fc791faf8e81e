"""What stages compute, as passes: to train, to draw samples, to measure, to prepare (no JAX here).

Used by the records of finished stages and by `align.cost`. Counts are those of a stage that runs alone and without a break: what another process left in a
cache is counted here too, and what a killed attempt computed twice is not. Rows that fill up the last batch of a measurement are not counted, nor is the pass
of a gold reward, nor the one that KTO and BCO take for the statistics of a batch that is cut into micro-batches.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from align.accounting.passes import Pass, at_last_tokens, sampled, total, whole_rows
from scaling.models.config import TransformerConfig


class Work(NamedTuple):
    """Passes of a whole stage, or of one step of it.

    Attributes:
      training: all that steps compute but samples: forward and backward passes, the live reference, rewards, values.
      generation: samples that are trained on or chosen among.
      measuring: held-out losses; samples, divergence and proxy rewards of measured policies.
      preparation: before the first step: a reference that is cached.
    """

    training: Sequence[Pass] = ()
    generation: Sequence[Pass] = ()
    measuring: Sequence[Pass] = ()
    preparation: Sequence[Pass] = ()

    def facts(self) -> dict[str, dict[str, float]]:
        """The fields of a record: FLOPs by convention."""
        return {"flops": total(self.training)} | {
            f"flops_{name}": total(getattr(self, name)) for name in ("generation", "measuring", "preparation")
        }


def scored(models: Sequence[TransformerConfig], rows: float, length: int) -> list[Pass]:
    """Every reward model on so many completions, each in a row of its own."""
    return [at_last_tokens(whole_rows(model, rows, length), rows) for model in models]


def measured(
    model: TransformerConfig,
    proxies: Sequence[TransformerConfig],
    prompt: int,
    max_new_tokens: int,
    first_column: int,
    rows: Sequence[Mapping[str, Any]],
) -> tuple[list[Pass], list[Pass]]:
    """Samples of measured policies, and what is read from them.

    Args:
      model: of policy and reference.
      proxies: the reward models.
      prompt: P, the padded width of prompts.
      max_new_tokens: of a completion.
      first_column: no completion begins before it.
      rows: measurements with their "samples" and mean "length".

    Returns:
      passes that draw, and passes that score: policy and reference at every token of a completion, and the reward models.
    """
    length = prompt + max_new_tokens
    drawing, scoring = [], []
    for row in rows:
        samples = row["samples"]
        drawing += sampled(model, samples, prompt, row["length"])
        scoring += [whole_rows(model, samples, length, head_columns=length - first_column)] * 2
        scoring += scored(proxies, samples, length)
    return drawing, scoring
