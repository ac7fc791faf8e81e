"""One run of Weights & Biases, under our own run id, so that a resumed run is continued there and not doubled."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from scaling.errors import ConfigError
from scaling.extras import require

Mode = Literal["offline", "online"]


@dataclasses.dataclass(frozen=True)
class Identity:
    """What Weights & Biases is told of a run.

    Attributes:
      run_id: becomes the id there.
      name, group, kind: shown; the group is the sweep.
      tags: words.
      config: flat settings.
    """

    run_id: str
    name: str
    group: str
    kind: str
    tags: tuple[str, ...]
    config: Mapping[str, Any]


class WandbRun:
    """A run there, open for rows whose steps increase."""

    def __init__(
        self,
        identity: Identity,
        *,
        mode: Mode,
        project: str,
        entity: str = "",
        folder: str | None = None,
        patience_seconds: float = 90.0,
    ):
        """Opens the run, online for continuation.

        Args:
          identity: of the run.
          mode: "online" sends rows to the service; "offline" writes a directory for `wandb sync`.
          project, entity: where it belongs.
          folder: under which wandb keeps its directory.
          patience_seconds: how long the service may take to answer.

        Raises:
          ConfigError: wandb is not installed, or this machine is not logged in.
          wandb.errors.CommError: the service does not answer in time.
        """
        wandb = require("wandb", "a mirror in Weights & Biases")
        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            x_disable_stats=True,
            x_disable_meta=True,
            init_timeout=patience_seconds,
        )
        try:
            self._run = self._opened(wandb, identity, settings, mode, project, entity, folder)
        except (wandb.errors.UsageError, wandb.errors.AuthenticationError) as error:
            raise ConfigError(
                f"Weights & Biases refuses: {' '.join(str(error).split())}",
                "run `wandb login`, set WANDB_API_KEY, or work offline",
            ) from error

    def _opened(
        self, wandb: Any, identity: Identity, settings: Any, mode: Mode, project: str, entity: str, folder: str | None
    ) -> Any:
        return wandb.init(
            mode=mode,
            project=project,
            entity=entity or None,
            dir=folder,
            id=identity.run_id,
            # An offline directory is always a whole run: of two with one id the second replaces the first when they are synced.
            resume="allow" if mode == "online" else None,
            name=identity.name or None,
            group=identity.group or None,
            job_type=identity.kind,
            tags=identity.tags or None,
            config=dict(identity.config),
            allow_val_change=True,
            # Other runs of this process stay open.
            reinit="create_new",
            settings=settings,
        )

    @property
    def folder(self) -> str:
        """Directory of this run on this machine."""
        return self._run.settings.sync_dir

    def row(self, step: int, values: Mapping[str, float], time: float) -> None:
        """Adds a step; one that is not beyond the last is dropped by the service, which keeps what it has.

        Args:
          step: of the run.
          values: by name.
          time: when they were measured, seconds since 1970.
        """
        self._run.log({**values, "_timestamp": time}, step=step)

    def close(self, summary: Mapping[str, Any], *, failed: bool = False) -> None:
        """Ends the run there.

        Args:
          summary: final values by name.
          failed: whether it is shown as failed.
        """
        self._run.summary.update(dict(summary))
        self._run.finish(exit_code=int(failed))
