"""Seconds per run outside training: 200 tiny runs through the real verbs, with trainers that do nothing.

    python -m tests.benchmarks.launch_overhead [RUNS] [SLOTS]

For each engine, wall and processor seconds of the whole command, start of Dask and Python included, divided by the runs: for runs of one compiled shape, which
share a few processes, and for a fifth as many of which each has a shape, and so a process, of its own.
"""

import os
import pathlib
import resource
import sys
import tempfile
import time

from tests.launch.conftest import Laboratory, ended, fake_sweep, write_store

_SHAPES = """
sweep_config.Sweep.parts = (@sweep_config.Part(),)
sweep_config.Part.axes = (@sweep_config.Grid(),)
sweep_config.Grid.binding = "{binding}"
sweep_config.Grid.values = {values}
"""


def main() -> None:
    """Measures and prints one row a case."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    slots = int(sys.argv[2]) if len(sys.argv) > 2 else len(os.sched_getaffinity(0))
    print(f"load average {os.getloadavg()[0]:.1f}; seconds per run:")
    print("engine  slots  runs  shapes  wall    processor")
    for engine, arguments in (("local", [f"--slots={slots}"]), ("serial", [])):
        for shapes, count, binding in (
            (1, runs, "RunConfig.seed"),
            (runs // 5, runs // 5, "DataConfig.sequence_length"),
        ):
            wall, processor = _measure(engine, arguments, binding, count)
            used = slots if engine == "local" else 1
            print(
                f"{engine:7} {used:5}  {count:4}  {shapes:6}  {wall / count:6.3f}  {processor / count:6.3f}", flush=True
            )


def _measure(engine: str, arguments: list[str], binding: str, runs: int) -> tuple[float, float]:
    """Wall and processor seconds of one sweep."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        lab = Laboratory(path, path / "runs", write_store(path / "bytes"))
        # Lengths of sequences change the compiled step, and so the group; seeds do not.
        gin_file = lab.gin_file(_SHAPES.format(binding=binding, values=tuple(range(1, runs + 1))))
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        shown = ended(fake_sweep(f"--gin_file={gin_file}", f"--engine={engine}", *arguments), timeout=3600)
        wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        if shown.code or f"{runs} completed" not in shown.out:
            raise RuntimeError(f"the sweep ended with {shown.code}: {shown.err}")
        return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
