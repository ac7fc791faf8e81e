"""Examples made of a policy's own samples: pairs or rankings labelled by a simulated rater, or the best samples for rejection-sampling fine-tuning."""

import dataclasses
import pathlib
import shutil
from collections.abc import Iterator
from typing import Literal

import numpy as np

from align.data import store_writer
from align.data.examples import TokenExample
from align.data.judging import OrderedJudge
from align.data.labels import Labels
from align.data.ranking import ScoredSamples, write_ranked
from align.data.store import ExampleStore
from align.models import policy as policies
from align.models.parents import Parent, ParentConfig, find
from align.stage_config import TrainingConfig
from align.statistics import rejection_sampling
from align.training import policy_meter
from align.training.policy_meter import MeterConfig, PolicyMeter, Samples
from align.training.sample_cache import SampleCache
from align.training.stage_directory import stage_spec
from scaling.errors import ConfigError, DataError, InterruptedRunError
from scaling.run_directory import RunDirectory
from scaling.training.interruption import Interruption


@dataclasses.dataclass(frozen=True)
class CollectConfig:
    """A store made of samples.

    Attributes:
      parent: the policy that is sampled.
      output: the store's directory.
      meter: prompts, samples a prompt, gold and proxy; `split` is that of training.
      validation_prompts: so many prompts of the prompts' "validation" split make the store's own; 0 makes none.
      make: "pairs" and "ranked" are labelled by `labels` from the gold score; "best" keeps the best samples by the proxy (or, without one, by the gold score),
        for rejection-sampling fine-tuning.
      labels: the simulated rater, or a judge that sees two completions in an order.
      pairs_per_prompt: of "pairs".
      keep: of "best", samples a prompt.
      training: the mesh and the compute type, and the seed of labels.
    """

    parent: ParentConfig
    output: str
    meter: MeterConfig
    validation_prompts: int = 0
    make: Literal["pairs", "ranked", "best"] = "pairs"
    labels: Labels | OrderedJudge = Labels()
    pairs_per_prompt: int = 1
    keep: int = 1
    training: TrainingConfig = TrainingConfig()

    def __post_init__(self):
        if self.make != "best" and not self.meter.gold:
            raise ConfigError(
                f"CollectConfig.make is {self.make!r}, and MeterConfig.gold is not bound",
                "bind the gold reward that labels follow",
            )


def planned(config: CollectConfig) -> str:
    """What :func:`collect` would do, after a look at the policy and the prompts.

    Raises:
      BadInputError: one of them is missing or unfit.
    """
    policy, meter = find(config.parent).identity, config.meter
    there = " (there already)" if pathlib.Path(config.output).exists() else ""
    prompts = f"up to {meter.num_prompts} prompts of {meter.split}"
    if config.validation_prompts:
        prompts += f" and {config.validation_prompts} of validation"
    gold = f", gold {meter.gold.name}" if meter.gold else ""
    made = f"{config.make} from {meter.samples_per_prompt} samples of each of {prompts}, policy {policy}{gold}"
    return f"{config.output}{there}: {made}, hash {_made_of(config, policy)['hash']}"


def collect(config: CollectConfig, interruption: Interruption) -> ExampleStore:
    """Samples, labels and writes the store; one that is there already is opened instead.

    Raises:
      DataError: the store that is there was made by another policy, from other prompts or by other rewards.
      BusyError: another process collects it.
      InterruptedRunError: a signal came; what was sampled is kept, and the same command continues.
    """
    parent = find(config.parent)
    made_of = _made_of(config, parent.identity)
    path = pathlib.Path(config.output)
    if path.exists():
        return _opened(path, made_of)
    cache = path.with_name(f"{path.name}.samples")
    cache.mkdir(parents=True, exist_ok=True)
    with RunDirectory(cache).lock():
        # Another command may have written the store while this one waited for a moment.
        store = _opened(path, made_of) if path.exists() else _collected(config, parent, made_of, cache, interruption)
    # Whoever else saw no store a moment ago finds it now, and removes this as well.
    shutil.rmtree(cache, ignore_errors=True)
    return store


def _collected(
    config: CollectConfig, parent: Parent, made_of: dict[str, str], cache: pathlib.Path, interruption: Interruption
) -> ExampleStore:
    policy = policies.Policy.of(parent, config.training, config.meter.batch_size)
    parameters = policy.place(parent.parameters())
    path = pathlib.Path(config.output)
    splits = {config.meter.split: config.meter}
    if config.validation_prompts:
        splits["validation"] = dataclasses.replace(
            config.meter, split="validation", num_prompts=config.validation_prompts
        )
    drawn = {}
    for name, meter_config in splits.items():
        meter = PolicyMeter(meter_config, parent, policy, config.training)
        batches = -(-meter.samples // meter_config.batch_size)
        kept = SampleCache(cache / made_of["hash"] / name, batches, f"collecting {name} of {path.name}")
        drawn[name] = (meter.sample(parameters, parameters, _stopper(path, interruption), kept), meter.names)
    return _write(config, drawn, parent.vocabulary(), made_of)


def _opened(path: pathlib.Path, made_of: dict[str, str]) -> ExampleStore:
    store = ExampleStore.open(path)
    if store.manifest.get("made_of") != made_of:
        raise DataError(
            f"the store {path} was made of other samples than these: {store.manifest.get('made_of')}, not {made_of}",
            "name another CollectConfig.output, or delete that store",
        )
    return store


def _made_of(config: CollectConfig, policy: str) -> dict[str, str]:
    """What the store depends on, with one hash over it."""
    parents = {"policy": policy} | policy_meter.parents_of(config.meter)
    spec = stage_spec("collect", config, parents, policy_meter.data_of(config.meter), "")
    return {"hash": spec.run_id, **parents, **policy_meter.data_of(config.meter)}


def _write(config: CollectConfig, drawn: dict[str, tuple[Samples, list[str]]], vocabulary, made_of) -> ExampleStore:
    description = {"made_of": made_of}
    seed = config.training.seed
    if config.make != "best":
        splits = {
            name: ScoredSamples(samples.sequences, samples.gold, names) for name, (samples, names) in drawn.items()
        }
        pairs = config.pairs_per_prompt if config.make == "pairs" else 0
        return write_ranked(config.output, splits, vocabulary, config.labels, seed, pairs, description)
    with store_writer.writing(pathlib.Path(config.output), vocabulary, 1) as writer:
        for name, (samples, names) in drawn.items():
            writer.write_split(name, _best(config, samples, names))
        writer.finish(description)
    return ExampleStore.open(config.output)


def _best(config: CollectConfig, samples: Samples, names: list[str]) -> Iterator[TokenExample]:
    """The samples that rejection sampling keeps; equal ones count once."""
    shape = (-1, config.meter.samples_per_prompt)
    scores = (samples.gold if samples.proxy is None else samples.proxy).reshape(shape)
    numbers: dict[bytes, int] = {}
    completions = (row[prompt:length].tobytes() for row, prompt, length in zip(*samples.sequences, strict=True))
    identities = np.array([numbers.setdefault(completion, len(numbers)) for completion in completions])
    kept = rejection_sampling.top(scores, config.keep, identity_PxN=identities.reshape(shape))
    for prompt, sample in np.argwhere(kept):
        row = prompt * shape[1] + sample
        tokens, prompt_length, length = (array[row] for array in samples.sequences)
        gold = () if samples.gold is None else (float(samples.gold[row]),)
        yield TokenExample(
            f"{names[prompt]}#{sample}", tokens[:prompt_length], (tokens[prompt_length:length],), gold or (np.nan,)
        )


def _stopper(path: pathlib.Path, interruption: Interruption):
    def stop_if_asked():
        if interruption.requested:
            raise InterruptedRunError(
                f"collecting {path} stopped on {interruption.signal_name} between two batches; the same command continues it"
            )

    return stop_if_asked
