"""Copies runs into the stores of tracking services: `python -m launch.export --to=tensorboard|wandb|mlflow --root=DIR`.

It reads run directories of both stages and adds what is new since the last export; repeating it adds nothing. Services are mirrors: nothing here ever reads
them back, and deleting a destination only means that the next export fills it again.
"""

import os
from collections.abc import Sequence

from absl import flags

from launch import run_folders
from launch.mirrors import exporting
from launch.mirrors.mirror import Mirror
from scaling import verbs
from scaling.errors import ConfigError, PlumblineError
from scaling.extras import require

# What each service needs.
_PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}

_TO = flags.DEFINE_enum("to", None, list(_PACKAGES), "The service; needed.")
_ROOTS = flags.DEFINE_multi_string("root", ["runs"], "Directory that holds run directories, at any depth; repeatable.")
_OUTPUT = flags.DEFINE_string("output", None, "Where the copies go; by default exports/SERVICE in the first root.")
_SWEEP = flags.DEFINE_string("sweep", None, "Only runs of this sweep: its name, or its id.")
_CURVES = flags.DEFINE_bool("curves", True, "Curves too; --nocurves exports settings and results alone.")
_MODE = flags.DEFINE_enum(
    "mode", "offline", ["offline", "online"], "wandb: write directories for `wandb sync`, or send."
)
_PROJECT = flags.DEFINE_string("project", "plumbline", "wandb: the project.")
_ENTITY = flags.DEFINE_string("entity", "", "wandb: user or team; by default the account's own.")
_TRACKING_URI = flags.DEFINE_string(
    "tracking_uri", "", "mlflow: a server's address, instead of a database in --output."
)


def main(argv: Sequence[str]) -> None:
    """Exports and prints what was done."""
    del argv
    if not _TO.value:
        raise ConfigError("--to is missing", f"name a service: {', '.join(_PACKAGES)}")
    for root in _ROOTS.value:
        run_folders.require_local(root)
    require(_PACKAGES[_TO.value], f"--to={_TO.value}")
    output = _OUTPUT.value or os.path.join(_ROOTS.value[0], "exports", _TO.value)
    with exporting.only_writer(output):
        mirror = _mirror(output)
        try:
            counts = exporting.export(_ROOTS.value, mirror, sweep=_SWEEP.value, curves=_CURVES.value)
        finally:
            mirror.close()
    print(
        f"{output}: {counts.new} new, {counts.updated} updated and {counts.unchanged} unchanged runs, {counts.rows} rows written"
    )
    if counts.refused:
        for line in exporting.reasons(counts):
            print(f"not exported: {line}")
        raise PlumblineError(
            f"{len(counts.refused)} runs were not exported, as said above; the same command tries them again"
        )


def _mirror(output: str) -> Mirror:
    # Imported when asked for: each needs an extra of its own.
    match _TO.value:
        case "tensorboard":
            from launch.mirrors.tensorboard import TensorBoardMirror

            return TensorBoardMirror(output)
        case "wandb":
            from launch.mirrors.weights_and_biases import WandbMirror

            return WandbMirror(output, mode=_MODE.value, project=_PROJECT.value, entity=_ENTITY.value)
        case _:
            from launch.mirrors.mlflow import MlflowMirror

            return MlflowMirror(output, _TRACKING_URI.value)


if __name__ == "__main__":
    verbs.run(main)
