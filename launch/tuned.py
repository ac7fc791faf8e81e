"""What an earlier sweep says is the best setting, such as the learning rate of each size, read from its run directories."""

import collections
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from launch.sweep_config import FromRecords
from scaling import gin_files
from scaling.errors import ConfigError, DataError
from scaling.run_config import RunConfig, canonical_json
from scaling.run_directory import RunDirectory

# Fields in which the runs of one group may differ: what is tuned is added, and what a run's identity leaves out.
_FREE = ("seed", "execution", "checkpoint", "branches", "data.store", "data.placement")

_Group = tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Optima:
    """The best setting of each group of runs.

    Attributes:
      axis: what was read.
      best: from the group's values of `match` to its optimum.
    """

    axis: FromRecords
    best: Mapping[_Group, float]

    def of(self, config: RunConfig) -> float:
        """The optimum for a run, to four significant digits.

        Raises:
          ConfigError: no group of the records has the run's values of `match`.
        """
        group = _group(gin_files.to_dict(config), self.axis)
        if group in self.best:
            return self.best[group]
        if self.axis.power_law and len(self.best) > 1:
            return self._on_the_line(group[0])
        known = ", ".join(_named(self.axis, known) for known in sorted(self.best))
        raise ConfigError(
            f"the records under {self.axis.root} tune {self.axis.setting} for {known}, and not for {_named(self.axis, group)}",
            "tune it there too, or set FromRecords.power_law with two tuned values",
        )

    def _on_the_line(self, size: float) -> float:
        """log(optimum) = intercept + exponent log(size), least squares over the groups."""
        sizes_G = np.log([group[0] for group in self.best])
        exponent, intercept = np.polyfit(sizes_G, np.log(list(self.best.values())), 1)
        return _rounded(math.exp(intercept + exponent * math.log(size)))


def read(axis: FromRecords) -> Optima:
    """The optima of every group under the root of an axis.

    Raises:
      DataError: there is no recorded run that the axis asks for, or one of them has no record yet.
      ConfigError: runs of a group differ in more than the setting and the seed, or its optimum lies at the edge of what was tried.
    """
    groups: dict[_Group, list[tuple[dict[str, Any], float]]] = collections.defaultdict(list)
    for config, loss in _runs(axis):
        groups[_group(config, axis)].append((config, loss))
    if not groups:
        raise DataError(
            f"{axis.root} holds no recorded run"
            + (f" of the sweep {axis.sweep!r}" if axis.sweep else "")
            + _with_tags(axis),
            "train the earlier sweep first, or correct FromRecords.root, sweep and tags",
        )
    return Optima(axis, {group: _optimum(axis, group, runs) for group, runs in groups.items()})


def _runs(axis: FromRecords) -> Iterator[tuple[dict[str, Any], float]]:
    """Configuration and held-out loss of each run; infinite where it diverged."""
    folder = epath.Path(axis.root)
    unfinished = 0
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        spec = json.loads((path / "spec.json").read_text()) if (path / "spec.json").exists() else None
        if spec is None or not _is_asked_for(spec, axis):
            continue
        record = RunDirectory(path).record()
        if record is None:
            unfinished += 1
        else:
            diverged = record["status"] == "diverged"
            yield spec["config"], math.inf if diverged else _loss(record, axis, path)
    if unfinished:
        raise DataError(
            f"{unfinished} runs under {axis.root} have no record yet, so what is best there is not known",
            f"finish them (python -m launch.resume --root={axis.root}), or narrow FromRecords.sweep or tags",
        )


def _is_asked_for(spec: Mapping[str, Any], axis: FromRecords) -> bool:
    """Trunks have no held-out loss; their branches have."""
    of_sweep = not axis.sweep or axis.sweep in (spec["sweep_id"], spec["sweep_id"].rpartition("-")[0])
    return of_sweep and spec["kind"] != "trunk" and axis.tags.items() <= spec["tags"].items()


def _loss(record: Mapping[str, Any], axis: FromRecords, path: epath.Path) -> float:
    domain = axis.domain or record["primary_domain"]
    if domain not in record["losses"]:
        raise ConfigError(
            f"FromRecords.domain is {domain!r}, and {path} was measured on {', '.join(record['losses'])}",
            "name one of those",
        )
    return float(record["losses"][domain]["nats_per_token"])


def _group(config: Mapping[str, Any], axis: FromRecords) -> _Group:
    return tuple(_field(config, path, "match") for path in axis.match)


def _field(config: Mapping[str, Any], path: str, of: str) -> Any:
    value: Any = config
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            known = ", ".join(value) if isinstance(value, Mapping) else "nothing"
            raise ConfigError(
                f"FromRecords.{of} names {path!r}, which RunConfig does not have", f"at {name!r} there are {known}"
            )
        value = value[name]
    return tuple(value) if isinstance(value, list) else value


def _optimum(axis: FromRecords, group: _Group, runs: Sequence[tuple[dict[str, Any], float]]) -> float:
    losses: dict[float, list[float]] = collections.defaultdict(list)
    for config, loss in runs:
        losses[float(_field(config, axis.setting, "setting"))].append(loss)
    _refuse_other_differences(axis, group, [config for config, _ in runs])
    tried = sorted(losses)
    means = [sum(losses[setting]) / len(losses[setting]) for setting in tried]
    best = min(range(len(tried)), key=means.__getitem__)
    if not 0 < best < len(tried) - 1 or not math.isfinite(means[best]):
        beyond = (
            "diverged everywhere" if not math.isfinite(means[best]) else f"is best at {tried[best]:.4g}, at the edge"
        )
        raise ConfigError(
            f"{axis.setting} of {_named(axis, group)} under {axis.root} {beyond} of the {len(tried)} values tried "
            f"({tried[0]:.4g} to {tried[-1]:.4g})",
            f"train that group at {'smaller' if best == 0 else 'larger'} values too, until the loss rises on both sides",
        )
    return _rounded(vertex(tried[best - 1 : best + 2], means[best - 1 : best + 2]))


def vertex(settings: Sequence[float], losses: Sequence[float]) -> float:
    """Where the parabola through three points, in the logarithm of the setting, is least.

    Args:
      settings: three positive numbers, increasing.
      losses: theirs, the middle one being the least; a neighbour that diverged is infinite, and then the middle setting is the answer.
    """
    low, middle, high = np.log(settings)
    left, least, right = losses
    # The parabola's slopes between neighbours; it is flat where they cross zero.
    rise, fall = (right - least) / (high - middle), (least - left) / (middle - low)
    if not math.isfinite(rise - fall) or rise == fall:
        return float(settings[1])
    return math.exp((low + middle) / 2 - fall * (high - low) / 2 / (rise - fall))


def _refuse_other_differences(axis: FromRecords, group: _Group, configs: Sequence[dict[str, Any]]) -> None:
    """Runs of other horizons or models have other losses, and would decide in place of the setting."""
    free = (*_FREE, axis.setting)
    flat = [{path: value for path, value in _flattened(config) if not path.startswith(free)} for config in configs]
    differing = sorted({path for one in flat for path in one | flat[0] if one.get(path) != flat[0].get(path)})
    if differing:
        raise ConfigError(
            f"the runs of {_named(axis, group)} under {axis.root} differ in {', '.join(differing[:5])} beside {axis.setting} and the seed",
            "narrow them by FromRecords.sweep or tags, or add those fields to FromRecords.match",
        )


def _flattened(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", canonical_json(value)


def _named(axis: FromRecords, group: _Group) -> str:
    return " ".join(f"{path}={value}" for path, value in zip(axis.match, group, strict=True))


def _with_tags(axis: FromRecords) -> str:
    return f" with the tags {dict(axis.tags)}" if axis.tags else ""


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
