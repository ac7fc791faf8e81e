"""`python -m tests.scaling.training.notified_process RUN_DIR`: trains slowly, and sends itself a signal on the way if the variables say so.

NOTICE is a signal's name with where it comes: "SIGTERM step 5" or "SIGUSR1 batch 2" (of an evaluation).
"""

import os
import signal
import sys
import time

from scaling import train, verbs
from scaling.training import curve, evaluation

# JAX's service looks for its signal once a second, so the run has to last longer.
SECONDS = 0.15


def slowed(function, place: str, number_of):
    """The function with a pause, and with the notice where it is due."""

    def called(self, *arguments):
        due = os.environ.get("NOTICE", "").split()
        if due[1:] == [place, str(number_of(arguments))]:
            signal.raise_signal(signal.Signals[due[0]])
        time.sleep(SECONDS)
        return function(self, *arguments)

    return called


if __name__ == "__main__":
    batches = iter(range(1_000_000))
    curve.Curve.observe = slowed(curve.Curve.observe, "step", lambda arguments: arguments[0])
    evaluation.DocumentSums.add = slowed(evaluation.DocumentSums.add, "batch", lambda arguments: next(batches))
    sys.argv = [sys.argv[0], f"--run_dir={sys.argv[1]}"]
    verbs.run(train.main)
