"""Roots in a bucket: whether they can be reached, asked once and before anything else asks them."""

import functools

from etils import epath

from scaling import run_directory
from scaling.errors import ConfigError


@functools.cache
def require_reachable(root: str) -> None:
    """Looks for a root; does nothing for one on a disk.

    The clients of buckets raise exceptions of many types and at length; here they become one line.

    Raises:
      ConfigError: the bucket does not answer, is not there, or may not be read.
    """
    if not run_directory.is_remote(root):
        return
    try:
        epath.Path(root).exists()
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"the root {root} cannot be reached ({type(error).__name__}: {said})",
            "log in by `gcloud auth application-default login`, and check the bucket's name and your right to it",
        ) from error
