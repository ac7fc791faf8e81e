"""What a policy is worth: gold and proxy reward of its samples against its divergence from the reference.

All policies of a study answer the same prompts with the same keys, so that differences between them are paired.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from align.accounting import work as accounting
from align.accounting.passes import Pass
from align.data.batches import covering
from align.data.rows import Prompts
from align.data.store import ExampleStore
from align.generation.sampler import generator, row_keys
from align.generation.sampling_config import SamplingConfig
from align.gold.choice import GoldConfig
from align.models.log_probabilities import token_statistics
from align.models.parents import Parent
from align.models.policy import Policy
from align.models.reward_models import RewardModels, RewardModelsConfig, architectures, identities
from align.rl import kl
from align.sequences import Sequences, completion_mask
from align.stage_config import TrainingConfig
from align.training.sample_cache import SampleCache
from scaling.errors import ConfigError
from scaling.mesh import check_evaluation_rows
from scaling.models.config import TransformerConfig

SAMPLES_FILE = "samples.json"


@dataclasses.dataclass(frozen=True)
class MeterConfig:
    """On what, and by which rewards, policies are measured; nothing is sampled where `prompts` is empty.

    Attributes:
      prompts: an example store whose prompts are answered (of any kind).
      split: of it.
      num_prompts: the first so many of the split.
      prompt_length: tokens of the longest prompt.
      samples_per_prompt: completions of each prompt, at temperature 1 and without filters, so that the divergence is that of the policy itself.
      max_new_tokens: of a completion, EOS included.
      batch_size: completions sampled at a time.
      seed: of the samples; the same for all policies that are compared.
      gold: the score that counts; None measures none.
      proxy: reward models whose score is measured beside it.
    """

    prompts: str = ""
    split: str = "validation"
    num_prompts: int = 64
    prompt_length: int = 64
    samples_per_prompt: int = 4
    max_new_tokens: int = 64
    batch_size: int = 64
    seed: int = 0
    gold: GoldConfig | None = None
    proxy: RewardModelsConfig = RewardModelsConfig()

    def __post_init__(self):
        for name in ("num_prompts", "prompt_length", "samples_per_prompt", "max_new_tokens", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"MeterConfig.{name} is {getattr(self, name)!r}", "give a positive number")


class Samples(NamedTuple):
    """Scored completions of N = prompts x samples_per_prompt rows, those of a prompt side by side; NumPy arrays.

    Attributes:
      sequences: the completions.
      ended: bool [N], whether EOS ended them.
      log_ratios: float64 [N], log pi - log ref of whole completions.
      k3: float64 [N], sums of k3.
      entropies: float64 [N], mean entropy of a completion's tokens, nats.
      gold: float64 [N], or None.
      proxies: float64 [M, N], each reward model's score, or None.
      proxy: float64 [N], the combined score, or None.
    """

    sequences: Sequences
    ended: np.ndarray
    log_ratios: np.ndarray
    k3: np.ndarray
    entropies: np.ndarray
    gold: np.ndarray | None
    proxies: np.ndarray | None
    proxy: np.ndarray | None


def parents_of(config: MeterConfig) -> dict[str, str]:
    """Identities of the reward models, by role, for the identity of a stage."""
    return {f"proxy_{index}": identity for index, identity in enumerate(identities(config.proxy))}


def data_of(config: MeterConfig) -> dict[str, str]:
    """Hashes of what is read, by role, for the identity of a stage."""
    prompts = {"meter_prompts": ExampleStore.open(config.prompts).store_hash} if config.prompts else {}
    return prompts | ({"gold": config.gold.identity} if config.gold else {})


def work(
    config: MeterConfig, model: TransformerConfig, rows: Sequence[Mapping[str, Any]]
) -> tuple[list[Pass], list[Pass]]:
    """Passes that drew the samples of some measurements, and passes that scored them.

    Args:
      config: of the meter.
      model: of the policy.
      rows: of measurements.jsonl.
    """
    if not rows:
        return [], []
    prompts = ExampleStore.open(config.prompts).split(config.split).prompt_lengths[: config.num_prompts]
    return accounting.measured(
        model,
        architectures(config.proxy),
        config.prompt_length,
        config.max_new_tokens,
        int(prompts.min()),
        rows,
    )


class PolicyMeter:
    """Samples from a policy and measures what it finds."""

    def __init__(self, config: MeterConfig, parent: Parent, policy: Policy, training: TrainingConfig):
        """Opens prompts and reward models.

        Args:
          config: what to measure.
          parent: of the policy; its vocabulary decodes what gold rewards read.
          policy: the architecture on its mesh.
          training: of the stage, for the reward models' mesh and compute type.

        Raises:
          DataError: prompts or reward models are of another vocabulary.
        """
        self.config = config
        self._policy = policy
        self._vocabulary = parent.vocabulary()
        self._prompts, self.names = _prompts(config, parent)
        self._proxy = RewardModels(config.proxy, training, self._vocabulary.sha256) if config.proxy.members else None
        first_column = int(self._prompts.lengths.min())
        self._statistics = policy.compiled(
            lambda parameters, rows: token_statistics(policy.model, parameters, rows, first_column)
        )
        self._reduced = policy.compiled(_reduced)
        check_evaluation_rows(policy.mesh, config.batch_size)

    @property
    def samples(self) -> int:
        """Rows of a measurement."""
        return len(self._prompts.lengths) * self.config.samples_per_prompt

    def sample(
        self,
        parameters: Mapping[str, Any],
        reference: Mapping[str, Any],
        stop_if_asked: Callable[[], None],
        cache: SampleCache | None = None,
    ) -> Samples:
        """Draws and scores.

        Args:
          parameters: the policy's, on the mesh.
          reference: what it is held against, on the mesh.
          stop_if_asked: called between batches.
          cache: keeps every batch on disk, so that a long job that is killed goes on where it was.
        """
        config, rows = self.config, self._policy.rows
        sampling = SamplingConfig(max_new_tokens=config.max_new_tokens)
        sampler = generator(self._policy.model, sampling, self._vocabulary.eos_id, self._policy.mesh)
        prepared = sampler.prepare(parameters, config.batch_size)

        def batch(indices: np.ndarray) -> dict[str, np.ndarray]:
            prompts, draws = np.divmod(indices, config.samples_per_prompt)
            keys = row_keys(config.seed, prompts, draws)
            drawn = sampler.run(prepared, self._prompts.tokens[prompts], self._prompts.lengths[prompts], keys)
            sequences = jax.device_put(drawn.sequences, rows)
            # Both by one program: the divergence of a policy from itself is then 0 to the last bit.
            of_policy = self._statistics(parameters, sequences)
            of_reference = self._statistics(reference, sequences)
            found = {
                **drawn.sequences._asdict(),
                "ended": drawn.ended,
                **self._reduced(of_policy, of_reference, sequences),
            }
            if self._proxy:
                found["proxies"] = self._proxy.member_scores(sequences).T
                found["proxy"] = self._proxy.combined(found["proxies"].T)
            return jax.device_get(found)

        parts = []
        for number, (indices, weights) in enumerate(covering(self.samples, config.batch_size)):
            stop_if_asked()
            part = cache.get(number, lambda indices=indices: batch(indices)) if cache else batch(indices)
            parts.append({name: np.asarray(array)[weights > 0] for name, array in part.items()})
        return self._scored({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})

    def row(self, samples: Samples) -> dict[str, Any]:
        """The measurement of some samples: a row of measurements.jsonl (ARCHITECTURE.md has its fields)."""
        prompts = len(samples.ended) // self.config.samples_per_prompt
        lengths = np.asarray(samples.sequences.completion_lengths, np.float64)
        row = {
            "n": None,
            **_mean("kl", samples.log_ratios, prompts),
            **_mean("kl_k3", samples.k3, prompts),
            **_mean("length", lengths, prompts),
            "entropy": float(np.mean(samples.entropies)),
            "ended": float(np.mean(samples.ended)),
            "prompts": prompts,
            "samples": len(samples.ended),
            "gold": None,
            "gold_error": None,
            "proxy": None,
            "proxy_error": None,
        }
        if samples.gold is not None:
            row |= _mean("gold", samples.gold, prompts)
        if samples.proxy is not None:
            row |= _mean("proxy", samples.proxy, prompts)
            # Of an ensemble: how far its members are apart on what the policy says now.
            row["disagreement"] = float(np.mean(np.std(samples.proxies, axis=0))) if len(samples.proxies) > 1 else None
        return row

    def by_prompt(self, samples: Samples) -> dict[str, Any]:
        """Scores by prompt, for comparisons that are paired by prompt, with the text of each prompt's first sample, for judges: JSON values."""
        shape = (-1, self.config.samples_per_prompt)
        texts = [
            {
                "prompt": self._vocabulary.decode(tokens[:prompt]),
                "completion": self._vocabulary.decode(tokens[prompt:length]),
            }
            for tokens, prompt, length in list(zip(*samples.sequences, strict=True))[:: self.config.samples_per_prompt]
        ]
        return {
            "seed": self.config.seed,
            "prompts": self.names,
            "gold": None if samples.gold is None else samples.gold.reshape(shape).tolist(),
            "proxy": None if samples.proxy is None else samples.proxy.reshape(shape).tolist(),
            "log_ratio": samples.log_ratios.reshape(shape).tolist(),
            "length": np.asarray(samples.sequences.completion_lengths).reshape(shape).tolist(),
            "texts": texts,
        }

    def _scored(self, found: dict[str, np.ndarray]) -> Samples:
        sequences = Sequences(found["tokens"], found["prompt_lengths"], found["lengths"])
        numbers = {
            name: found[name].astype(np.float64)
            for name in ("log_ratios", "k3", "entropies", "proxies", "proxy")
            if name in found
        }
        return Samples(
            sequences=sequences,
            ended=found["ended"],
            log_ratios=numbers["log_ratios"],
            k3=numbers["k3"],
            entropies=numbers["entropies"],
            gold=self.config.gold.score(sequences, self._vocabulary) if self.config.gold else None,
            proxies=numbers["proxies"].T if "proxies" in numbers else None,
            proxy=numbers.get("proxy"),
        )


def _prompts(config: MeterConfig, parent: Parent) -> tuple[Prompts, list[str]]:
    store = ExampleStore.open(config.prompts, verify="once")
    store.require_vocabulary(parent.vocabulary().sha256, str(parent.path))
    examples = store.split(config.split)
    chosen = np.arange(min(config.num_prompts, len(examples)))
    return examples.prompts(chosen, config.prompt_length), [examples.names[index] for index in chosen]


def _reduced(of_policy, of_reference, sequences: Sequences):
    """Sums over completions: log-ratios, k3, and the mean entropy."""
    mask = completion_mask(sequences)
    ratios = kl.sequence_kl(of_policy.log_probs - of_reference.log_probs, mask)
    k3 = kl.sequence_kl(kl.token_kl(of_policy.log_probs, of_reference.log_probs, mask, "k3"), mask)
    entropies = kl.sequence_kl(of_policy.entropies, mask) / jnp.sum(mask, axis=1)
    return {"log_ratios": ratios, "k3": k3, "entropies": entropies}


def _mean(name: str, values: np.ndarray, prompts: int) -> dict[str, float | None]:
    """The mean with its standard error over prompts: the samples of one prompt are one cluster."""
    by_prompt = np.asarray(values, np.float64).reshape(prompts, -1).mean(axis=1)
    error = float(np.std(by_prompt, ddof=1) / np.sqrt(prompts)) if prompts > 1 else None
    return {name: float(by_prompt.mean()), f"{name}_error": error}
