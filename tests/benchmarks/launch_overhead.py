"""Seconds per run outside training: 200 tiny runs through the real verbs, with trainers that do nothing.

    python -m tests.benchmarks.launch_overhead [RUNS] [SLOTS]

For each engine, and for runs of one compiled shape (few processes) and of as many shapes as runs (a process each): wall and processor seconds of the whole
command, start of Dask and Python included, divided by the runs. A run whose work fits in less than this is not worth a process of its own.
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
    print(f"{runs} runs, load average {os.getloadavg()[0]:.1f}; seconds per run:")
    print("engine  slots  shapes  wall    processor")
    for engine, arguments in (("local", [f"--slots={slots}"]), ("serial", [])):
        for shapes, binding in ((1, "RunConfig.seed"), (runs, "DataConfig.sequence_length")):
            wall, processor = _measure(engine, arguments, binding, runs)
            count = slots if engine == "local" else 1
            print(f"{engine:7} {count:5}  {shapes:6}  {wall / runs:6.3f}  {processor / runs:6.3f}", flush=True)


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
