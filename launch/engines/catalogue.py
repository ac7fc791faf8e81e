"""The engines by name. Each is imported when it is asked for, so that none slows the others down or needs their packages."""

import importlib
from typing import Any

from launch.engines.engine import Engine
from scaling.errors import ConfigError

# Name -> module and class.
ENGINES = {
    "local": ("launch.engines.local.engine", "LocalEngine"),
    "serial": ("launch.engines.local.engine", "SerialEngine"),
    "slurm": ("launch.engines.slurm.engine", "SlurmEngine"),
    "sky": ("launch.engines.sky.engine", "SkyEngine"),
}

# Their jobs end with the command that started them; those of the others go on.
ATTACHED = frozenset({"local", "serial"})


def engine_class(name: str) -> type[Any]:
    """The class of an engine, to be built from Gin or from the settings in a manifest.

    Raises:
      ConfigError: there is no engine of that name.
    """
    if name not in ENGINES:
        raise ConfigError(f"there is no engine {name!r}", f"choose among {', '.join(ENGINES)}")
    module, class_name = ENGINES[name]
    return getattr(importlib.import_module(module), class_name)


def is_attached(engine: Engine) -> bool:
    """Whether the jobs of an engine end with the command that started them."""
    return engine.name in ATTACHED
