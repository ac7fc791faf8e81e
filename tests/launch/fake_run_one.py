"""`python -m launch.run_one` with the fake trainer in place of the real one."""

import pathlib
import sys

from launch import processes, run_one
from scaling import verbs

FAKE_TRAINER = str(pathlib.Path(__file__).with_name("fake_trainer.py"))

processes.train_command = lambda paths: [sys.executable, FAKE_TRAINER, *(f"--run_dir={path}" for path in paths)]

if __name__ == "__main__":
    verbs.run(run_one.main)
