"""Trains frozen runs: `python -m launch.run_one --root=DIR --run_id=X [--run_id=Y ..]`; the only thing that any engine runs.

Runs that are done are left alone, and so are those that another process holds. The rest is trained by `python -m scaling.train`, which takes this
process over, so that a signal or a kill meets the trainer itself and its exit code is this one's:

    0   the runs are recorded                      75  interrupted, or all that is left is held by others: the same command continues
    2   bad input; repeating it cannot help        70  recorded, and one diverged
    1   a fault; worth another try
"""

import os
import sys
from collections.abc import Iterable, Sequence

from absl import flags

from launch import processes, states
from launch.claims import Claim, try_claim
from scaling import distributed, run_directory, verbs
from scaling.errors import ConfigError, DivergedError, InterruptedRunError

_ROOT = flags.DEFINE_string("root", "runs", "Directory that holds run directories.")
_RUN_IDS = flags.DEFINE_multi_string(
    "run_id", [], "A frozen run below the root, or a trunk with its branches; repeatable."
)


def main(argv: Sequence[str]) -> None:
    """Claims what is unfinished and free, and becomes its trainer.

    Raises:
      InterruptedRunError: others hold all that is left.
      DivergedError: all is recorded, and something diverged.
      BadInputError: no run is named, or one has no readable directory.
    """
    del argv
    if not _RUN_IDS.value:
        raise ConfigError("--run_id is missing", "name a run of the root; launch.status lists them")
    units = [states.unit_of(_ROOT.value, run_id) for run_id in dict.fromkeys(_RUN_IDS.value)]
    take = _claim if distributed.place_of(os.environ, distributed.has_tpu()).arguments is None else _share
    claimed = [(unit, claim) for unit in units if (claim := take(unit)) is not None]
    if claimed:
        _become_trainer([unit for unit, _ in claimed], [claim for _, claim in claimed])
    held = [unit.run_id for unit in units if not states.is_finished(unit)]
    if held:
        raise InterruptedRunError(f"another process holds {', '.join(held)}; the same command continues what it leaves")
    _conclude(units)


def _claim(unit: states.Unit) -> Claim | None:
    """A claim on a run that has work; None where it is done or held. Looks again under the claim: another process may just have finished it."""
    if run_directory.is_remote(unit.root):
        free = not states.is_finished(unit) and not states.is_held(unit)
        return Claim(None) if free else None
    claim = try_claim(states.claims_folder(unit.root), unit.run_id)
    if claim is None:
        return None
    if states.is_finished(unit) or states.unit_status(unit) == "running":
        claim.close()
        return None
    return claim


def _share(unit: states.Unit) -> Claim | None:
    """For one of the several processes of a run, of which each comes here: the trainer's first process takes the lock for all of them."""
    return None if states.is_finished(unit) else Claim(None)


def _become_trainer(units: Iterable[states.Unit], claims: Iterable[Claim]) -> None:
    """Replaces this process by the trainer, which keeps the claims until it ends."""
    for claim in claims:
        claim.survive_exec()
    command = processes.train_command([unit.path for unit in units])
    sys.stdout.flush()
    os.execve(command[0], command, processes.with_project_on_path(os.environ))


def _conclude(units: Sequence[states.Unit]) -> None:
    outcomes = {unit.run_id: states.unit_status(unit) for unit in units}
    diverged = [run_id for run_id, outcome in outcomes.items() if outcome == "diverged"]
    print(f"nothing to do: {len(units)} runs are recorded")
    if diverged:
        raise DivergedError(
            f"{len(diverged)} of {len(units)} runs diverged, as their records say: {', '.join(diverged)}"
        )


if __name__ == "__main__":
    verbs.run(main)
