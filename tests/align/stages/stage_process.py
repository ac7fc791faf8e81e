"""A stage in a process of its own, which kills itself at a given step: `python -m tests.align.stages.stage_process KIND CONFIG ROOT STEP CHECKPOINT`.

CONFIG is a pickled configuration. The process sends itself SIGKILL when step STEP is about to be dispatched and checkpoint CHECKPOINT is on the disk.
"""

import os
import pathlib
import pickle
import signal
import sys
import time

from align.stages import catalogue, ppo, preference, reward, supervised
from align.training.sample_cache import SampleCache
from tests.align.stages import small_stages

STAGES = {
    "sft": supervised.Supervised,
    "reward": reward.RewardStage,
    "preference": preference.PreferenceStage,
    "ppo": ppo.PpoStage,
}


def kill_at_step(kind: str, root: pathlib.Path, step_to_kill: int, checkpoint: int) -> None:
    step = STAGES[kind].step

    def killed(self, state, number):
        if number == step_to_kill:
            _wait_for(root, f"*/checkpoints/{checkpoint}")
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, state, number)

    STAGES[kind].step = killed


def kill_at_batch(number_to_kill: int) -> None:
    get = SampleCache.get

    def killed(self, number, draw):
        if number == number_to_kill:
            os.kill(os.getpid(), signal.SIGKILL)
        return get(self, number, draw)

    SampleCache.get = killed


def _wait_for(root: pathlib.Path, pattern: str) -> None:
    deadline = time.monotonic() + 60
    while not list(root.glob(pattern)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{root}/{pattern} did not appear")
        time.sleep(0.02)


def main(kind: str, config: str, root: str, step: str, checkpoint: str) -> None:
    assert kind in catalogue.KINDS
    if kind == "best_of_n":
        kill_at_batch(int(step))
    else:
        kill_at_step(kind, pathlib.Path(root), int(step), int(checkpoint))
    small_stages.run(kind, pickle.loads(pathlib.Path(config).read_bytes()), pathlib.Path(root))


if __name__ == "__main__":
    main(*sys.argv[1:])
