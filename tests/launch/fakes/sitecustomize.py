"""With this folder on PYTHONPATH, every Python process has the fake trainer in place of the real one, and all else is as a user runs it."""

import pathlib
import sys

from launch import processes

_FAKE_TRAINER = str(pathlib.Path(__file__).parents[1] / "fake_trainer.py")

processes.train_command = lambda paths: [sys.executable, _FAKE_TRAINER, *(f"--run_dir={path}" for path in paths)]
