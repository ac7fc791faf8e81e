"""A plan of runs as a Gin file that `launch.sweep` trains: sizes and tokens by their bindings, all else by the base file's rules.

A plan names N and D; a sweep file names a size that a model family has and a whole number of batches. So the candidates are moved to models that
exist before the plan chooses among them, and what is written is exactly what was chosen. Nothing of `launch` is imported: the file is text.
"""

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from etils import epath

from analysis.laws.planning.candidates import Candidates
from analysis.laws.planning.run_cost import RunCost
from scaling import gin_files
from scaling.accounting.parameters import count_parameters
from scaling.errors import ConfigError, OutputError
from scaling.run_config import RunConfig

if TYPE_CHECKING:
    from analysis.laws.planning.proposal import Plan, ProposedRun
    from analysis.laws.tables.table import RunsTable

# While a model is counted its horizon does not matter; any that is longer than a batch serves.
_PROVISIONAL_TOKENS = 1 << 40
# Sizes grow by 8 below 256, and by powers of two from there, a thirty-second to a sixteenth of themselves.
_STEP, _FINE_BITS, _LARGEST_SIZE = 8, 8, 1 << 16
_SAME_RUN = 0.01

_TEXT = """# Proposed by: {command}
#
#   python -m launch.sweep --gin_file={path} --dry_run      (the plan and its cost)
from __gin__ import dynamic_registration

from launch import sweep_config

include "{base_file}"

sweep_config.Sweep.name = "{name}"
sweep_config.Sweep.root = "{root}"
sweep_config.Sweep.parts = (@planned/sweep_config.Part(),)
planned/sweep_config.Part.axes = (@planned/sweep_config.Zip(),)
planned/sweep_config.Part.tags = {{"role": "fit"}}
planned/sweep_config.Zip.bindings = ({bindings})
planned/sweep_config.Zip.rows = (
{rows}
)
"""


@dataclasses.dataclass(frozen=True)
class BaseRun:
    """The run file that a sweep lays its axes over, and the names by which it can be changed.

    Attributes:
      file: a Gin file of a run, as it will be included.
      size_binding: the binding that sets the model's size.
      tokens_binding: the binding that sets the horizon.
      seed_binding: the binding that sets the seed.
    """

    file: str
    size_binding: str = "WIDTH"
    tokens_binding: str = "TOKENS"
    seed_binding: str = "RunConfig.seed"

    def __post_init__(self):
        gin_files.parse(RunConfig, [self.file])
        used = gin_files.build(RunConfig).bindings
        for flag in ("size_binding", "tokens_binding"):
            name = getattr(self, flag)
            if "." not in name and f"%{name}" not in used:
                raise ConfigError(
                    f"--{flag}={name}: nothing in {self.file} uses that macro", "name a binding of the base file"
                )

    def config(self, size: Any, tokens: int = _PROVISIONAL_TOKENS) -> RunConfig:
        """The run of a size and a horizon. Raises ConfigError where the file cannot make it."""
        with gin_files.overridden({self.size_binding: size, self.tokens_binding: tokens}):
            config = gin_files.build_config(RunConfig)
        if config.branches:
            raise ConfigError(f"{self.file} binds RunConfig.branches", "give a base file whose run has no branches")
        if config.tokens != tokens:
            raise ConfigError(
                f"{self.tokens_binding!r} does not set RunConfig.tokens in {self.file}",
                "name the binding that does by --tokens_binding",
            )
        return config

    def whole_batches(self, size: Any, wanted: float) -> int:
        """The whole number of batches nearest to `wanted` tokens, in tokens; the batch may itself follow the horizon by a rule.

        Raises:
          ConfigError: there is none near it.
        """
        tokens = round(wanted)
        for _ in range(10):
            batch_tokens = self.config(size, tokens).batch_tokens
            rounded = batch_tokens * max(1, round(wanted / batch_tokens))
            if rounded == tokens:
                return tokens
            tokens = rounded
        raise ConfigError(
            f"{self.file} has no whole number of batches near {wanted:.0f} tokens", "bind RunConfig.batch_size"
        )


@dataclasses.dataclass(frozen=True)
class RealCandidates:
    """Candidates that a base file can train.

    Attributes:
      base: the run file.
      candidates: one for each of `sizes`.
      sizes: values of the size binding.
    """

    base: BaseRun
    candidates: Candidates
    sizes: tuple[Any, ...]

    def size_of(self, run: "ProposedRun") -> Any:
        """The value of the size binding of a run that was chosen among these."""
        params = np.round(np.exp(self.candidates.log_params))
        return self.sizes[int(np.flatnonzero(params == run.params)[0])]


def real(
    base: BaseRun, wanted: Candidates, price: RunCost, budget: float, parameters: str, sizes: Sequence[Any] = ()
) -> RealCandidates:
    """The models of a base file nearest to candidates, each once.

    Args:
      base: the run file.
      wanted: N and D as a grid names them.
      price: of a run.
      budget: in its unit; what costs more is left out.
      parameters: how the records count N: "total" or "non_embedding".
      sizes: values of the size binding to choose from; by default whole numbers, multiples of 8, that make a model.

    Raises:
      ConfigError: a size cannot be built, or none is within the budget.
    """
    largest = float(wanted.log_params.max())
    ladder = {size: _log_params(base, size, parameters) for size in sizes} or _ladder(base, largest, parameters)
    ladder_sizes, ladder_R = list(ladder), np.array(list(ladder.values()))
    found: dict[tuple[Any, int], tuple[float, float]] = {}
    for log_n, log_d in zip(wanted.log_params, wanted.log_tokens, strict=True):
        nearest = int(np.abs(ladder_R - log_n).argmin())
        size = ladder_sizes[nearest]
        tokens = base.whole_batches(size, math.exp(log_d))
        found[size, tokens] = (float(ladder_R[nearest]), math.log(tokens))
    n_J, d_J = (np.array(column) for column in zip(*found.values(), strict=True))
    cost_J = price(n_J, d_J)
    kept = [int(j) for j in np.flatnonzero(cost_J <= budget)]
    if not kept:
        raise ConfigError(
            f"the budget of {budget:.3g} {price.unit} affords no run of {base.file}: the cheapest costs {cost_J.min():.3g}",
            "raise the budget, or name smaller values by --sizes",
        )
    keys = list(found)
    return RealCandidates(
        base,
        Candidates(n_J[kept], d_J[kept], cost_J[kept], tuple(f"{base.size_binding}={keys[j][0]}" for j in kept)),
        tuple(keys[j][0] for j in kept),
    )


def text(plan: "Plan", made: RealCandidates, path: str, root: str, command: str) -> str:
    """The sweep file of a plan.

    Args:
      plan: chosen among `made.candidates`.
      made: what it was chosen from.
      path: where the text will lie; its stem is the sweep's name.
      root: the directory of the run directories.
      command: that proposed the plan.
    """
    base = made.base
    bindings = (base.size_binding, base.tokens_binding, base.seed_binding)
    seeds = Seeds(plan.knowledge.table, base)
    rows = [(made.size_of(run), run.tokens, seeds.next(run)) for run in plan.runs]
    name = epath.Path(path).stem
    return _TEXT.format(
        command=command, path=path, base_file=base.file, name=name, root=root,
        bindings=", ".join(f'"{binding}"' for binding in bindings), rows="\n".join(f"    {row!r}," for row in rows),
    )  # fmt: skip


def write(path: str, content: str) -> None:
    """Writes a sweep file.

    Raises:
      OutputError: it cannot be written there.
    """
    target = epath.Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise OutputError(f"--sweep_file={path} cannot be written", "choose another path") from error


class Seeds:
    """A repeated run needs a seed that none like it has had."""

    def __init__(self, table: "RunsTable", base: BaseRun):
        """Reads which runs there are.

        Args:
          table: the records.
          base: whose seed a new point gets; Gin must hold its file.
        """
        raw = table.raw
        self._params = raw[f"params_{table.conventions.parameters}"].to_numpy(np.float64)
        self._tokens = raw["tokens"].to_numpy(np.float64)
        self._seeds = raw["seed"].fillna(0).to_numpy(np.float64)
        self._base = base
        self._given: collections.Counter[tuple[float, float]] = collections.Counter()

    def next(self, run: "ProposedRun") -> int:
        """The base file's seed for a new point, and one above every seed used for a point that was made already."""
        like = np.isclose(self._params, run.params, rtol=_SAME_RUN) & np.isclose(
            self._tokens, run.tokens, rtol=_SAME_RUN
        )
        first = int(self._seeds[like].max()) + 1 if like.any() else gin_files.build_config(RunConfig).seed
        self._given[run.params, run.tokens] += 1
        return first + self._given[run.params, run.tokens] - 1


def _ladder(base: BaseRun, largest: float, parameters: str) -> Mapping[int, float]:
    """ln N of every size that makes a model, up to the first that is beyond the largest wanted."""
    found: dict[int, float] = {}
    refusal = ConfigError(f"{base.size_binding!r} makes no model of {base.file}", "name values that do by --sizes")
    size = _STEP
    while size < _LARGEST_SIZE and max(found.values(), default=0.0) <= largest:
        try:
            found[size] = _log_params(base, size, parameters)
        except ConfigError as error:
            # A width that heads do not divide, for instance: the family has no such model.
            refusal = error
        size += _STEP << max(0, size.bit_length() - _FINE_BITS)
    if not found:
        raise refusal
    return found


def _log_params(base: BaseRun, size: Any, parameters: str) -> float:
    return math.log(getattr(count_parameters(base.config(size).model), parameters))
