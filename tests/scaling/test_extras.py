"""What an extra brings is imported, or named with the one command that installs it."""

import shlex
import sys

import pytest

from scaling import extras
from scaling.errors import ConfigError
from tests.conftest import PROJECT_ROOT


def test_what_is_not_installed_is_named_with_who_needs_it_and_what_installs_it(monkeypatch, tmp_path):
    with pytest.raises(
        ConfigError,
        match=r"a mirror needs no_such_package, which is not installed.*-m pip install -c \S+ no_such_package",
    ) as error:
        extras.require("no_such_package.writer", "a mirror")
    # The lock is found from wherever the command is given.
    monkeypatch.chdir(tmp_path)
    *_, lock, package = shlex.split(extras.install_command("no_such_package"))
    assert (tmp_path / lock).resolve() == PROJECT_ROOT / "requirements-extras.lock" and package == "no_such_package"
    assert error.value.exit_code == 2


def test_a_package_that_is_named_otherwise_than_its_module(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.cloud.storage", None)
    with pytest.raises(ConfigError, match=r"needs google-cloud-storage.*requirements-extras.lock google-cloud-storage"):
        extras.require("google.cloud.storage", "a bucket", "google-cloud-storage")


def test_a_package_that_is_there_and_does_not_import_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import absent_part")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ConfigError, match="broken_package, whose broken_package does not import: No module named 'absent_part'"
    ):
        extras.require("broken_package", "a mirror")
