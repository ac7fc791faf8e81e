"""Best-of-n: what choosing among n samples by a proxy does to the gold score, for every n at once and without bias."""

import dataclasses
from typing import Any

import numpy as np

from align.accounting.work import Work
from align.models import policy as policies
from align.models import proxy_description
from align.models.parents import ParentConfig, find
from align.stage_config import TrainingConfig
from align.statistics import best_of_n as estimators
from align.training import policy_meter, record
from align.training.mirrored import mirrors
from align.training.policy_meter import MeterConfig, PolicyMeter, Samples
from align.training.sample_cache import SampleCache
from align.training.stage_directory import StageDirectory, StageSpec, stage_spec, write_lines
from scaling.accounting.parameters import count_parameters
from scaling.errors import ConfigError, InterruptedRunError
from scaling.gin_files import to_dict
from scaling.models.config import TransformerConfig
from scaling.run_directory import Status, write_json
from scaling.training import provenance
from scaling.training.attempt_log import AttemptLog
from scaling.training.interruption import Interruption

# The curve of every prompt: what is independent in it, since all n choose among the same samples.
BY_PROMPT = "by_prompt.json"


@dataclasses.dataclass(frozen=True)
class BestOfNConfig:
    """A best-of-n curve.

    Attributes:
      parent: the policy that is sampled.
      meter: prompts, gold and proxy; its `samples_per_prompt` is N, from which every n is estimated (more than the largest n, for less variance).
      sizes: the n of the curve.
      training: the mesh and the compute type; its `seed` names the run, and the meter's draws the samples.
    """

    parent: ParentConfig
    meter: MeterConfig
    sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    training: TrainingConfig = TrainingConfig()

    def __post_init__(self):
        if not self.sizes or min(self.sizes) < 1 or max(self.sizes) > self.meter.samples_per_prompt:
            raise ConfigError(
                f"BestOfNConfig.sizes is {self.sizes}, and MeterConfig.samples_per_prompt {self.meter.samples_per_prompt}",
                "give sizes from 1 to the number of samples",
            )
        if not self.meter.prompts or not self.meter.gold:
            raise ConfigError("BestOfNConfig.meter has no prompts or no gold reward", "bind both")


def spec(config: BestOfNConfig, name: str = "") -> StageSpec:
    """Names the stage.

    Raises:
      BadInputError: a parent or the prompts are missing or unfit.
    """
    parent = find(config.parent)
    return stage_spec(
        "best_of_n",
        config,
        {"policy": parent.identity, "reference": parent.identity} | policy_meter.parents_of(config.meter),
        policy_meter.data_of(config.meter),
        str(parent.vocabulary_store),
        name,
    )


def run(directory: StageDirectory, config: BestOfNConfig, interruption: Interruption) -> Status:
    """Samples, estimates and records; batches of samples that are on disk already are not drawn again.

    Raises:
      InterruptedRunError: a signal came between two batches.
      BusyError: another process works on this stage.
    """
    with directory.lock():
        finished = directory.record()
        if finished is not None:
            return finished["status"]
        parent = find(config.parent)
        policy = policies.Policy.of(parent, config.training, config.meter.batch_size)
        meter = PolicyMeter(config.meter, parent, policy, config.training)
        attempt = provenance.start_attempt(directory, 0)
        log = AttemptLog(attempt, mirrors=mirrors(directory, config.training, attempt))
        with log.ended_by_errors():
            parameters = policy.place(parent.parameters())
            samples = meter.sample(parameters, parameters, _stopper(directory, interruption), _cache(directory, meter))
            curve = rows(samples, config, meter)
            write_lines(directory.measurements_file, curve)
            write_json(directory.path / BY_PROMPT, by_prompt(samples, config, meter))
            for row in sorted(curve, key=lambda row: row["n"]):
                log.mirrors.row({"step": row["n"], "policy": row})
            log.finish("completed")
            made = record.of_directory(directory, "completed", _facts(samples, config, meter, parent.config))
            directory.write_record(log.mirrors.close_with(made))
        return "completed"


def _facts(samples: Samples, config: BestOfNConfig, meter: PolicyMeter, model: TransformerConfig) -> dict[str, Any]:
    # Drawn once, whatever n.
    drawing, scoring = policy_meter.work(config.meter, model, [meter.row(samples)])
    return {
        "method": "best_of_n",
        # Without a proxy the gold score itself chooses: the ceiling of every other curve.
        "settings": {
            "chosen_by": "proxy" if samples.proxy is not None else "gold",
            "combine": config.meter.proxy.combine,
        },
        "gold": config.meter.gold.name,
        "proxy": proxy_description.describe(config.meter.proxy),
        "model": to_dict(model),
        "parameters": dataclasses.asdict(count_parameters(model)),
        **Work(generation=drawing, measuring=scoring).facts(),
    }


def rows(samples: Samples, config: BestOfNConfig, meter: PolicyMeter) -> list[dict[str, Any]]:
    """The curve: a row for each n.

    The divergence is ln n - (n - 1) / n where no scores tie; ties lower it, and the scores themselves say by how much.
    """
    shape = (-1, config.meter.samples_per_prompt)
    gold = samples.gold.reshape(shape)
    proxy = gold if samples.proxy is None else samples.proxy.reshape(shape)
    lengths = np.asarray(samples.sequences.completion_lengths, np.float64).reshape(shape)
    ended = samples.ended.astype(np.float64).reshape(shape)
    base = meter.row(samples)
    curve = []
    for n in config.sizes:
        estimates = {
            name: estimators.expected_reward(proxy, values, n)
            for name, values in (("gold", gold), ("proxy", proxy), ("length", lengths), ("ended", ended))
        }
        lower, upper = estimators.kl_from_scores(proxy, n)
        curve.append(
            base
            | {"step": 0, "n": n, "kl_k3": None, "kl_k3_error": None, "entropy": None}
            | {"kl": upper.value, "kl_error": _finite(upper.standard_error), "kl_lower": lower.value}
            | {"kl_bound": float(estimators.kl_bound(n))}
            | {name: found.value for name, found in estimates.items()}
            | {f"{name}_error": _finite(estimates[name].standard_error) for name in ("gold", "proxy", "length")}
        )
    return curve


def by_prompt(samples: Samples, config: BestOfNConfig, meter: PolicyMeter) -> dict[str, Any]:
    """JSON values: `prompts`, `sizes`, and `gold` and `proxy` as lists [prompt][size], whose means over prompts are the curve."""
    shape = (-1, config.meter.samples_per_prompt)
    gold = samples.gold.reshape(shape)
    proxy = gold if samples.proxy is None else samples.proxy.reshape(shape)
    curves = {
        name: np.stack([estimators.expected_reward(proxy, values, n).by_prompt for n in config.sizes], axis=1)
        for name, values in (("gold", gold), ("proxy", proxy))
    }
    return {"prompts": meter.names, "sizes": list(config.sizes)} | {
        name: curve.tolist() for name, curve in curves.items()
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _cache(directory: StageDirectory, meter: PolicyMeter) -> SampleCache:
    batches = -(-meter.samples // meter.config.batch_size)
    return SampleCache(directory.path / "samples", batches, f"best_of_n {directory.path.name}")


def _stopper(directory: StageDirectory, interruption: Interruption):
    def stop_if_asked():
        if interruption.requested:
            raise InterruptedRunError(
                f"{directory.path.name} stopped on {interruption.signal_name} between two batches of samples; the same command continues it"
            )

    return stop_if_asked
