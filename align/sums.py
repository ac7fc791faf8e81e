"""Totals with their counts. Micro-batches and devices add both, and only the whole is divided: a mean of means weighs short batches too heavily."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Sum(NamedTuple):
    """A sum and what it is to be divided by.

    Attributes:
      total: scalar.
      count: scalar, in the type of `total`: elements, tokens or rows that were summed.
    """

    total: jax.Array
    count: jax.Array

    @classmethod
    def over(cls, values: jax.Array, mask: jax.Array | None = None) -> "Sum":
        """Of the values whose mask is not 0 (all of them without a mask); what lies under the mask is never looked at, be it NaN."""
        if mask is None:
            return cls(jnp.sum(values), jnp.asarray(values.size, values.dtype))
        counted = mask.astype(bool)
        return cls(jnp.sum(jnp.where(counted, values, 0)), jnp.sum(counted, dtype=values.dtype))

    @property
    def mean(self) -> jax.Array:
        """The quotient; 0 where nothing was counted."""
        return self.total / jnp.where(self.count == 0, 1, self.count)

    def merged(self, other: "Sum") -> "Sum":
        """Of both parts together."""
        return Sum(self.total + other.total, self.count + other.count)
