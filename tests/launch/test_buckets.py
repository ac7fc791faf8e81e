"""A bucket that does not answer is one line and exit code 2, whatever its client raises."""

import pytest

from launch import buckets, manifest
from scaling.errors import ConfigError


class Silent:
    """A path whose client cannot log in."""

    def __init__(self, path):
        self.path = path

    def __truediv__(self, name):
        return self

    def exists(self):
        raise RuntimeError("Error executing an HTTP request:\n\tcould not resolve host")


@pytest.fixture
def silent(monkeypatch):
    monkeypatch.setattr(buckets.epath, "Path", Silent)
    buckets.require_reachable.cache_clear()
    yield
    buckets.require_reachable.cache_clear()


def test_a_silent_bucket_is_one_line(silent):
    with pytest.raises(ConfigError) as raised:
        buckets.require_reachable("gs://laboratory/runs")
    line = str(raised.value)
    assert (
        "the root gs://laboratory/runs cannot be reached (RuntimeError: Error executing an HTTP request: could not"
        in line
    )
    assert "\n" not in line and "gcloud auth" in line


def test_every_verb_asks_before_it_reads_a_manifest(silent):
    for ask in (
        lambda: manifest.read("gs://laboratory/runs", "x"),
        lambda: manifest.sweep_ids("gs://laboratory/runs"),
        lambda: manifest.refuse_other_sweeps("gs://laboratory/runs", "x"),
    ):
        with pytest.raises(ConfigError, match="cannot be reached"):
            ask()


def test_a_root_on_a_disk_is_not_asked(silent, tmp_path):
    buckets.require_reachable(str(tmp_path / "none"))
