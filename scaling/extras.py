"""Imports what an extra of setup.py installs, and says what installs it where it is missing."""

import importlib
import os
import sys
from types import ModuleType

from scaling.errors import ConfigError
from scaling.gin_files import PROJECT_ROOT

LOCK = PROJECT_ROOT / "requirements-extras.lock"


def require(module: str, user: str, package: str = "") -> ModuleType:
    """Imports a module of an extra.

    Args:
      module: its full name.
      user: what needs it, for the message.
      package: that it belongs to; by default the first part of the module's name.

    Raises:
      ConfigError: it is not installed, or what is installed does not import beside the rest.
    """
    package = package or module.split(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
        what = (
            f"{package}, which is not installed" if missing else f"{package}, whose {module} does not import: {error}"
        )
        raise ConfigError(f"{user} needs {what}", install_command(package)) from error


def install_command(package: str) -> str:
    """What installs a package of an extra into this environment, at the lock's versions.

    It names the package and never the extra (`plumbline[search]`): a resolver that looks at the core takes the `tensorflow` that tensorflow-text asks
    for, and lays it over `tensorflow-cpu`.
    """
    return f"{sys.executable} -m pip install -c {os.path.relpath(LOCK)} {package}"
