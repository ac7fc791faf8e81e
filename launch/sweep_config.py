"""A sweep, as data: what `configs/sweeps/*.gin` bind.

A sweep is a chain of parts. A part multiplies its axes; every point of the product is one planned run: the bindings of the axes laid over those
of the files. Any Gin binding can be an axis: a macro (`WIDTH`), a field (`RunConfig.seed`, `ScheduleConfig.peak`), or, with a value that starts
with "@" or "%", a choice of parts (`RunConfig.model` over `"@ladder.llama()"` and `"@ladder.neox()"`). docs/sweeps.md has an example of each axis.
"""

import dataclasses
import math
import typing
from typing import Any, Literal

from scaling.errors import ConfigError

# The keys of scaling.accounting.flops.CONVENTIONS (a test compares them).
FlopsConvention = Literal[
    "kaplan_6nd_non_embedding",
    "6nd",
    "6nd_head",
    "6nd_head_attention",
    "6nd_head_causal_attention",
    "chinchilla_appendix_f",
]


@dataclasses.dataclass(frozen=True)
class Grid:
    """One binding over listed values.

    Attributes:
      binding: a Gin name.
      values: what it takes, in order.
    """

    binding: str
    values: tuple[Any, ...]

    def __post_init__(self):
        _require_values("Grid.values", self.binding, self.values)


@dataclasses.dataclass(frozen=True)
class Zip:
    """Several bindings that change together.

    Attributes:
      bindings: Gin names.
      rows: one value for each binding, a row for each point.
    """

    bindings: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def __post_init__(self):
        _require_listed("Zip.bindings", self.bindings)
        _require_values("Zip.rows", ", ".join(map(str, self.bindings)), self.rows)
        for row in self.rows:
            _require_listed("a row of Zip.rows", row)
            if len(row) != len(self.bindings):
                raise ConfigError(
                    f"Zip.rows has a row of {len(row)} values {tuple(row)!r} for {len(self.bindings)} bindings "
                    f"{tuple(self.bindings)!r}",
                    "give each row one value for each binding",
                )


@dataclasses.dataclass(frozen=True)
class LogGrid:
    """One binding over values that grow by a constant factor.

    Attributes:
      binding: a Gin name.
      low, high: the first and the last value, both positive.
      points: how many values.
      multiple_of: 0 keeps floats, to six significant digits; otherwise values are integers, rounded to a multiple of it.
    """

    binding: str
    low: float
    high: float
    points: int
    multiple_of: int = 0

    def __post_init__(self):
        if not 0 < self.low < self.high or self.points < 2 or self.multiple_of < 0:
            raise ConfigError(
                f"LogGrid of {self.binding!r} runs from {self.low!r} to {self.high!r} in {self.points!r} points",
                "give 0 < low < high, at least 2 points and multiple_of >= 0",
            )

    @property
    def values(self) -> tuple[float | int, ...]:
        """The values, in increasing order."""
        ratio = self.high / self.low
        exact = [self.low * ratio ** (i / (self.points - 1)) for i in range(self.points)]
        if self.multiple_of:
            return tuple(self.multiple_of * max(1, round(value / self.multiple_of)) for value in exact)
        return tuple(float(f"{value:.6g}") for value in exact)


@dataclasses.dataclass(frozen=True)
class Range:
    """An interval of one binding, for :class:`Sobol` and for a search.

    Attributes:
      binding: a Gin name.
      low, high: its ends.
      scale: "linear", or "log" for equal density per factor.
      multiple_of: 0 makes floats, to six significant digits; otherwise values are integers, multiples of it.
    """

    binding: str
    low: float
    high: float
    scale: Literal["linear", "log"] = "linear"
    multiple_of: int = 0

    def __post_init__(self):
        positive = self.scale == "linear" or self.low > 0
        whole = self.multiple_of == 0 or (self.multiple_of > 0 and self.steps[0] <= self.steps[1])
        if not (-math.inf < self.low < self.high < math.inf and positive and whole):
            raise ConfigError(
                f"Range of {self.binding!r} runs from {self.low!r} to {self.high!r} ({self.scale}, multiple_of={self.multiple_of!r})",
                "give low < high, both positive on a log scale, with a multiple of multiple_of between them",
            )

    @property
    def steps(self) -> tuple[int, int]:
        """The first and the last multiple of `multiple_of` inside, divided by it."""
        return math.ceil(self.low / self.multiple_of), math.floor(self.high / self.multiple_of)

    def at(self, share: float) -> float | int:
        """The value below which `share` of the interval lies, 0 <= share < 1; every integer has its own equal (or equal log) part."""
        if not self.multiple_of:
            return float(f"{self._between(self.low, self.high, share):.6g}")
        first, last = self.steps
        return self.multiple_of * min(last, max(first, round(self._between(first - 0.5, last + 0.5, share))))

    def _between(self, low: float, high: float, share: float) -> float:
        return low + share * (high - low) if self.scale == "linear" else low * (high / low) ** share


@dataclasses.dataclass(frozen=True)
class Sobol:
    """A scrambled Sobol sequence: points that fill a box evenly, whatever its dimension (Sobol 1967; scrambling: Owen 1995).

    Attributes:
      ranges: the sides of the box, one binding each.
      points: how many. A power of two fills the box most evenly, and a longer sequence of the same seed begins with the shorter one.
      seed: of the scrambling.
    """

    ranges: tuple[Range, ...]
    points: int
    seed: int = 0

    def __post_init__(self):
        _require_values("Sobol.ranges", "", self.ranges)
        require_kinds("Sobol.ranges", self.ranges, Range)
        if self.points < 1:
            raise ConfigError(f"Sobol.points is {self.points!r}", "give at least one point")

    @property
    def rows(self) -> tuple[tuple[float | int, ...], ...]:
        """One value for each range, a row for each point."""
        # scipy takes half a second to import, which only a sweep that uses it should pay.
        from scipy.stats import qmc

        powers = max(0, (self.points - 1).bit_length())
        shares_PxR = qmc.Sobol(len(self.ranges), scramble=True, rng=self.seed).random_base2(powers)[: self.points]
        return tuple(
            tuple(side.at(float(share)) for side, share in zip(self.ranges, row, strict=True)) for row in shares_PxR
        )


@dataclasses.dataclass(frozen=True)
class IsoFlop:
    """Budgets of compute times sizes: each size gets the tokens that spend the budget (Hoffmann et al. 2022, approach 2).

    tokens = budget / (training FLOPs per token of that model, under the named convention), rounded to whole batches; the record holds the FLOPs
    that this rounding really spends, and the tag `budget` the one aimed at.

    Attributes:
      budgets: training FLOPs.
      size_binding: the binding that sets the model's size.
      sizes: its values.
      tokens_binding: the binding that sets the horizon.
      convention: how FLOPs are counted; see :mod:`scaling.accounting.flops`.
      branches_binding: when given (`RunConfig.branches`), each size is one trunk with a branch for each of its budgets, instead of one run for each.
      min_tokens, max_tokens: points outside are left out of the sweep; 0 is no limit.
    """

    budgets: tuple[float, ...]
    size_binding: str
    sizes: tuple[Any, ...]
    tokens_binding: str
    convention: FlopsConvention = "6nd"
    branches_binding: str = ""
    min_tokens: int = 0
    max_tokens: int = 0

    def __post_init__(self):
        _require_values("IsoFlop.budgets", self.tokens_binding, self.budgets)
        _require_values("IsoFlop.sizes", self.size_binding, self.sizes)
        _require_positive("IsoFlop.budgets", self.budgets)


@dataclasses.dataclass(frozen=True)
class TokensPerParameter:
    """Ratios D/N times sizes: each size gets ratio x parameters tokens, rounded to whole batches.

    Attributes:
      ratios: tokens per parameter; about 20 is compute-optimal for Hoffmann et al. 2022, table 3.
      size_binding, sizes, tokens_binding, branches_binding, min_tokens, max_tokens: as for :class:`IsoFlop`.
      parameters: which count of parameters the ratio refers to.
    """

    ratios: tuple[float, ...]
    size_binding: str
    sizes: tuple[Any, ...]
    tokens_binding: str
    parameters: Literal["total", "non_embedding"] = "total"
    branches_binding: str = ""
    min_tokens: int = 0
    max_tokens: int = 0

    def __post_init__(self):
        _require_values("TokensPerParameter.ratios", self.tokens_binding, self.ratios)
        _require_values("TokensPerParameter.sizes", self.size_binding, self.sizes)
        _require_positive("TokensPerParameter.ratios", self.ratios)


@dataclasses.dataclass(frozen=True)
class FromRecords:
    """One binding set to what was best in an earlier sweep, for each size on its own.

    Runs of the earlier sweep that agree in the fields of `match` are one group. In each group the setting of lowest held-out loss is found (seeds
    averaged) and refined by the parabola in its logarithm through that point and its two neighbours. A point of this sweep takes the optimum of the
    group with its own fields. An optimum at the edge of what was tried is refused.

    Attributes:
      binding: what to set, such as "ScheduleConfig.peak".
      root: the directory of the earlier sweep's run directories.
      setting: the field of RunConfig that was tuned there, by its path; positive.
      match: fields of RunConfig that say which runs are one group and which of them a point belongs to.
      sweep: only runs of this sweep, by its name or id; empty takes all under the root.
      tags: only runs with these tags.
      domain: the held-out text that decides; empty is the primary domain of the records.
      power_law: gives a point whose group was not tuned what the power law through all tuned groups says; needs a single numeric field in `match`.
    """

    binding: str
    root: str
    setting: str = "schedule.peak"
    match: tuple[str, ...] = ("model.width",)
    sweep: str = ""
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    domain: str = ""
    power_law: bool = False

    def __post_init__(self):
        _require_listed("FromRecords.match", self.match)
        if not self.match or (self.power_law and len(self.match) != 1):
            raise ConfigError(
                f"FromRecords.match of {self.binding!r} is {tuple(self.match)!r}",
                'name the fields that say what was tuned apart, such as ("model.width",); exactly one with power_law',
            )


@dataclasses.dataclass(frozen=True)
class Chain:
    """Parts one after another in the place of one axis: each brings its own axes and tags, and the other axes multiply all of them.

    Attributes:
      parts: in order.
    """

    parts: tuple["Part", ...]

    def __post_init__(self):
        _require_values("Chain.parts", "", self.parts)
        require_kinds("Chain.parts", self.parts, Part)


PlainAxis = Grid | Zip | LogGrid | Sobol
TokenAxis = IsoFlop | TokensPerParameter
Axis = PlainAxis | TokenAxis | FromRecords | Chain


@dataclasses.dataclass(frozen=True)
class Part:
    """Points of one purpose.

    Attributes:
      axes: they multiply; the first varies slowest. At most one of them sets tokens from a size, and it sees the values of the plain ones; what is
        read from records comes last and sees them all.
      tags: strings that reach every record of the part, such as {"role": "fit"}.
    """

    axes: tuple[Axis, ...] = ()
    tags: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        _require_listed("Part.axes", self.axes)
        require_kinds("Part.axes", self.axes, *typing.get_args(Axis))
        token_axes = [axis for axis in self.axes if isinstance(axis, TokenAxis)]
        if len(token_axes) > 1:
            raise ConfigError(
                "a Part has two axes that set tokens from a size", "move one of them to a part of its own"
            )


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Runs that are planned, launched and shown together.

    Attributes:
      name: a readable name.
      root: the directory that holds the run directories; --root overrides it.
      parts: they follow each other.
      single_epoch: refuses a run that would see its training text twice; without it the plan says so in words.
      budget_flops: the most training FLOPs (6ND) that all runs may need together; 0 is no limit, here and below.
      budget_seconds: the most seconds that the plan may be predicted to take on its engine.
      budget_cost: the most that it may be predicted to cost there, in the engine's currency.
    """

    name: str
    root: str
    parts: tuple[Part, ...]
    single_epoch: bool = False
    budget_flops: float = 0.0
    budget_seconds: float = 0.0
    budget_cost: float = 0.0

    def __post_init__(self):
        _require_listed("Sweep.parts", self.parts)
        if not self.parts:
            raise ConfigError(f"Sweep.parts of {self.name!r} is empty", "name at least one part")
        require_kinds("Sweep.parts", self.parts, Part)
        for field in ("budget_flops", "budget_seconds", "budget_cost"):
            if not 0 <= getattr(self, field) < math.inf:
                raise ConfigError(
                    f"Sweep.{field} is {getattr(self, field)!r}", "give a positive number, or 0 for no limit"
                )


def require_kinds(field: str, values: tuple[Any, ...], *kinds: type) -> None:
    """Refuses a value of another kind. Raises ConfigError naming it and the kinds."""
    for value in values:
        if not isinstance(value, kinds):
            raise ConfigError(
                f"{field} holds {value!r}", f"write @NAME() for each, of {', '.join(kind.__name__ for kind in kinds)}"
            )


def _require_values(field: str, binding: str, values: tuple[Any, ...]) -> None:
    _require_listed(field, values)
    if not values:
        named = f" (binding {binding!r})" if binding else ""
        raise ConfigError(f"{field}{named} is empty", "give at least one value or remove the axis")


def _require_listed(field: str, values: Any) -> None:
    """A word is a sequence too, of letters, which nobody means."""
    if not isinstance(values, tuple | list):
        raise ConfigError(f"{field} is {values!r}, not several values", "write them in parentheses: (FIRST, SECOND)")


def _require_positive(field: str, values: tuple[float, ...]) -> None:
    for value in values:
        if not value > 0:
            raise ConfigError(f"{field} holds {value!r}", "give positive numbers")
