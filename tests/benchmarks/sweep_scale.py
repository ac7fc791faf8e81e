"""What a sweep costs outside training, by its number of runs: `python -m tests.benchmarks.sweep_scale [--runs=1000,10000] [--folder=DIR]`.

The directories are real and so are the verbs; only the engine is faked: nobody trains, and the files that trainers leave are written by
`tests.launch.simulated_runs`. A sweep has ten sizes, ten horizons, and as many seeds as it takes; nine of ten runs are finished when it
is looked at. Each row is a process of its own, start of Python included, and CPU seconds are what compares on a machine that is shared.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

# Nothing else is imported: a process begins with the peak of the one that starts it.
PROJECT_ROOT = pathlib.Path(__file__).resolve().parents[2]


def steps(runs: int, folder: pathlib.Path) -> Iterator[tuple[str, list[str]]]:
    """A sweep's life in order: what each step is, and its command. Those in brackets are no part of plumbline."""
    root, gin_file = f"--root={folder / 'runs'}", f"--gin_file={folder / 'sweep.gin'}"

    def phase(name: str) -> list[str]:
        return ["tests.benchmarks.sweep_phases", name, str(folder), str(runs)]

    yield "(prepare a store)", phase("prepare")
    yield "launch.sweep --dry_run", ["launch.sweep", root, gin_file, "--dry_run"]
    yield "plan, freeze, cut jobs, write the manifest", phase("freeze")
    yield "read the manifest, cut one of 64 shards", phase("shard")
    yield "(write what trainers of 9 runs in 10 leave)", phase("finish")
    yield "launch.status", ["launch.status", root]
    yield "launch.resume --dry_run", ["launch.resume", root, "--dry_run"]
    yield "index, from nothing", phase("bring_index_up_to_date")
    yield "index, nothing changed", phase("bring_index_up_to_date")
    yield "(finish one run in 100 more)", phase("finish_more")
    yield "index, one run in 100 changed", phase("bring_index_up_to_date")


def measured(command: Sequence[str]) -> dict[str, float]:
    """Wall seconds, CPU seconds and peak memory of `python -m COMMAND`."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT)}
    arguments = [sys.executable, "-m", *command]
    started = time.monotonic()
    process = subprocess.Popen(arguments, env=environment, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    wall, cpu = time.monotonic() - started, usage.ru_utime + usage.ru_stime
    return {"wall_seconds": wall, "cpu_seconds": cpu, "peak_mib": usage.ru_maxrss / 1024}


def main() -> None:
    """Measures every step at every number of runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", default="1000,10000", help="Numbers of runs, multiples of 100.")
    parser.add_argument("--folder", help="Where the sweeps are made, and left; by default a temporary folder.")
    parser.add_argument("--json", action="store_true", help="Print JSON lines.")
    flags = parser.parse_args()
    for runs in map(int, flags.runs.split(",")):
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(flags.folder or temporary) / str(runs)
            folder.mkdir(parents=True)
            for name, command in steps(runs, folder):
                found = {"runs": runs, "step": name, **measured(command)}
                text = "{runs:6} runs  {step:44} {cpu_seconds:8.1f} s CPU {wall_seconds:8.1f} s wall {peak_mib:6.0f} MiB".format(
                    **found
                )
                print(json.dumps(found) if flags.json else text, flush=True)


if __name__ == "__main__":
    main()
