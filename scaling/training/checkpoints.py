"""Orbax checkpoints of the training state: asynchronous, atomic, kept by policy, restored on any mesh."""

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.checkpoint_managers import preservation_policy

from scaling import distributed, extras
from scaling.errors import CheckpointError, OutputError
from scaling.run_directory import is_remote

TrainState = Any  # a tree of arrays

_MAKE_ROOM = "free space or choose another root; the same command continues from the last complete checkpoint"

# What the user can mend, as the operating system spells it; Orbax passes it on inside exceptions of several types.
_UNWRITABLE = ("No space left on device", "Disk quota exceeded", "Permission denied", "Read-only file system")


# Orbax's writing threads log, with a traceback each, the error that is raised again when the save is waited for: once is enough.
logging.getLogger("absl").addFilter(lambda record: not ("orbax" in record.pathname and record.exc_info))


class _Manager(ocp.CheckpointManager):
    """Orbax's manager, which does not ask JAX's preemption service.

    :class:`scaling.training.interruption.Interruption` asks it, with numbers of its own; answers to two countings would part the processes of a run.
    """

    def reached_preemption(self, step: int) -> bool:
        return False


class Checkpoints:
    """The checkpoints of one run.

    Orbax writes each under a temporary name and renames it, so a kill leaves the previous one in place.
    """

    def __init__(
        self, directory: epath.PathLike, keep: int = 1, keep_steps: Sequence[int] = (), *, read_only: bool = False
    ):
        """Opens (and makes, if need be) a checkpoint directory.

        Args:
          directory: of this run alone.
          keep: how many of the latest checkpoints stay.
          keep_steps: steps that stay besides: where branches leave a trunk.
          read_only: makes and removes nothing; another process may be saving there, and its unfinished checkpoint looks like a leftover.
        """
        if is_remote(directory):
            # Orbax asks a bucket about itself through Google's client, which nothing else needs, and fails late and at length without it.
            extras.require("google.cloud.storage", f"a bucket such as {directory}", "google-cloud-storage")
        # Orbax refuses relative paths, and only when it writes.
        self._directory = epath.Path(directory if is_remote(directory) else os.path.abspath(directory))
        keeping = [preservation_policy.LatestN(max(1, keep))]
        if keep_steps:
            keeping.append(preservation_policy.CustomSteps(tuple(keep_steps)))
        self._manager = _Manager(
            self._directory,
            item_handlers=ocp.StandardCheckpointHandler(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=preservation_policy.AnyPreservationPolicy(keeping),
                create=not read_only,
                cleanup_tmp_directories=not read_only,
                enable_async_checkpointing=True,
            ),
        )

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, increasing."""
        return sorted(self._manager.all_steps())

    def latest(self) -> int | None:
        """The last complete step, or None."""
        return self._manager.latest_step()

    def save(self, step: int, state: TrainState) -> None:
        """Starts writing the state after `step` steps; a step that is there already is left alone.

        Raises:
          OutputError: the directory is full or cannot be written (a failure of an earlier write shows here too).
        """
        if step in self._manager.all_steps():
            return
        distributed.on_lead(lambda: self._require_room(sum(leaf.nbytes for leaf in jax.tree.leaves(state))))
        # On CPU Orbax may read the live buffers while the next step, which owns them by donation, writes to them.
        snapshot = jax.tree.map(jnp.copy, state)
        with _write_errors(self._directory):
            if not self._manager.save(step, args=ocp.args.StandardSave(snapshot)):
                raise CheckpointError(
                    f"{self._directory} refused step {step}: its latest is {self.latest()}",
                    "delete the checkpoints that lie past this step, or use a fresh run directory",
                )

    def require(self, step: int) -> None:
        """Refuses to go on without the complete checkpoint of a step.

        Raises:
          CheckpointError: it is missing.
        """
        if step not in self._manager.all_steps():
            raise CheckpointError(
                f"{self._directory} has no checkpoint of step {step}, only {self.steps()}",
                "finish the trunk first: python -m scaling.train --run_dir=TRUNK trains it and its branches",
            )

    def restore(self, step: int, abstract_state: TrainState) -> TrainState:
        """Reads a step into the shapes, types and shardings of `abstract_state`.

        Raises:
          CheckpointError: the step is missing, or holds other parameters or shapes.
        """
        self.require(step)
        self._require_shapes(step, abstract_state)
        return self._manager.restore(step, args=ocp.args.StandardRestore(abstract_state))

    def wait(self) -> None:
        """Blocks until every started write is complete; raises as :meth:`save`."""
        with _write_errors(self._directory):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and releases Orbax's threads."""
        with _write_errors(self._directory):
            self._manager.close()

    def _require_room(self, state_bytes: int) -> None:
        """Asks before it writes: a write that fails in Orbax's threads is reported late and at length."""
        if is_remote(self._directory):
            return
        free = shutil.disk_usage(self._directory).free
        if free < state_bytes:
            raise OutputError(
                f"checkpoints cannot be written to {self._directory}: the state takes {state_bytes / 1e6:.1f} MB and "
                f"{free / 1e6:.1f} MB are free",
                _MAKE_ROOM,
            )

    def _require_shapes(self, step: int, abstract_state: TrainState) -> None:
        stored = _shapes(self._manager.item_metadata(step))
        expected = _shapes(abstract_state)
        if stored == expected:
            return
        for name in sorted(stored.keys() | expected.keys()):
            if stored.get(name) != expected.get(name):
                raise CheckpointError(
                    f"the checkpoint {self._directory}/{step} does not fit the model: {name} is "
                    f"{stored.get(name, 'absent')} there and {expected.get(name, 'absent')} in the configuration",
                    "restore it with the configuration in its own run directory",
                )


def _shapes(tree: TrainState) -> dict[str, tuple[int, ...]]:
    """From the path of a leaf to its shape; paths are spelt alike for Orbax metadata and for abstract states."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_spelt(path): tuple(leaf.shape) for path, leaf in leaves}


def _spelt(path: tuple[Any, ...]) -> str:
    # Orbax turns tuples and named tuples into dictionaries, so keys, names and indices must read the same.
    return "/".join(str(getattr(entry, "key", getattr(entry, "name", getattr(entry, "idx", entry)))) for entry in path)


@contextlib.contextmanager
def _write_errors(directory: epath.Path) -> Iterator[None]:
    """Turns a failed write into one line with a remedy, and removes what it left half-written."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = next((text for text in _UNWRITABLE if text.lower() in str(error).lower()), None)
        if reason is None:
            raise
        for leftover in directory.glob("*.orbax-checkpoint-tmp"):
            leftover.rmtree(missing_ok=True)
        raise OutputError(
            f"checkpoints cannot be written to {directory}: {reason}",
            _MAKE_ROOM,
        ) from error
