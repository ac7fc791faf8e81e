"""`python -m launch.sweep` with the fake trainer in place of the real one."""

import pathlib
import sys

from launch import processes, sweep
from scaling import verbs

processes.train_command = lambda paths: [sys.executable, str(pathlib.Path(__file__).with_name("fake_trainer.py"))]

if __name__ == "__main__":
    verbs.run(sweep.main)
