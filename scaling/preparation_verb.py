"""What the verbs that prepare stores share: flags, --verify, --dry_run."""

from collections.abc import Callable, Iterable
from typing import Any

from absl import flags

from scaling import gin_files, verbs
from scaling.data.manifested import ManifestedStore
from scaling.errors import ConfigError

_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Overrides output_dir of the Gin file's configuration.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Print what would be written and about how long it takes, and stop.")
_VERIFY = flags.DEFINE_multi_string("verify", [], "Re-hash every file of this store and stop; repeatable.")


def run(
    config_type: type,
    opened: Callable[[str, str], ManifestedStore],
    planned: Callable[[Any], Iterable[str]],
    prepared: Callable[[Any], Iterable[str]],
    examples: str,
) -> None:
    """Verifies, plans or prepares, as the flags say, and prints a line for each store.

    Args:
      config_type: the dataclass that the Gin files bind; it has a field `output_dir`.
      opened: opens a store by path and kind of verification.
      planned: what a configuration would write, in lines.
      prepared: writes it, and says so in lines.
      examples: where shipped files of this kind are.

    Raises:
      BadInputError: the configuration, the data or a store cannot be used.
    """
    if _VERIFY.value:
        for path in _VERIFY.value:
            print(f"{path}: intact, store_hash {opened(path, 'hash').store_hash}")
        return
    if not verbs.gin_file_flags():
        raise ConfigError("no --gin_file was given", f"name one of {examples}")
    bindings = list(verbs.gin_binding_flags())
    if _OUTPUT_DIR.value is not None:
        bindings.append(f"{config_type.__name__}.output_dir={_OUTPUT_DIR.value!r}")
    config = gin_files.load(config_type, verbs.gin_file_flags(), bindings).config
    for line in (planned if _DRY_RUN.value else prepared)(config):
        print(line)
