"""A population on eight simulated devices, for test_population_devices.py: `python population_runs.py STORE ROOT FORM` prints one JSON object."""

import dataclasses
import json
import pathlib
import sys

from scaling.optim.config import OptimizerConfig
from scaling.run_config import EvaluationConfig
from scaling.training.interruption import Interruption
from scaling.training.population.programs import population_step_for
from scaling.training.population.train import train_population
from scaling.training.step import StepKey
from tests.scaling.training import small_runs

MEMBERS = 11  # Two for each of six devices, with one slot left over.
STEPS = 6


def configs(store: str):
    base = small_runs.config(store, tokens=STEPS * 512)
    # Few held-out rows, because every run here is compared with one that was trained and evaluated alone.
    domain = dataclasses.replace(base.evaluation.domains[0], max_tokens=2048)
    base = dataclasses.replace(base, evaluation=EvaluationConfig(domains=(domain,)))
    decays = [OptimizerConfig(weight_decay=0.1 * seed) for seed in range(MEMBERS)]
    return [dataclasses.replace(base, seed=seed, optimizer=decay) for seed, decay in enumerate(decays)]


def main(store: str, root: pathlib.Path, form: str) -> dict[str, object]:
    runs = configs(store)
    directories = [directory for run in runs for directory in small_runs.freeze(root, run)]
    statuses = train_population(directories, Interruption(), form)
    programs = population_step_for(StepKey.of(runs[0]), MEMBERS, form)
    return {
        "statuses": list(statuses.values()),
        "devices": programs.by_member.mesh.size,
        "slots": programs.slots,
        "collectives": _collectives(programs),
    }


def _collectives(programs) -> list[str]:
    """Instructions of the compiled evaluation and step by which devices would wait for each other."""
    import jax
    import jax.numpy as jnp

    def stacked(leaf):
        return jax.ShapeDtypeStruct((programs.slots, *leaf.shape), leaf.dtype, sharding=programs.by_member)

    member = programs.member
    states = jax.tree.map(stacked, member.abstract_state())
    batches, rates = jax.tree.map(stacked, (member.abstract_batch(), member.abstract_rates()))
    active = stacked(jax.ShapeDtypeStruct((), jnp.bool_))
    text = programs.step.lower(states, batches, rates, active).compile().as_text()
    return [name for name in ("all-reduce", "all-gather", "all-to-all", "collective-permute") if name in text]


if __name__ == "__main__":
    print("RESULT " + json.dumps(main(sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3])))
