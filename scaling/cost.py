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
import math
import os
import re
from collections.abc import Sequence
from typing import Any

from absl import flags

from scaling import gin_files, verbs
from scaling.accounting import cost_tables
from scaling.errors import ConfigError
from scaling.run_config import RunConfig

_DEVICES = flags.DEFINE_integer("devices", 1, "Devices of the mesh; they are simulated.", lower_bound=1)
_MESH = flags.DEFINE_string("mesh", "", "DATAxFSDPxTENSOR, instead of ExecutionConfig's mesh and --devices.")
_ACCELERATOR = flags.DEFINE_string("accelerator", "", "Device kind whose published peak turns FLOPs into time.")
_UTILISATION = flags.DEFINE_float("utilisation", 0.4, "Assumed MFU for that time.", lower_bound=0.001, upper_bound=1.0)
_EXPORT = flags.DEFINE_list("export_platforms", [], "Also lower the step for these platforms (tpu, cuda).")
_COMPILE = flags.DEFINE_bool("compile", True, "Compile for bytes per device; --nocompile prints the formulas only.")
_JSON = flags.DEFINE_bool("json", False, "Print JSON instead of tables.")
_LADDER = flags.DEFINE_bool("ladder", False, "Print the rungs of every family nearest to 10^4 ... 10^10 parameters.")


def main(argv: Sequence[str]) -> None:
    """Prints the cost of the run that the Gin files describe."""
    del argv
    if _LADDER.value:
        rungs = cost_tables.ladder_rungs()
        print(json.dumps(rungs, indent=2) if _JSON.value else cost_tables.ladder_text(rungs))
        return
    if not verbs.gin_file_flags():
        raise ConfigError("no Gin file was given", "name one by --gin_file, or print the ladder by --ladder")
    config = gin_files.load(RunConfig, verbs.gin_file_flags(), verbs.gin_binding_flags()).config
    config, devices = _mesh(config)
    cost = cost_tables.formulas(config)
    if _COMPILE.value or _EXPORT.value or _ACCELERATOR.value:
        cost |= _on_devices(config, devices)
    print(json.dumps(cost, indent=2) if _JSON.value else cost_tables.cost_text(cost))


def _mesh(config: RunConfig) -> tuple[RunConfig, int]:
    """The run on the mesh of the command line, and its number of devices."""
    if not _MESH.value:
        return config, _DEVICES.value
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*x[1-9]\d*", _MESH.value):
        raise ConfigError(f"--mesh is {_MESH.value!r}", "give DATAxFSDPxTENSOR, such as 2x4x1")
    shape = [int(size) for size in _MESH.value.split("x")]
    execution = dataclasses.replace(config.execution, **dict(zip(("data", "fsdp", "tensor"), shape, strict=True)))
    return dataclasses.replace(config, execution=execution), math.prod(shape)


def _on_devices(config: RunConfig, devices: int) -> dict[str, Any]:
    """The part of the cost that needs JAX."""
    # Both are read once, when JAX starts, so this comes before the first import of it.
    count = f"--xla_force_host_platform_device_count={devices}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {count}".strip()
    os.environ["JAX_PLATFORMS"] = "cpu"
    from scaling.accounting import compiled

    compiled.require_known(_ACCELERATOR.value, _EXPORT.value)
    cost = {}
    step = compiled.abstract_step(config)
    if _COMPILE.value:
        cost["bytes_per_device"] = compiled.bytes_per_device(step)
    if _EXPORT.value:
        cost["exported_bytes"] = {platform: compiled.exported_bytes(step, platform) for platform in _EXPORT.value}
    if _ACCELERATOR.value:
        cost["time"] = compiled.expected_time(config, devices, _ACCELERATOR.value, _UTILISATION.value)
    return cost


if __name__ == "__main__":
    verbs.run(main)
