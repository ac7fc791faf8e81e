"""What the checkout has beyond its commit, as a patch: with the two a run's code can be had again."""

import functools
import os
import pathlib
import shutil
import subprocess
import tempfile

from scaling import gin_files

# Longer ones are not kept: a checkout that differs by more is another project, or holds data.
LONGEST_BYTES = 4 * 2**20


@functools.cache
def patch() -> bytes:
    """Everything by which the files of the checkout differ from its commit, new files included and ignored ones not; for `git apply`.

    Empty for a clean checkout, outside a repository, and where git is missing. The repository and its index are left as they are.
    """
    root = gin_files.PROJECT_ROOT
    if not (root / ".git").exists() or shutil.which("git") is None:
        return b""
    index = pathlib.Path(_git({}, "rev-parse", "--git-path", "index").decode().strip())
    with tempfile.TemporaryDirectory() as folder:
        # New files are announced in a copy of the index, so that the difference shows them too.
        copy = os.path.join(folder, "index")
        shutil.copyfile(root / index, copy)
        aside = {"GIT_INDEX_FILE": copy}
        _git(aside, "add", "--intent-to-add", "--", ".")
        return _git(aside, "diff", "HEAD", "--binary")


def _git(environment: dict[str, str], *arguments: str) -> bytes:
    command = ["git", "-C", str(gin_files.PROJECT_ROOT), *arguments]
    return subprocess.run(command, capture_output=True, check=False, env={**os.environ, **environment}).stdout
