"""Imports what an extra of setup.py installs, and says which one where it is missing."""

import importlib
from types import ModuleType

from scaling.errors import ConfigError


def require(module: str, extra: str) -> ModuleType:
    """Imports a module of an extra.

    Raises:
      ConfigError: it is not installed, or what is installed does not import beside the rest.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == module.split(".")[0]
        what = f"{module.split('.')[0]} is not installed" if missing else f"{module} does not import: {error}"
        raise ConfigError(
            what, f"pip install 'plumbline[{extra}]', or in a checkout: pip install '.[{extra}]'"
        ) from error
