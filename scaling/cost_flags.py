"""Flags of the verbs that say what something would cost: on which (simulated) devices, and of which kind."""

import dataclasses
import math
import os
import re

from absl import flags

from scaling.errors import ConfigError
from scaling.run_config import ExecutionConfig

_DEVICES = flags.DEFINE_integer("devices", 1, "Devices of the mesh; they are simulated.", lower_bound=1)
_MESH = flags.DEFINE_string("mesh", "", "DATAxFSDPxTENSOR, instead of ExecutionConfig's mesh and --devices.")
_ACCELERATOR = flags.DEFINE_string("accelerator", "", "Device kind whose published peak turns FLOPs into time.")
_UTILISATION = flags.DEFINE_float("utilisation", 0.4, "Assumed MFU for that time.", lower_bound=0.001, upper_bound=1.0)
_COMPILE = flags.DEFINE_bool("compile", True, "Compile for bytes per device; --nocompile prints the formulas only.")
_JSON = flags.DEFINE_bool("json", False, "Print JSON instead of tables.")


@dataclasses.dataclass(frozen=True)
class CostFlags:
    """Their values.

    Attributes:
      accelerator: a device kind, or empty.
      utilisation: assumed MFU, a fraction.
      compile: whether programs are compiled for their memory.
      json: whether JSON is printed.
    """

    accelerator: str
    utilisation: float
    compile: bool
    json: bool


def values() -> CostFlags:
    """What the command line says."""
    return CostFlags(_ACCELERATOR.value, _UTILISATION.value, _COMPILE.value, _JSON.value)


def devices() -> int:
    """Devices of the mesh.

    Raises:
      ConfigError: --mesh is no mesh.
    """
    return math.prod(_mesh().values()) if _MESH.value else _DEVICES.value


def on_mesh(execution: ExecutionConfig) -> ExecutionConfig:
    """The execution on the mesh of the command line, or on its own one."""
    return dataclasses.replace(execution, **_mesh()) if _MESH.value else execution


def _mesh() -> dict[str, int]:
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*x[1-9]\d*", _MESH.value):
        raise ConfigError(f"--mesh is {_MESH.value!r}", "give DATAxFSDPxTENSOR, such as 2x4x1")
    return dict(zip(("data", "fsdp", "tensor"), map(int, _MESH.value.split("x")), strict=True))


def simulate(devices: int) -> None:
    """Makes JAX see so many host devices. Both are read once, when JAX starts, so this comes before the first import of it."""
    # What is compiled is never run, and how well LLVM optimises it changes none of its buffers.
    added = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {added}".strip()
    os.environ["JAX_PLATFORMS"] = "cpu"
