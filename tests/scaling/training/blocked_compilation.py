"""`python -m tests.scaling.training.blocked_compilation RUN_DIR`: trains a run whose first step is never compiled.

The main thread sleeps in C, in a mutex that it holds already: like a compiler it lets other threads run, and no signal wakes it.
"""

import ctypes
import sys

from scaling.training import family, run

MUTEX = ctypes.create_string_buffer(64)  # Zeros are PTHREAD_MUTEX_INITIALIZER; no platform's is larger.


def compile_for_ever(*arguments):
    """In place of what compiles and launches a step."""
    print("compiling", flush=True)
    pthread = ctypes.CDLL(None)
    pthread.pthread_mutex_lock(MUTEX)
    pthread.pthread_mutex_lock(MUTEX)


if __name__ == "__main__":
    run.make_feed = lambda *arguments: compile_for_ever
    family.train_directories(sys.argv[1:])
