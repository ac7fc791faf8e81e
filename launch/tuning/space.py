"""A search space as Optuna sees it, and the way back from its parameters to Gin values and tags."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from launch.sweep_config import Grid, Range

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


class Space:
    """The sides of a search space, by binding.

    A parameter is what Optuna chooses: a float, the number of a multiple, or the text of a listed value. A value is what Gin binds.
    """

    def __init__(self, sides: Sequence[Range | Grid]):
        """Takes the sides of :class:`launch.search_config.Search`."""
        self._sides = {side.binding: side for side in sides}

    @property
    def bindings(self) -> tuple[str, ...]:
        """The names, in the order of the file."""
        return tuple(self._sides)

    def distributions(self) -> dict[str, "BaseDistribution"]:
        """The space for Optuna."""
        return {binding: _distribution(side) for binding, side in self._sides.items()}

    def values(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What Gin binds for the parameters of a trial."""
        return {binding: self._value(binding, parameters[binding]) for binding in self._sides}

    def tags(self, parameters: Mapping[str, Any]) -> dict[str, str]:
        """The values as strings from which :meth:`parameters` finds the same parameters."""
        return {binding: repr(value) for binding, value in self.values(parameters).items()}

    def parameters(self, tags: Mapping[str, str]) -> dict[str, Any] | None:
        """The parameters of a trial from the tags of its run; None where they are not of this space."""
        try:
            return {binding: _parameter(side, tags[binding]) for binding, side in self._sides.items()}
        except (KeyError, ValueError):
            return None

    def centre(self) -> dict[str, Any]:
        """The values in the middle of every side."""
        return {
            binding: side.at(0.5) if isinstance(side, Range) else side.values[len(side.values) // 2]
            for binding, side in self._sides.items()
        }

    def _value(self, binding: str, parameter: Any) -> Any:
        side = self._sides[binding]
        if isinstance(side, Grid):
            return next(value for value in side.values if repr(value) == parameter)
        return parameter * side.multiple_of if side.multiple_of else parameter


def _distribution(side: Range | Grid) -> "BaseDistribution":
    from optuna import distributions

    if isinstance(side, Grid):
        return distributions.CategoricalDistribution(tuple(repr(value) for value in side.values))
    log = side.scale == "log"
    if side.multiple_of:
        first, last = side.steps
        return distributions.IntDistribution(first, last, log=log)
    return distributions.FloatDistribution(side.low, side.high, log=log)


def _parameter(side: Range | Grid, text: str) -> Any:
    """Raises ValueError where the text is no value of this side."""
    if isinstance(side, Grid):
        if text not in map(repr, side.values):
            raise ValueError(text)
        return text
    if side.multiple_of:
        step, rest = divmod(int(text), side.multiple_of)
        if rest or not side.steps[0] <= step <= side.steps[1]:
            raise ValueError(text)
        return step
    if not side.low <= float(text) <= side.high:
        raise ValueError(text)
    return float(text)
