"""The locks pin what setup.py asks for, agree with each other, and are what every install command names."""

import importlib.metadata
import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import extras
from tests.conftest import PROJECT_ROOT

CORE, EXTRAS = PROJECT_ROOT / "requirements.lock", PROJECT_ROOT / "requirements-extras.lock"
# Named by `make test`; what brings more than a few megabytes is not.
LIGHT = ("optuna", "submitit", "tensorboardX")
# Read as files alone, so what they require is not installed; TensorFlow is there as tensorflow-cpu.
DATA_ALONE = extras.DATA_ALONE


def pins(lock) -> dict[str, str]:
    """Versions by canonical name."""
    return {
        canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)$", lock.read_text(), re.M)
    }


def test_no_package_is_pinned_twice_and_none_is_tensorflow_itself():
    core, more = pins(CORE), pins(EXTRAS)
    assert not core.keys() & more.keys()
    assert "tensorflow-cpu" in core and "tensorflow" not in core | more
    for lock, pinned in ((CORE, core), (EXTRAS, more)):
        lines = [line for line in lock.read_text().splitlines() if line and not line.startswith(("#", "-c "))]
        assert len(lines) == len(pinned), f"{lock.name} has a line that pins nothing, or a name twice"


@pytest.mark.parametrize("extra", sorted(extras.extras()))
def test_every_extra_is_pinned_at_a_version_that_setup_allows(extra):
    pinned = pins(CORE) | pins(EXTRAS)
    for requirement in map(Requirement, extras.extras()[extra]):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version and requirement.specifier.contains(version, prereleases=True), f"{requirement}: {version}"


@pytest.mark.parametrize("package", [*LIGHT, "wandb", "mlflow", "google-cloud-storage"])
def test_whatever_an_extra_requires_is_pinned_and_fits(package):
    """Follows the requirements of what is installed here; a missing pin would let the installer choose, and a wrong one would make it refuse."""
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    pinned = pins(CORE) | pins(EXTRAS)
    waiting, seen = [package], set()
    while waiting:
        name = waiting.pop()
        if canonicalize_name(name) in seen:
            continue
        seen.add(canonicalize_name(name))
        assert canonicalize_name(name) in pinned, f"{name} is not pinned"
        for requirement in map(Requirement, importlib.metadata.requires(name) or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                version = pinned[canonicalize_name(requirement.name)]
                assert requirement.specifier.contains(version, prereleases=True), (
                    f"{name} asks for {requirement}: {version}"
                )
                waiting.append(requirement.name)
    assert len(seen) > 1


def test_make_installs_the_light_extras_before_the_suite():
    """Without them the tests of the search, of Slurm and of TensorBoard would be skipped on a new machine."""
    makefile = (PROJECT_ROOT / "Makefile").read_text()
    assert f"install --quiet --disable-pip-version-check -c {EXTRAS.name} {' '.join(LIGHT)}\n" in makefile
    assert re.search(r"^test: \$\(VENV\)/\.installed-extras$", makefile, re.M)


def test_every_command_that_installs_an_extra_names_the_lock():
    """A bare name takes another version, and `plumbline[EXTRA]` takes tensorflow over tensorflow-cpu."""
    named = re.compile(r"pip install (?P<arguments>[^`\n]*)")
    packages = {
        Requirement(text).name for name, texts in extras.extras().items() if name not in DATA_ALONE for text in texts
    }
    places = ("README.md", "CONTRIBUTING.md", "docs", "configs", "align", "analysis", "launch", "scaling", "tests")
    files = [path for place in places for path in (PROJECT_ROOT / place, *(PROJECT_ROOT / place).rglob("*"))]
    commands = [
        (path, match["arguments"])
        for path in files
        if path.suffix in (".md", ".py", ".gin", ".yaml") and path.name != "test_locks.py"
        for match in named.finditer(path.read_text())
    ]
    assert sum(EXTRAS.name in arguments for _, arguments in commands) > 10
    for path, arguments in commands:
        words = {re.split(r"[=<>\[]", word.strip("'\""))[0] for word in arguments.split()}
        assert EXTRAS.name in arguments or not words & packages, f"{path}: pip install {arguments}"
        assert "plumbline[" not in arguments and ".[" not in arguments, f"{path}: pip install {arguments}"
