"""Slurm arrays through submitit: their text, and their submission. Imported only where submitit is installed."""

from __future__ import annotations

import pathlib
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from launch.engines.slurm.task import RunTask
from scaling.errors import ConfigError
from scaling.gin_files import PROJECT_ROOT

if TYPE_CHECKING:
    from launch.engines.slurm.engine import SlurmEngine

# The nodes must find this checkout, whatever directory the sweep was submitted in: paths of stores may be relative to that one.
_FIND_PROJECT = f"export PYTHONPATH={shlex.quote(str(PROJECT_ROOT))}${{PYTHONPATH:+:$PYTHONPATH}}"


class _Writer(submitit.SlurmExecutor):
    """Writes the text of a submission where there is no cluster, too."""

    @classmethod
    def affinity(cls) -> int:
        return 2

    def submission_text(self, tasks: int) -> str:
        """What `sbatch` gets for so many tasks; a single one is no array."""
        if tasks > 1:
            self.parameters["map_count"] = tasks
        return self._make_submission_file_text(self._submitit_command_str, uid="")


def text(engine: SlurmEngine, folder: pathlib.Path, name: str, tasks: int, parallelism: int) -> str:
    """The text that `sbatch` will get.

    Args:
      engine: settings.
      folder: of logs and pickled tasks.
      name: of the sweep.
      tasks: how many tasks the array has.
      parallelism: how many of them run at a time.
    """
    writer = _Writer(folder, max_num_timeout=engine.max_timeouts)
    writer.update_parameters(**parameters(engine, name, parallelism))
    return writer.submission_text(tasks)


def submit(
    engine: SlurmEngine, folder: pathlib.Path, name: str, tasks: Sequence[RunTask], parallelism: int
) -> list[str]:
    """Hands one array to `sbatch`.

    Returns:
      the id of each task.

    Raises:
      ConfigError: Slurm refuses it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    executor = submitit.SlurmExecutor(folder, max_num_timeout=engine.max_timeouts)
    executor.update_parameters(**parameters(engine, name, parallelism))
    try:
        with executor.batch():
            jobs = [executor.submit(task) for task in tasks]
    except (FailedJobError, FailedSubmissionError) as error:
        raise ConfigError(
            f"Slurm refuses the array of {name}: {' '.join(str(error).split())}",
            "compare partition, account, time and resources of the engine with `sinfo` and `sacctmgr show assoc`",
        ) from error
    return [job.job_id for job in jobs]


def parameters(engine: SlurmEngine, name: str, parallelism: int) -> dict[str, Any]:
    """The settings in submitit's words; what is empty is left to the cluster."""
    wanted = {
        "job_name": name,
        "partition": engine.partition,
        "account": engine.account,
        "qos": engine.qos,
        "constraint": engine.constraint,
        "time": engine.minutes,
        "nodes": engine.nodes,
        "ntasks_per_node": engine.tasks_per_node,
        "gpus_per_node": engine.gpus_per_node,
        "cpus_per_task": engine.cpus_per_task,
        "mem": f"{round(engine.memory_gb * 1024)}M" if engine.memory_gb else "",
        "signal_delay_s": engine.grace_seconds,
        "array_parallelism": parallelism,
        "setup": [_FIND_PROJECT, *engine.setup],
        "stderr_to_stdout": True,
        # From Slurm 22.05 on srun does not take this from sbatch.
        "srun_args": [f"--cpus-per-task={engine.cpus_per_task}"],
    }
    options = {"requeue": True, **engine.options}
    return {key: value for key, value in wanted.items() if value} | {"wckey": None, "additional_parameters": options}
