"""What each Dask worker does first: it leaves the terminal's group, so that a Ctrl-C reaches the driver alone, which stops all in order."""

import os
from typing import Any


def dask_setup(worker: Any) -> None:
    """Called by Dask when a worker starts."""
    del worker
    os.setpgid(0, 0)
