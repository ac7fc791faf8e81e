"""`python -m launch.run_one` with the fake trainer in place of the real one, as a program: for tests that cannot set the variables of a process."""

import pathlib
import runpy

from launch import run_one
from scaling import verbs

# What the folder `fakes` on PYTHONPATH does for every process.
runpy.run_path(str(pathlib.Path(__file__).with_name("fakes") / "sitecustomize.py"))

if __name__ == "__main__":
    verbs.run(run_one.main)
