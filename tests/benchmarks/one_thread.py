"""One thread each, so that processor time compares implementations and not how they wait for each other; imported before JAX is."""

import os

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    # Spinning threads would be charged to PyTorch.
    "OMP_WAIT_POLICY": "passive",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}

os.environ.update(ENVIRONMENT)
