"""With this folder on PYTHONPATH, `launch.run_one` becomes the fake trainer in place of the real one, and all else is as a user runs it."""

import pathlib
import sys

_FAKE_TRAINER = str(pathlib.Path(__file__).parents[1] / "fake_trainer.py")

# Every Python process comes here when it starts; the others need not wait for the import.
if any("run_one" in word for word in sys.orig_argv):
    from launch import processes

    processes.train_command = lambda paths: [sys.executable, _FAKE_TRAINER, *(f"--run_dir={path}" for path in paths)]
