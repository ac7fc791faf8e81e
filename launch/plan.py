"""From points to a plan: run ids, sizes, costs, and groups that share a compiled step."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

from launch import expand, memory, states
from launch.rates import Rates
from launch.sweep_config import Sweep
from scaling import gin_files, run_stores
from scaling.accounting import flops, parameters
from scaling.data.store import TokenStore
from scaling.errors import ConfigError, DataError
from scaling.run_config import RunConfig, canonical_json
from scaling.run_directory import Spec, specs_of


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One point with all that is known before it is trained.

    Attributes:
      point: its bindings and tags.
      loaded: its configuration and Gin text.
      unit: its run directory, or those of a trunk and its branches.
      parameters: total parameters.
      flops: training FLOPs by convention, for the whole horizon as if trained alone.
      own_flops: the 6ND FLOPs of everything that the unit trains.
      seconds: predicted, evaluation included and compilation not.
      memory_bytes: predicted peak of one device; see :mod:`launch.memory`.
      epochs: how often the longest horizon passes over the training text.
      group: name of the group that shares its compiled step.
      population: equal for runs of a group that may train side by side (:mod:`scaling.training.population.grouping`).
    """

    point: expand.Point
    loaded: gin_files.Loaded[RunConfig]
    unit: states.Unit
    parameters: int
    flops: Mapping[str, float]
    own_flops: float
    seconds: float
    memory_bytes: float
    epochs: float
    group: str
    population: str

    @property
    def run_id(self) -> str:
        """The run, or the trunk."""
        return self.unit.run_id

    @property
    def label(self) -> str:
        """A short name."""
        return self.point.label

    @property
    def config(self) -> RunConfig:
        """The run's configuration."""
        return self.loaded.config


@dataclasses.dataclass(frozen=True)
class Plan:
    """All runs of a sweep.

    Attributes:
      sweep: where they come from.
      sweep_id: the sweep's name with a hash of its runs.
      root: the directory of the run directories.
      runs: in the order of the sweep.
      warnings: what the user should know, in words.
    """

    sweep: Sweep
    sweep_id: str
    root: str
    runs: tuple[PlannedRun, ...]
    warnings: tuple[str, ...]

    @property
    def models(self) -> int:
        """Finished models that the sweep ends with."""
        return sum(len(run.unit.models) for run in self.runs)


def make_plan(sweep: Sweep, root: str, rates: Rates) -> Plan:
    """Expands a sweep and checks every run of it; writes nothing.

    Gin must hold the files of the sweep (see :func:`scaling.gin_files.parse`).

    Args:
      sweep: what to expand.
      root: the directory of the run directories.
      rates: how long training takes.

    Raises:
      ConfigError: two points are one run, a point cannot be built, or `single_epoch` is set and a run needs more text than there is.
      DataError: a token store is missing or altered.
    """
    stores = _Stores()
    drafts = [(point, expand.build(point)) for point in expand.points(sweep)]
    planned = [_planned(point, loaded, root, stores, rates) for point, loaded in drafts]
    _refuse_duplicates(planned)
    sweep_id = f"{sweep.name}-{_digest(sorted(run.unit.run_id for run in planned))}"
    named = tuple(
        dataclasses.replace(run, unit=_unit(run.point, run.config, root, stores, sweep_id)) for run in planned
    )
    return Plan(sweep, sweep_id, root, named, (*_epoch_warnings(sweep, named), *_tag_warnings(named)))


class _Stores:
    """Opens each token store once."""

    def __init__(self):
        self._opened: dict[str, TokenStore] = {}

    def open(self, path: str) -> TokenStore:
        if path not in self._opened:
            self._opened[path] = TokenStore.open(path)
        return self._opened[path]


def _planned(
    point: expand.Point, loaded: gin_files.Loaded[RunConfig], root: str, stores: _Stores, rates: Rates
) -> PlannedRun:
    config = loaded.config
    _check_stores(point, config, stores)
    unit = _unit(point, config, root, stores, sweep_id="")
    total = parameters.count_parameters(config.model).total
    per_token = flops.training_flops_per_token(config.model, config.data.sequence_length)
    own_tokens = sum(states.own_tokens(spec) for spec in unit.specs)
    horizon = config.steps * config.batch_tokens
    # Evaluation is a forward pass, a third of a training step, over all held-out text for each finished model.
    work_tokens = own_tokens + len(unit.models) * _held_out_tokens(config, stores) / 3
    group = _group_name(config)
    windows = stores.open(config.data.store).split(config.data.split).num_windows(config.data.sequence_length)
    return PlannedRun(
        point=point,
        loaded=loaded,
        unit=unit,
        parameters=total,
        flops={convention: value * horizon for convention, value in per_token.items()},
        own_flops=per_token["6nd"] * own_tokens,
        seconds=work_tokens * rates.seconds_per_token(total, per_token["6nd_head_attention"]),
        memory_bytes=memory.run_bytes(config),
        epochs=horizon / (windows * config.data.sequence_length),
        group=group,
        population=_population(group, unit.specs[0]),
    )


def _held_out_tokens(config: RunConfig, stores: _Stores) -> int:
    """Tokens that one evaluation at the end reads."""
    tokens = 0
    for domain in config.evaluation.domains:
        there = stores.open(domain.store).split(domain.split).num_tokens
        tokens += min(there, domain.max_tokens) if domain.max_tokens else there
    return tokens


def _unit(point: expand.Point, config: RunConfig, root: str, stores: _Stores, sweep_id: str) -> states.Unit:
    hashes = run_stores.hashes_of(config, stores.open)
    specs = specs_of(config, hashes, name=point.label, sweep_id=sweep_id, tags=point.tags)
    return states.Unit(root, tuple(specs))


def _check_stores(point: expand.Point, config: RunConfig, stores: _Stores) -> None:
    try:
        run_stores.check(config, stores.open)
    except DataError as error:
        raise DataError(f"{point}: {error.what}", error.remedy) from error


def _refuse_duplicates(runs: Sequence[PlannedRun]) -> None:
    first: dict[str, PlannedRun] = {}
    for run in runs:
        known = first.setdefault(run.unit.run_id, run)
        if known is not run:
            raise ConfigError(
                f"{known.point} and {run.point} are the same run {run.unit.run_id}",
                "remove one of the points, or give it another seed",
            )


def _epoch_warnings(sweep: Sweep, runs: Sequence[PlannedRun]) -> tuple[str, ...]:
    repeated = [run for run in runs if run.epochs > 1]
    if not repeated:
        return ()
    worst = max(repeated, key=lambda run: run.epochs)
    store = worst.config.data.store
    if sweep.single_epoch:
        raise ConfigError(
            f"{worst.point} sees the training text of {store} {worst.epochs:.2f} times, and Sweep.single_epoch is set",
            "lower its tokens, prepare more text, or unset Sweep.single_epoch",
        )
    return (
        f"{len(repeated)} of {len(runs)} runs see their training text more than once, up to {worst.epochs:.2f} times ({worst.point}): "
        "laws for fresh text do not describe them",
    )


def _tag_warnings(runs: Sequence[PlannedRun]) -> tuple[str, ...]:
    """A record keeps the tags with which its run was trained, and fits go by those."""
    found = [
        (run, record["tags"])
        for run in runs
        for directory in run.unit.directories
        if (record := directory.record()) is not None and record["tags"] != run.point.tags
    ]
    if not found:
        return ()
    run, tags = found[0]
    return (
        f"{len(found)} records have other tags than this sweep gives, and keep theirs ({run.point}: {tags} instead of {dict(run.point.tags)}); "
        "give this sweep a root of its own if its fit is to go by its tags",
    )


def _group_name(config: RunConfig) -> str:
    """A readable name with a hash of everything that shapes the compiled step."""
    # Weight decay, like the learning rate, is an input of the step.
    optimizer = dataclasses.replace(config.optimizer, weight_decay=0.0)
    parts = (config.model, config.data, config.evaluation, optimizer, config.execution)
    shape = [*map(gin_files.to_dict, parts), config.batch_size, config.compute_dtype]
    model = config.model
    size = f"{model.family}-{model.width}x{model.depth}-b{config.batch_size}x{config.data.sequence_length}"
    return f"{size}-{_digest(shape)[:4]}"


def _population(group: str, spec: Spec) -> str:
    """A hash of what members of a population have in common beside their group: kind, stores, first and last step."""
    stores = [spec.stores.train, *spec.stores.held_out]
    return _digest([group, spec.kind, stores, spec.first_step, spec.last_step])


def _digest(value: object) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:8]
