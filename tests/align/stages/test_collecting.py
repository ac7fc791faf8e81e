"""Stores made of a policy's own samples: labelled with noise that is known, or the best of them."""

import numpy as np
import pytest

from align.data.labels import Labels
from align.data.store import ExampleStore
from align.gold.token_programs import TokenCount
from align.stages.collecting import CollectConfig, collect, planned
from scaling.errors import DataError
from scaling.training.interruption import Interruption
from tests.align.stages import small_stages


def config(laboratory, output, **fields) -> CollectConfig:
    # The fine-tune says "x", "y" and "z" at random, so the count of one of them differs between samples.
    gold = TokenCount(tokens=(int(small_stages.VOCABULARY.encode("z")[0]),))
    meter = laboratory.meter(
        gold=gold, split="train", num_prompts=64, samples_per_prompt=8, batch_size=64, **fields.pop("meter", {})
    )
    return CollectConfig(laboratory.policy, str(output), meter, **fields)


@pytest.mark.slow
def test_labels_are_wrong_as_often_as_the_rater_errs(laboratory, tmp_path):
    """A quarter of about 500 pairs, within four standard errors; without noise none. The gold scores are stored in the order of the labels."""

    def wrong(name: str, labels: Labels) -> np.ndarray:
        store = collect(config(laboratory, tmp_path / name, labels=labels, pairs_per_prompt=10), Interruption())
        scores = np.asarray(store.split("train").scores)
        assert store.kind == "pairs" and np.all(scores[:, 0] != scores[:, 1])
        return scores[:, 0] < scores[:, 1]

    assert not wrong("exact", Labels()).any()
    flipped = wrong("noisy", Labels("flip", flip=0.25))
    assert len(flipped) > 300
    assert abs(flipped.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / len(flipped))


@pytest.mark.slow
def test_the_best_distinct_samples_of_each_prompt_are_kept(laboratory, tmp_path):
    """Against all samples of the same prompts, which a ranked store holds: equal completions count once, and none that was left out beats one that was kept."""
    best = collect(config(laboratory, tmp_path / "best", make="best", keep=2), Interruption())
    examples = best.split("train")
    assert best.kind == "dialogue"
    found: dict[str, list] = {}
    sequences = examples.sequences(np.arange(len(examples)), small_stages.PROMPT + small_stages.COMPLETION)
    rows = zip(examples.names, *sequences, np.asarray(examples.scores)[:, 0], strict=True)
    for name, tokens, prompt, length, score in rows:
        found.setdefault(name.rpartition("#")[0], []).append((tuple(tokens[prompt:length]), float(score)))
    everything = all_samples(laboratory)
    assert found.keys() == everything.keys()
    for prompt, kept in found.items():
        distinct = everything[prompt]
        assert len({text for text, _ in kept}) == len(kept) == min(2, len(distinct))
        assert (
            sorted((score for _, score in kept), reverse=True) == sorted(distinct.values(), reverse=True)[: len(kept)]
        )


def all_samples(laboratory) -> dict[str, dict[tuple[int, ...], float]]:
    """Distinct completions with their scores by prompt, drawn by the meter itself with the keys that collecting uses."""
    from align.models.parents import find
    from align.models.policy import Policy
    from align.stage_config import TrainingConfig
    from align.training.policy_meter import PolicyMeter

    meter_config, parent = config(laboratory, "").meter, find(laboratory.policy)
    policy = Policy.of(parent, TrainingConfig(), meter_config.batch_size)
    parameters = policy.place(parent.parameters())
    meter = PolicyMeter(meter_config, parent, policy, TrainingConfig())
    samples = meter.sample(parameters, parameters, lambda: None)
    result: dict[str, dict] = {name: {} for name in meter.names}
    for row, (tokens, prompt, length) in enumerate(zip(*samples.sequences, strict=True)):
        name = meter.names[row // meter_config.samples_per_prompt]
        result[name][tuple(tokens[prompt:length])] = float(samples.gold[row])
    return result


def test_a_store_is_collected_once_and_never_mistaken_for_another(laboratory, tmp_path):
    first = collect(config(laboratory, tmp_path / "pairs"), Interruption())
    again = collect(config(laboratory, tmp_path / "pairs"), Interruption())
    assert first.store_hash == again.store_hash == ExampleStore.open(tmp_path / "pairs").store_hash
    with pytest.raises(DataError, match=f"{tmp_path / 'pairs'} was made of other samples.*name another CollectConfig"):
        collect(config(laboratory, tmp_path / "pairs", meter={"seed": 1}), Interruption())


def test_a_plan_names_what_would_be_made_and_makes_nothing(laboratory, tmp_path):
    asked = config(laboratory, tmp_path / "pairs")
    plan = planned(asked)
    assert not list(tmp_path.iterdir()) and "pairs from 8 samples of each of up to 64 prompts of train" in plan
    assert plan.endswith(collect(asked, Interruption()).manifest["made_of"]["hash"])
    assert "pairs (there already): " in planned(asked)
