"""Strict settings for every test, and small real stores to train on."""

import os
import pathlib

# Before JAX starts: one CPU device, strict shapes, and compilations shared between tests and runs.
PROJECT_ROOT = pathlib.Path(__file__).resolve().parent.parent
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(PROJECT_ROOT / ".cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
# Compiling is most of the work of small models, and unoptimised programs compute the same: a third less processor time in all.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest  # noqa: E402

from scaling.data import verification  # noqa: E402
from tests.scaling.byte_stores import write_byte_store  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def stamps_of_verified_stores(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Kept apart from those of the user, in this process and in all that it starts."""
    os.environ[verification.FOLDER_VARIABLE] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def byte_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A token store of bytes of real speeches: splits train (about 400k tokens) and validation."""
    return write_byte_store(tmp_path_factory.mktemp("stores") / "speeches")
