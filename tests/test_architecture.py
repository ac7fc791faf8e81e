"""The rooms of ARCHITECTURE.md: who may import whom, and what the edges may load."""

import ast
import pathlib
import subprocess
import sys

import pytest

from tests.conftest import PROJECT_ROOT

# A module may import project modules under these prefixes only; the longest matching key applies.
ALLOWED = {
    "scaling": ("scaling",),
    "align": ("align", "scaling"),
    "analysis": ("analysis", "scaling", "align"),
    "analysis/laws": ("analysis.laws",),
    "launch": (
        "launch",
        "scaling.accounting.flops",
        "scaling.accounting.parameters",
        "scaling.data.config",
        "scaling.data.store",
        "scaling.distributed",
        "scaling.errors",
        "scaling.extras",
        "scaling.gin_files",
        "scaling.mirrors",
        "scaling.models.config",
        "scaling.optim.schedules",
        "scaling.run_config",
        "scaling.run_directory",
        "scaling.run_stores",
        "scaling.training.progress",
        "scaling.verbs",
    ),
}
ROOMS = ("scaling", "align", "analysis", "launch")
JAX_FREE = (
    "launch.sweep",
    "launch.status",
    "launch.export",
    "launch.doctor",
    "launch.lineage",
    "launch.resume",
    "launch.cancel",
    "launch.search",
    "launch.run_one",
    "launch.worker",
    "scaling.train",
    "scaling.convert",
    "scaling.run_directory",
    "scaling.accounting.flops",
    "align.sft",
    "align.reward",
    "align.dpo",
    "align.ppo",
    "align.best_of_n",
    "align.collect",
    "align.study",
    "align.laboratory",
    "align.cost",
)


def modules():
    for room in ROOMS:
        yield from sorted((PROJECT_ROOT / room).rglob("*.py"))


def imported(path: pathlib.Path) -> list[str]:
    """Project modules that a file imports, anywhere in it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if name.split(".")[0] in ROOMS]


@pytest.mark.parametrize("path", list(modules()), ids=lambda path: str(path.relative_to(PROJECT_ROOT)))
def test_no_room_reaches_up(path):
    place = str(path.relative_to(PROJECT_ROOT))
    rule = max((key for key in ALLOWED if place.startswith(key + "/")), key=len)
    for name in imported(path):
        assert any(name == prefix or name.startswith(prefix + ".") for prefix in ALLOWED[rule]), (
            f"{place} imports {name}"
        )


def test_things_have_names():
    vague = {"utils", "util", "common", "helpers", "misc"}
    assert not [path for path in modules() if path.stem in vague or vague & set(path.parent.parts)]


def test_gin_stays_at_the_edge():
    users = [str(path.relative_to(PROJECT_ROOT)) for path in modules() if "import gin\n" in path.read_text()]
    assert users == ["scaling/gin_files.py"]


@pytest.mark.parametrize("module", JAX_FREE)
def test_the_edge_starts_without_jax(module):
    code = f"import sys, {module}; sys.exit('jax' in sys.modules or 'tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, check=False).returncode == 0


def test_the_core_dependencies_of_the_card_are_declared_and_used():
    declared = (PROJECT_ROOT / "setup.py").read_text()
    sources = "\n".join(path.read_text() for path in modules())
    card = {
        "jax": "import jax",
        "flax": "flax",
        "optax": "import optax",
        "orbax-checkpoint": "orbax.checkpoint",
        "tensorflow-datasets": "tensorflow_datasets",
        "seqio": "import seqio",
        "gin-config": "import gin",
        "absl-py": "from absl import",
    }
    for package, use in card.items():
        assert f'"{package}' in declared and use in sources, package
