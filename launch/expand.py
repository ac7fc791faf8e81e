"""From a sweep to its points: which bindings and tags each planned run has."""

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from launch import tuned
from launch.sweep_config import (
    Axis,
    Chain,
    FromRecords,
    Grid,
    IsoFlop,
    LogGrid,
    PlainAxis,
    Sobol,
    Sweep,
    TokenAxis,
    TokensPerParameter,
    Zip,
)
from scaling import gin_files
from scaling.accounting import flops, parameters
from scaling.errors import ConfigError
from scaling.run_config import RunConfig

# While a model's FLOPs are counted its horizon is not known yet; any horizon longer than a batch serves.
_PROVISIONAL_TOKENS = 1 << 40


@dataclasses.dataclass(frozen=True)
class Point:
    """One planned run, before its configuration is built.

    Attributes:
      part: position of its part in the sweep, from 0.
      bindings: from Gin name to value, laid over the files.
      tags: what the record will carry.
      derived: the names among `bindings` whose values follow from the others and the tags.
    """

    part: int
    bindings: Mapping[str, Any]
    tags: Mapping[str, str]
    derived: frozenset[str] = frozenset()

    @property
    def label(self) -> str:
        """A short name for tables: `WIDTH=64 seed=1`."""
        return _assignments({name: value for name, value in self.bindings.items() if name not in self.derived})

    def __str__(self) -> str:
        return f"part {self.part + 1} ({_assignments(self.bindings)})"


class Reference(str):
    """A Gin reference such as `@ladder.llama()`, which must reach Gin without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def points(sweep: Sweep) -> list[Point]:
    """Every point of the sweep, in the order of its parts and axes.

    Gin must hold the files of the sweep (see :func:`scaling.gin_files.parse`).

    Raises:
      ConfigError: a binding is unknown or set twice, or a point cannot be built.
      DataError: an axis reads records, and there are none.
    """
    found: list[Point] = []
    expansion = _Expansion()
    for index, part in enumerate(sweep.parts):
        of_part = list(expansion.points(Point(index, {}, dict(part.tags)), part.axes))
        if not of_part:
            raise ConfigError(
                f"part {index + 1} of the sweep {sweep.name!r} has no point: min_tokens and max_tokens leave all of them out",
                "widen the limits or change the budgets",
            )
        found.extend(of_part)
    return found


def build(point: Point) -> gin_files.Loaded[RunConfig]:
    """The configuration of a point.

    Raises:
      ConfigError: naming the point.
    """
    with _errors_name(point), gin_files.overridden(point.bindings):
        loaded = gin_files.build(RunConfig)
    _refuse_unused_macros(point, loaded.bindings)
    return loaded


@contextlib.contextmanager
def _errors_name(point: Point) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{point}: {error.what}", error.remedy) from error


class _Expansion:
    """Lays axes over a point; the records that an axis reads are read once."""

    def __init__(self):
        self._optima: dict[int, tuned.Optima] = {}

    def points(self, point: Point, axes: Sequence[Axis]) -> Iterator[Point]:
        """The product of the axes, the first of a stage varying slowest."""
        if not axes:
            yield point
            return
        axis, *rest = sorted(axes, key=_stage)
        for laid in self._laid(point, axis, rest):
            yield from self.points(*laid)

    def _laid(self, point: Point, axis: Axis, rest: Sequence[Axis]) -> Iterator[tuple[Point, Sequence[Axis]]]:
        """The point with each value of an axis, and the axes that are left."""
        match axis:
            case Chain():
                for part in axis.parts:
                    yield _with_tags(point, part.tags), [*part.axes, *rest]
            case IsoFlop() | TokensPerParameter():
                if any(isinstance(other, TokenAxis) for other in rest):
                    raise ConfigError(
                        f"{point}: two axes set tokens from a size", "move one of them to a part of its own"
                    )
                yield from ((found, rest) for found in _token_points(point, axis))
            case FromRecords():
                # Not a derived binding: a plan should show what was read.
                yield _with_bindings(point, {axis.binding: self._optimum(axis, point)}), rest
            case _:
                yield from ((_with_bindings(point, setting), rest) for setting in _settings(axis))

    def _optimum(self, axis: FromRecords, point: Point) -> float:
        if id(axis) not in self._optima:
            self._optima[id(axis)] = tuned.read(axis)
        with _errors_name(point), gin_files.overridden(point.bindings):
            return self._optima[id(axis)].of(gin_files.build_config(RunConfig))


def _stage(axis: Axis) -> int:
    """Tokens depend on the size, and so on every plain axis; what records say is looked up with all else known."""
    if isinstance(axis, FromRecords):
        return 2
    return 1 if isinstance(axis, TokenAxis) else 0


def _settings(axis: PlainAxis) -> Iterator[dict[str, Any]]:
    """The bindings of each value of an axis."""
    match axis:
        case Grid() | LogGrid():
            yield from ({axis.binding: value} for value in axis.values)
        case Zip():
            yield from (dict(zip(axis.bindings, row, strict=True)) for row in axis.rows)
        case Sobol():
            bindings = [side.binding for side in axis.ranges]
            yield from (dict(zip(bindings, row, strict=True)) for row in axis.rows)


def _with_bindings(point: Point, bindings: Mapping[str, Any]) -> Point:
    for name in bindings:
        if name in point.bindings:
            raise ConfigError(f"two axes of part {point.part + 1} set {name!r}", "remove one of the axes")
    values = {name: _gin_value(value) for name, value in bindings.items()}
    return dataclasses.replace(point, bindings={**point.bindings, **values})


def _with_derived(point: Point, bindings: Mapping[str, Any], tags: Mapping[str, str]) -> Point:
    bound = _with_tags(_with_bindings(point, bindings), tags)
    return dataclasses.replace(bound, derived=point.derived | frozenset(bindings))


def _with_tags(point: Point, tags: Mapping[str, str]) -> Point:
    for name in tags:
        if name in point.tags:
            raise ConfigError(f"part {point.part + 1} sets the tag {name!r} twice", "rename one of the two")
    return dataclasses.replace(point, tags={**point.tags, **tags})


def _gin_value(value: Any) -> Any:
    return Reference(value) if isinstance(value, str) and value[:1] in ("@", "%") else value


def _token_points(point: Point, axis: TokenAxis) -> Iterator[Point]:
    """Sizes times targets, or sizes with the targets as branches."""
    for size in axis.sizes:
        sized = _with_bindings(point, {axis.size_binding: size})
        targets = [
            (tags, wanted)
            for tags, wanted in _targets(sized, axis)
            if wanted >= axis.min_tokens and (not axis.max_tokens or wanted <= axis.max_tokens)
        ]
        if axis.branches_binding and targets:
            yield _trunk_point(sized, axis, [wanted for _, wanted in targets])
        elif not axis.branches_binding:
            for tags, wanted in targets:
                tokens, _ = _whole_batches(sized, axis, wanted)
                yield _with_derived(sized, {axis.tokens_binding: tokens}, tags)


def _targets(point: Point, axis: TokenAxis) -> list[tuple[dict[str, str], float]]:
    """For each budget or ratio: its tag and the tokens that it asks for, before rounding."""
    config = _built(point, axis, _PROVISIONAL_TOKENS)
    if isinstance(axis, IsoFlop):
        per_token = flops.training_flops_per_token(config.model, config.data.sequence_length)[axis.convention]
        return [({"budget": f"{budget:.6g}"}, budget / per_token) for budget in axis.budgets]
    count = getattr(parameters.count_parameters(config.model), axis.parameters)
    return [({"tokens_per_parameter": f"{ratio:.6g}"}, ratio * count) for ratio in axis.ratios]


def _trunk_point(point: Point, axis: TokenAxis, wanted: list[float]) -> Point:
    longest, batch_tokens = _whole_batches(point, axis, max(wanted))
    branches = {batch_tokens * max(1, round(tokens / batch_tokens)) for tokens in wanted}
    return _with_derived(point, {axis.tokens_binding: longest, axis.branches_binding: tuple(sorted(branches))}, {})


def _whole_batches(point: Point, axis: TokenAxis, wanted: float) -> tuple[int, int]:
    """The whole number of batches nearest to `wanted` tokens, in tokens, and the tokens of a batch.

    The batch may itself follow the horizon by a rule, so this is a fixed point.
    """
    tokens = round(wanted)
    for _ in range(10):
        batch_tokens = _built(point, axis, tokens).batch_tokens
        rounded = batch_tokens * max(1, round(wanted / batch_tokens))
        if rounded == tokens:
            return tokens, batch_tokens
        tokens = rounded
    raise ConfigError(
        f"{point}: no horizon near {wanted:.0f} tokens is a whole number of the batches that it implies",
        "bind RunConfig.batch_size, or change the budget a little",
    )


def _built(point: Point, axis: TokenAxis, tokens: int) -> RunConfig:
    bindings: dict[str, Any] = {axis.tokens_binding: tokens}
    if axis.branches_binding:
        bindings[axis.branches_binding] = ()
    draft = _with_bindings(point, bindings)
    # Without the texts, of which only finished points have need.
    with _errors_name(draft), gin_files.overridden(draft.bindings):
        return gin_files.build_config(RunConfig)


def _refuse_unused_macros(point: Point, config_text: str) -> None:
    """An axis over a macro that nothing refers to would change nothing: its name is misspelt."""
    used = set(re.findall(r"%(?:[\w./]*/)?([A-Za-z_]\w*)", config_text))
    for name in point.bindings:
        if "." not in name and name not in used:
            raise ConfigError(
                f"{point}: the macro {name!r} is an axis, but nothing uses it",
                f"check its spelling; the macros in use are {sorted(used)}",
            )


def _assignments(bindings: Mapping[str, Any]) -> str:
    return " ".join(f"{name.rpartition('.')[2]}={_shown(value)}" for name, value in bindings.items()) or "base"


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list) and len(value) > 1:
        return f"{_shown(value[0])}..{_shown(value[-1])}"
    if isinstance(value, tuple | list):
        return ",".join(map(_shown, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
