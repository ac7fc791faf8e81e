"""What a run would cost on a mesh, without training it or allocating the model: `python -m scaling.cost --gin_file=configs/runs/X.gin`.

Parameters by part, training FLOPs per token by convention, and bytes per device from an ahead-of-time compilation of the real training step, on as many
simulated host devices as the mesh has. No token store is needed.

  python -m scaling.cost --gin_file=configs/runs/llama_10b.gin --devices=256 --accelerator="TPU v5p"
  python -m scaling.cost --gin_file=configs/runs/cpu_base.gin --mesh=2x2x2 --export_platforms=tpu,cuda
  python -m scaling.cost --ladder

The mesh is ExecutionConfig's on --devices, or --mesh. `ExecutionConfig.layers` "auto" means "scan" here, as on accelerators. The
weights, optimizer and gradient figures are exact. The activations are those of XLA's CPU backend, which stands in for the accelerator's: it shards alike, but
fuses and schedules in its own way, so read them as an estimate.
"""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from absl import flags

from scaling import cost_flags, gin_files, verbs
from scaling.accounting import cost_tables
from scaling.errors import ConfigError
from scaling.run_config import RunConfig

_EXPORT = flags.DEFINE_list("export_platforms", [], "Also lower the step for these platforms (tpu, cuda).")
_LADDER = flags.DEFINE_bool("ladder", False, "Print the rungs of every family nearest to 10^4 ... 10^10 parameters.")


def main(argv: Sequence[str]) -> None:
    """Prints the cost of the run that the Gin files describe."""
    del argv
    if _LADDER.value:
        rungs = cost_tables.ladder_rungs()
        print(json.dumps(rungs, indent=2) if cost_flags.values().json else cost_tables.ladder_text(rungs))
        return
    if not verbs.gin_file_flags():
        raise ConfigError("no Gin file was given", "name one by --gin_file, or print the ladder by --ladder")
    config = gin_files.load(RunConfig, verbs.gin_file_flags(), verbs.gin_binding_flags()).config
    config = dataclasses.replace(config, execution=cost_flags.on_mesh(config.execution))
    cost = cost_tables.formulas(config)
    chosen = cost_flags.values()
    if chosen.compile or _EXPORT.value or chosen.accelerator:
        cost |= _on_devices(config, cost_flags.devices())
    print(json.dumps(cost, indent=2) if chosen.json else cost_tables.cost_text(cost))


def _on_devices(config: RunConfig, devices: int) -> dict[str, Any]:
    """The part of the cost that needs JAX."""
    cost_flags.simulate(devices)
    from scaling.accounting import compiled

    chosen = cost_flags.values()
    compiled.require_known(chosen.accelerator, _EXPORT.value)
    cost = {}
    step = compiled.abstract_step(config)
    if chosen.compile:
        cost["bytes_per_device"] = compiled.bytes_per_device(step)
    if _EXPORT.value:
        cost["exported_bytes"] = {platform: compiled.exported_bytes(step, platform) for platform in _EXPORT.value}
    if chosen.accelerator:
        cost["time"] = compiled.expected_time(config, devices, chosen.accelerator, chosen.utilisation)
    return cost


if __name__ == "__main__":
    verbs.run(main)
