"""The command `sky`: the only way in which SkyPilot is spoken to, since its packages do not fit beside those of training."""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

from scaling.errors import ConfigError
from scaling.gin_files import PROJECT_ROOT

NAME = "sky"

_INSTALL = 'install it apart from the project: uv tool install "skypilot[gcp]==0.14.1"'

# Colours, as terminals get them.
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def require() -> None:
    """Refuses to go on without the command.

    Raises:
      ConfigError: it is not on the PATH.
    """
    if shutil.which(NAME) is None:
        raise ConfigError("the sky engine needs the command `sky` of SkyPilot, which is not on the PATH", _INSTALL)


def require_credentials(cloud: str) -> None:
    """Asks SkyPilot whether it may use a cloud.

    Raises:
      ConfigError: it may not.
    """
    usable: dict[str, Any] = _json(run([NAME, "check", cloud, "-o", "json"]), "{")
    if not any(name.lower() == cloud for clouds in usable.values() for name in clouds):
        raise ConfigError(
            f"SkyPilot has no credentials for {cloud}", f"run `sky check {cloud}`, which says what is missing"
        )


def queue() -> list[dict[str, Any]]:
    """Every managed job that SkyPilot remembers: `job_id`, `job_name`, `status` and more.

    Raises:
      ConfigError: it cannot be asked.
    """
    return _json(run([NAME, "jobs", "queue", "--all", "-o", "json"]), "[")


def run(command: Sequence[str]) -> str:
    """The output of one `sky` command, started in the project's root, which it uploads.

    Raises:
      ConfigError: it is missing or fails, with the last line that it wrote.
    """
    require()
    ended = subprocess.run(
        command, cwd=PROJECT_ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if ended.returncode:
        said = [_ESCAPES.sub("", line).strip() for line in (ended.stdout + ended.stderr).splitlines()]
        last = next((line for line in reversed(said) if line), "it said nothing")
        raise ConfigError(
            f"`{' '.join(command)}` failed with exit code {ended.returncode}: {last}",
            "mend what it names, and repeat the command",
        )
    return ended.stdout


def _json(output: str, opening: str) -> Any:
    """The JSON that follows whatever notices come before it."""
    start = re.search(rf"^{re.escape(opening)}", output, re.M)
    try:
        return json.loads(output[start.start() :] if start else output)
    except ValueError as error:
        raise ConfigError(f"`sky` printed no JSON: {output.strip()[:200]!r}", "use SkyPilot 0.14.1") from error
