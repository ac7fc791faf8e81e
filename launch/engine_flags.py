"""The flags that choose an engine and change its settings, shared by the verbs that submit."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from absl import flags

from launch.engines import catalogue
from launch.engines.engine import Engine
from scaling import gin_files
from scaling.errors import ConfigError

_ENGINE = flags.DEFINE_string("engine", None, f"Where jobs run: {', '.join(catalogue.ENGINES)}; local by default.")
_SLOTS = flags.DEFINE_integer(
    "slots", None, "Jobs at a time; locally one for each CPU core or accelerator chip by default.", lower_bound=1
)
_CHIPS_PER_SLOT = flags.DEFINE_integer(
    "chips_per_slot", None, "Accelerator chips that a local slot shows its job.", lower_bound=1
)
_RETRIES = flags.DEFINE_integer("retries", None, "How often a run is tried again after a crash.", lower_bound=0)

# Flag -> fields of engines that it may set; the first that an engine has.
_FIELDS = {
    "slots": ("places", "parallelism"),
    "chips_per_slot": ("chips_per_slot",),
    "retries": ("retries",),
}


def name() -> str:
    """The engine that was asked for."""
    return _ENGINE.value or "local"


def was_named() -> bool:
    """Whether --engine was given."""
    return _ENGINE.value is not None


def from_gin(gin_file_names: list[str], bindings: list[str]) -> Engine:
    """The engine, with the settings that Gin files, bindings and flags give it.

    Raises:
      ConfigError: there is no such engine, or a setting is wrong.
    """
    engine_class = catalogue.engine_class(name())
    gin_files.parse(engine_class, gin_file_names, bindings)
    return with_flags(gin_files.build(engine_class).config)


def from_settings(engine_name: str, settings: Mapping[str, Any]) -> Engine:
    """The engine of an earlier submission, with the settings that flags change.

    Raises:
      ConfigError: there is no such engine, or its settings are not those of this version.
    """
    return with_flags(gin_files.from_dict(catalogue.engine_class(engine_name), settings))


def with_flags(engine: Engine) -> Engine:
    """The engine with what --slots, --chips_per_slot and --retries say.

    Raises:
      ConfigError: it has no such setting.
    """
    values = {"slots": _SLOTS.value, "chips_per_slot": _CHIPS_PER_SLOT.value, "retries": _RETRIES.value}
    own = {field.name for field in dataclasses.fields(engine)}
    changes = {}
    for flag, value in values.items():
        if value is None:
            continue
        field = next((field for field in _FIELDS[flag] if field in own), None)
        if field is None:
            raise ConfigError(f"--{flag} is no setting of the engine {engine.name}", "leave it out")
        changes[field] = value
    return dataclasses.replace(engine, **changes)
