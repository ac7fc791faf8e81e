"""How the tensors of another program hold ours: which parameters, in which order of axes.

A layout is two words over axis letters. `ours` spells the axes of a parameter without its "layers" axis, `foreign`
those of the other tensor, where letters that stand together are one merged axis and "n" counts the parameters that the
tensor fuses. ("query", "key", "value") with ours "dhq" and foreign "hnq d" is GPT-NeoX's fused projection [3 D, D],
interleaved per head.

Letters: v vocabulary, d width, h heads, k key and value heads, q features of a head, f hidden features, t positions.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from scaling.models.parameters import ParameterSpec

_FUSED = "n"


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor of another program and the parameters that it holds.

    Attributes:
      name: its name there; "{layer}" stands for the layer's number.
      paths: the parameters (:func:`scaling.models.parameters.parameter_specs`), all of one shape.
      ours, foreign: axes, as the module describes.
    """

    name: str
    paths: tuple[str, ...]
    ours: str
    foreign: str

    @property
    def stacked(self) -> bool:
        """Whether there is one such tensor a layer."""
        return "{layer}" in self.name

    def shape(self, specs: Mapping[str, ParameterSpec]) -> tuple[int, ...]:
        """The shape of the foreign tensor."""
        sizes = self._sizes(specs)
        return tuple(math.prod(sizes[letter] for letter in merged) for merged in self.foreign.split())

    def to_foreign(self, specs: Mapping[str, ParameterSpec], values: Sequence[np.ndarray]) -> np.ndarray:
        """The foreign tensor of one layer, contiguous.

        Args:
          specs: of the architecture.
          values: the parameters at `paths`, without the layers axis.
        """
        axes = _FUSED + self.ours
        order = [axes.index(letter) for letter in self._expanded]
        return np.ascontiguousarray(np.stack(values).transpose(order).reshape(self.shape(specs)))

    def from_foreign(self, specs: Mapping[str, ParameterSpec], value: np.ndarray) -> list[np.ndarray]:
        """The parameters at `paths`, without the layers axis: the inverse of :meth:`to_foreign`."""
        sizes = self._sizes(specs)
        expanded = value.reshape([sizes[letter] for letter in self._expanded])
        order = [self._expanded.index(letter) for letter in _FUSED + self.ours]
        return list(expanded.transpose(order))

    @property
    def _expanded(self) -> str:
        """The letters of the foreign tensor, one an axis; a tensor of one parameter has a first axis of size 1."""
        letters = self.foreign.replace(" ", "")
        return letters if _FUSED in letters else _FUSED + letters

    def _sizes(self, specs: Mapping[str, ParameterSpec]) -> dict[str, int]:
        shapes = {specs[path].shape[1:] if self.stacked else specs[path].shape for path in self.paths}
        (shape,) = shapes
        return {_FUSED: len(self.paths), **dict(zip(self.ours, shape, strict=True))}


def present(table: Sequence[Tensor], specs: Mapping[str, ParameterSpec]) -> list[Tensor]:
    """The tensors of a table whose parameters a model has (it may lack biases or a head of its own).

    Raises:
      ValueError: they do not hold every parameter exactly once, which is a fault of the table.
    """
    tensors = [tensor for tensor in table if all(path in specs for path in tensor.paths)]
    held = sorted(path for tensor in tensors for path in tensor.paths)
    if held != sorted(specs):
        raise ValueError(f"the table holds {held}, the model has {sorted(specs)}")
    return tensors
