"""Looks whether a sweep can run here: `python -m launch.doctor [--root=DIR] [--engine=NAME --gin_file=configs/engines/X.gin]`.

A line for each finding: ok, or WRONG with what to do, or - for an engine that cannot be used and was not asked for. Exit codes: 0 all is well, 2
something is wrong. On several hosts of one run, run it on all of them at the same time.
"""

from collections.abc import Iterator, Sequence

from absl import flags

from launch import engine_flags, health
from launch.engines.catalogue import ENGINES
from launch.engines.local.engine import LocalEngine
from scaling import verbs
from scaling.errors import BadInputError

_ROOT = flags.DEFINE_string("root", "runs", "Directory that will hold run directories.")
_DEVICES = flags.DEFINE_bool("devices", True, "Start JAX and look at devices, masks and connections.")
_TIMEOUT = flags.DEFINE_float("timeout", 180.0, "Seconds that JAX may take to start.", lower_bound=1.0)
_LEAST_FREE_GB = flags.DEFINE_float("least_free_gb", 2.0, "Room that the root must have.", lower_bound=0.0)


def main(argv: Sequence[str]) -> None:
    """Prints the findings as they come.

    Raises:
      BadInputError: one of them is wrong.
    """
    del argv
    wrong = 0
    for finding in _findings():
        print(finding, flush=True)
        wrong += finding.failed
    if wrong:
        raise BadInputError(f"{wrong} of the findings above are wrong", "do what they say, and run this again")


def _findings() -> Iterator[health.Finding]:
    engine = engine_flags.from_gin(verbs.gin_file_flags(), verbs.gin_binding_flags())
    yield health.versions()
    yield health.root_access(_ROOT.value)
    yield health.free_disk(_ROOT.value, _LEAST_FREE_GB.value)
    for name in ENGINES:
        yield health.engine_use(name, engine if name == engine.name else None, _ROOT.value)
    if _DEVICES.value:
        yield health.devices(_TIMEOUT.value)
        yield health.masks(engine if isinstance(engine, LocalEngine) else LocalEngine(), _TIMEOUT.value)
        yield health.distributed_start(_TIMEOUT.value)


if __name__ == "__main__":
    verbs.run(main)
