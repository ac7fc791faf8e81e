"""What the verbs that plan runs from a Gin file share: flags, and reading the file."""

from typing import TypeVar

from absl import flags

from scaling import gin_files, verbs
from scaling.errors import ConfigError

ConfigT = TypeVar("ConfigT")

ROOT = flags.DEFINE_string("root", None, "Directory that holds run directories; by default `root` of the Gin file.")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print the plan, its jobs and its cost, and write nothing.")
FLOPS_PER_SECOND = flags.DEFINE_float(
    "flops_per_second",
    None,
    "FLOP/s of a slot for the prediction; by default measured on completed runs.",
    lower_bound=1.0,
)


def require_gin_file(what: str) -> None:
    """Refuses a command without --gin_file.

    Args:
      what: the remedy, such as "name a sweep of configs/sweeps/".

    Raises:
      ConfigError: there is none.
    """
    if not verbs.gin_file_flags():
        raise ConfigError("--gin_file is missing", what)


def from_gin(config_type: type[ConfigT]) -> ConfigT:
    """The configuration of the Gin files, which Gin then holds for the runs to be built from.

    Raises:
      ConfigError: a file cannot be used.
    """
    gin_files.parse(config_type, verbs.gin_file_flags(), verbs.gin_binding_flags())
    config = gin_files.build(config_type).config
    # Forgets that it was built itself, so that it is not among the operative bindings of the first run.
    with gin_files.overridden({}):
        pass
    return config
