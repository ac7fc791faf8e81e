"""Tells a fit that never left its start, or ran into the floor, from its numbers alone.

An optimiser that is given weights or scales it cannot handle returns its start with a report of success. In the published data of
Porian et al. 2024 (arXiv:2406.19146) the weighted fits of L = E + A/C^alpha passed 1/std² as `sigma`, where the standard deviation is
expected: residuals so small that the first gradient already meets the tolerance. 9 of 15 are a start of their grid to the last digit,
and 4 of the 5 on OpenWebText2 ran to E of zero. Only unweighted or rightly weighted fits of that table are worth quoting.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

_SAME = 1e-9
# E below 1% of the smallest loss is as good as none.
_NO_FLOOR = 0.01


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the numbers of a fit say about its optimisation.

    Attributes:
      start: the start that the fit equals, by parameter; None where it moved.
      collapsed: parameters that ended on their floor.
    """

    start: Mapping[str, float] | None
    collapsed: tuple[str, ...]

    @property
    def moved(self) -> bool:
        """Whether any parameter differs from every start."""
        return self.start is None

    @property
    def flags(self) -> tuple[str, ...]:
        """In words; empty where there is nothing to object to."""
        found = []
        if self.start is not None:
            where = ", ".join(f"{name} = {value:.6g}" for name, value in self.start.items())
            found.append(f"the optimiser never left its start ({where}): this is no fit")
        if self.collapsed:
            found.append(f"{', '.join(self.collapsed)} ran to zero: these runs do not determine it")
        return tuple(found)


def judge(
    fitted: Mapping[str, float],
    starts: Mapping[str, Sequence[float]],
    floors: Mapping[str, float] | None = None,
) -> Verdict:
    """Judges a fit by its starts and floors.

    Args:
      fitted: the parameters, by name.
      starts: the grid of starts: the values of each parameter, in the units of `fitted`.
      floors: parameters that mean nothing at or below a value; see :func:`loss_floor`.

    Raises:
      KeyError: a parameter of `starts` or `floors` was not fitted.
    """
    at = {name: _equal_to(fitted[name], values) for name, values in starts.items()}
    stayed = bool(at) and all(value is not None for value in at.values())
    collapsed = tuple(name for name, floor in (floors or {}).items() if fitted[name] <= floor)
    return Verdict({name: float(value) for name, value in at.items()} if stayed else None, collapsed)


def _equal_to(value: float, starts: Sequence[float]) -> float | None:
    """The start that a value equals to nine digits."""
    same = [start for start in starts if np.isclose(value, start, rtol=_SAME, atol=_SAME)]
    return same[0] if same else None


def loss_floor(smallest_loss: float) -> dict[str, float]:
    """The value of E, in nats, below which a law has no irreducible loss to speak of."""
    return {"E": _NO_FLOOR * smallest_loss}


def saturation_grid(log_a: Sequence[float], log_e: Sequence[float], alpha: Sequence[float]) -> dict[str, list[float]]:
    """A grid of starts in ln A, ln E and alpha as values of A, E and alpha."""
    return {"A": list(np.exp(log_a)), "E": list(np.exp(log_e)), "alpha": list(alpha)}


# Where the published fits of the frontier's loss began.
PORIAN_STARTS = saturation_grid(np.arange(0.0, 30.0, 5.0), np.arange(-1.0, 1.5, 0.5), np.arange(0.0, 0.4, 0.1))
