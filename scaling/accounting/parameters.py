"""How many parameters a model has, in total, without embeddings, and by part (no JAX here)."""

import dataclasses

from scaling.models.config import TransformerConfig
from scaling.models.parameters import PARTS, parameter_specs

# What "non-embedding" leaves out. Kaplan et al. 2020, table 1: vocabulary and position embeddings and the de-embedding (head).
EMBEDDING_PARTS = ("token_embedding", "position_embedding", "head")


@dataclasses.dataclass(frozen=True)
class ParameterCount:
    """Scalars of a model.

    Attributes:
      total: all of them; a tied table counts once.
      non_embedding: Kaplan's N: without token table, position table and head. (Biases and norms are in it; Kaplan's closed form 12 L d^2 leaves them out.)
      by_part: part -> scalars; the parts sum to `total`.
    """

    total: int
    non_embedding: int
    by_part: dict[str, int]

    def __post_init__(self):
        if sum(self.by_part.values()) != self.total:
            raise ValueError(f"the parts {self.by_part} do not sum to {self.total}")


def count_parameters(config: TransformerConfig) -> ParameterCount:
    """Counts the parameters from their specifications."""
    specs = parameter_specs(config).values()
    by_part = {part: sum(spec.size for spec in specs if spec.part == part) for part in PARTS}
    non_embedding = sum(count for part, count in by_part.items() if part not in EMBEDDING_PARTS)
    return ParameterCount(sum(spec.size for spec in specs), non_embedding, by_part)
