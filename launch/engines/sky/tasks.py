"""The text of SkyPilot's task files: a pure function of what is asked for."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from launch.engines.sky.hardware import Hardware

# What Orbax asks a bucket by; not in the lock, because nothing on a disk needs it. The extra `bucket` of setup.py has the same version.
_BUCKET_CLIENT = "google-cloud-storage"

# Made on every host by `setup`; the images come with an older Python than the project's.
_PYTHON = "~/venv/bin/python"


@dataclasses.dataclass(frozen=True)
class Request:
    """What the task files of one submission have in common.

    Attributes:
      hardware: of one worker.
      infra: SkyPilot's `infra`: a cloud with its region, or a cluster.
      spot: whether the machines may be taken away.
      queued: whether to wait for them as a queued resource.
      max_restarts: of a job that failed for another reason than an interruption.
      stores: bucket that is copied to `stores/` of every host; empty copies nothing.
      environment: variables of the job.
    """

    hardware: Hardware
    infra: str
    spot: bool
    queued: bool
    max_restarts: int
    stores: str
    environment: Mapping[str, str]


def pool(request: Request, name: str, workers: int) -> str:
    """Workers that stay up between jobs: nothing is provisioned or installed for each of hundreds of runs.

    Args:
      request: what the workers are.
      name: of the pool.
      workers: how many.
    """
    return _text(
        {"name": name, "pool": {"workers": workers}}
        | {"resources": _resources(request, recovers=False)}
        | _checkout(request)
    )


def sweep(request: Request, name: str, root: str, sweep_id: str, chips_per_slot: int) -> str:
    """A job that takes one share of a sweep on one worker of a pool; submitted once for each share.

    Args:
      request: what the workers are.
      name: of the jobs.
      root: of the runs.
      sweep_id: whose manifest lies below the root.
      chips_per_slot: accelerators of each run.
    """
    words = [
        "-m launch.worker",
        '--root="$ROOT"',
        '--sweep_id="$SWEEP_ID"',
        '--shard="${SKYPILOT_JOB_RANK:-0}/${SKYPILOT_NUM_JOBS:-1}"',
        f"--chips_per_slot={chips_per_slot}",
    ]
    return _text(
        {"name": name, "resources": _resources(request, recovers=True)}
        | {"envs": {"ROOT": root, "SWEEP_ID": sweep_id, **request.environment}}
        | {"run": _run(words)}
    )


def runs(request: Request, name: str, root: str, run_ids: Sequence[str]) -> str:
    """A job that trains runs one after another, each on all hosts of its machines together.

    Args:
      request: what the machines are.
      name: of the job.
      root: of the runs.
      run_ids: in order.
    """
    words = ["-m launch.run_one", '--root="$ROOT"', *(f"--run_id={shlex.quote(run_id)}" for run_id in run_ids)]
    return _text(
        {"name": name, "num_nodes": request.hardware.nodes, "resources": _resources(request, recovers=True)}
        | _checkout(request)
        | {"envs": {"ROOT": root, **request.environment}}
        | {"run": _run(words)}
    )


def _resources(request: Request, recovers: bool) -> dict[str, Any]:
    arguments = dict(request.hardware.arguments)
    if request.queued:
        arguments["gcp_queued_resource"] = True
    resources: dict[str, Any] = {"infra": request.infra, "accelerators": request.hardware.accelerators}
    if arguments:
        resources["accelerator_args"] = arguments
    resources["use_spot"] = request.spot
    if recovers:
        # FAILOVER tries the same region again; the default moves on to others, away from the bucket. 75 alone means interrupted: when one host of
        # several fails, SkyPilot ends the rest with 137, which says nothing.
        resources["job_recovery"] = {
            "strategy": "FAILOVER",
            "max_restarts_on_errors": request.max_restarts,
            "recover_on_exit_codes": [75],
        }
    return resources


def _checkout(request: Request) -> dict[str, Any]:
    """The project and what it needs, on every host."""
    mounts = {"file_mounts": {"~/sky_workdir/stores": request.stores}} if request.stores else {}
    return {"workdir": ".", **mounts, "setup": _setup(request.hardware.extra)}


def _setup(extra: str) -> str:
    # --no-deps: the lock is complete, and what tensorflow-text asks for would be installed over tensorflow-cpu. The accelerator's libraries are in a
    # lock of their own.
    return f"""\
set -e
curl -LsSf https://astral.sh/uv/install.sh | sh
export PATH="$HOME/.local/bin:$PATH"
uv venv --python 3.11 --allow-existing ~/venv
uv pip install --python {_PYTHON} --no-deps -r requirements.lock
uv pip install --python {_PYTHON} -c requirements-extras.lock "jax[{extra}]" {_BUCKET_CLIENT}
uv pip install --python {_PYTHON} --no-deps --no-build-isolation -e .
"""


def _run(words: Sequence[str]) -> str:
    """Runs the trainer, hands signals on to it, and spares what cannot succeed another machine."""
    command = " \\\n  ".join([f"{_PYTHON} {words[0]}", *words[1:]])
    return f"""\
trap 'kill -TERM "$trainer"' TERM INT
{command} &
trainer=$!
code=0
wait "$trainer" || code=$?
# A signal ends the wait before the trainer has saved.
while kill -0 "$trainer" 2>/dev/null; do
  code=0
  wait "$trainer" || code=$?
done
# 2: refused; 70: recorded as diverged. Neither gets better on another machine; launch.status shows both.
case "$code" in
  2|70) echo "exit code $code: not tried again" && exit 0 ;;
esac
exit "$code"
"""


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, as a person would."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _block)


def _text(task: Mapping[str, Any]) -> str:
    return yaml.dump(dict(task), Dumper=_Dumper, sort_keys=False, width=1_000, default_flow_style=False)
