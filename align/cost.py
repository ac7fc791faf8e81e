"""What a stage would cost on a mesh: `python -m align.cost --kind=preference --gin_file=configs/align/stages/dpo.gin`.

Needs no examples, and no memory for the models: FLOPs of a step by convention, bytes per device from an ahead-of-time compilation of the stage's real
programs on as many simulated host devices as the mesh has, and seconds a step at an assumed utilisation. The architecture is that of a stage-one configuration
(--model_gin_file), or of the stage's parent, where that exists. Prompts and completions fill their room; reward models and the value network are as large as
the policy.

  python -m align.cost --kind=preference --gin_file=configs/align/stages/dpo_llama_10b.gin --model_gin_file=configs/runs/llama_10b.gin --devices=256 \
      --accelerator="TPU v5p"

Mesh, accelerator and the meaning of the figures are those of `scaling.cost`.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from absl import flags

from scaling import cost_flags, gin_files, verbs
from scaling.errors import ConfigError

_KIND = flags.DEFINE_enum("kind", None, ["sft", "reward", "preference", "ppo"], "Kind of the stage.", required=True)
_MODEL_GIN_FILE = flags.DEFINE_multi_string("model_gin_file", [], "A stage-one run whose model is the parent's.")


def main(argv: Sequence[str]) -> None:
    """Prints the cost of the stage that the Gin files describe."""
    del argv
    if not verbs.gin_file_flags():
        raise ConfigError("no --gin_file is given", "see configs/align/stages/")
    # Before JAX is imported, which the stages do.
    cost_flags.simulate(cost_flags.devices())
    from align.accounting import cost_tables

    config = _config()
    training = config.training
    execution = cost_flags.on_mesh(training.execution)
    config = dataclasses.replace(config, training=dataclasses.replace(training, execution=execution))
    model = _model(config)
    cost = cost_tables.formulas(_KIND.value, config, model) | _on_devices(config, model)
    print(json.dumps(cost, indent=2) if cost_flags.values().json else cost_tables.cost_text(cost))


def _config() -> Any:
    from align.stages.catalogue import KINDS

    return gin_files.load(KINDS[_KIND.value].config, verbs.gin_file_flags(), verbs.gin_binding_flags()).config


def _model(config: Any) -> Any:
    if not _MODEL_GIN_FILE.value:
        from align.models.parents import find

        return find(config.parent).config
    from scaling.run_config import RunConfig

    return gin_files.load(RunConfig, _MODEL_GIN_FILE.value).config.model


def _on_devices(config: Any, model: Any) -> dict[str, Any]:
    from align.accounting import planned_stages, stage_cost
    from scaling import mesh as meshes
    from scaling.accounting import compiled

    chosen, cost = cost_flags.values(), {}
    compiled.require_known(chosen.accelerator, [])
    if chosen.compile:
        stage = planned_stages.planned(config, model)
        cost["bytes_per_device"] = stage_cost.bytes_per_device(_KIND.value, config, model, stage)
    if chosen.accelerator:
        devices = cost_flags.devices()
        _, _, tensor = meshes.mesh_shape(config.training.execution, devices)
        cost["time"] = stage_cost.expected_time(
            _KIND.value, config, model, devices, tensor, chosen.accelerator, chosen.utilisation
        )
    return cost


if __name__ == "__main__":
    verbs.run(main)
