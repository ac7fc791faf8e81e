"""Which services see a run, or a stage of alignment, while it trains."""

import dataclasses
from typing import Literal

from scaling.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class MirrorsConfig:
    """Live mirrors of a run or a stage; none by default. What they are changes neither what is computed nor its identity.

    `python -m launch.export` mirrors any run afterwards, also to services that cannot take many writers at once.

    Attributes:
      services: "tensorboard" writes event files beside the attempt's curve (`tensorboard --logdir=ROOT`); "wandb" sends rows to the account that this
        machine is logged in to.
      project, entity: of Weights & Biases; an empty entity is the account's own.
      patience_seconds: how long the end of a run waits for a service to take the last rows.
    """

    services: tuple[Literal["tensorboard", "wandb"], ...] = ()
    project: str = "plumbline"
    entity: str = ""
    patience_seconds: float = 30.0

    def __post_init__(self):
        if not self.patience_seconds >= 0:
            raise ConfigError(f"MirrorsConfig.patience_seconds is {self.patience_seconds!r}", "give 0 or more seconds")
