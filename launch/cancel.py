"""Stops a sweep: `python -m launch.cancel --root=DIR --sweep_id=S`. Trainers save and leave; `launch.resume` goes on from there.

Local workers must be cancelled on their own machine; what other engines run is cancelled from wherever their command works.
"""

from collections.abc import Sequence

from absl import flags

from launch import engine_flags, manifest
from scaling import verbs

_ROOT = flags.DEFINE_string("root", "runs", "Directory that holds run directories.")
_SWEEP_ID = flags.DEFINE_string("sweep_id", None, "The sweep; without it the only one of the root.")


def main(argv: Sequence[str]) -> None:
    """Cancels every submission of the sweep that may still run."""
    del argv
    sweep = manifest.read(_ROOT.value, manifest.sweep_id_of(_ROOT.value, _SWEEP_ID.value))
    asked = 0
    for submitted in sweep.submissions:
        engine = engine_flags.from_settings(submitted.engine, submitted.settings)
        said = engine.poll(submitted.handles)
        open_handles = [handle for handle in submitted.handles if said.get(handle, "ended") != "ended"]
        if open_handles:
            engine.cancel(open_handles)
            asked += len(open_handles)
            print(f"asked {len(open_handles)} jobs of the {engine.name} engine to stop")
    if not asked:
        print(f"nothing of the sweep {sweep.sweep_id} is running")


if __name__ == "__main__":
    verbs.run(main)
