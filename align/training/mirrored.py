"""Live mirrors of a stage: what tracking services are told of it."""

from align.stage_config import TrainingConfig
from align.training.stage_directory import StageDirectory
from scaling.mirrors import live, values
from scaling.mirrors.weights_and_biases import Identity
from scaling.run_directory import Attempt


def mirrors(directory: StageDirectory, training: TrainingConfig, attempt: Attempt) -> live.LiveMirrors:
    """The services that a stage's configuration asks for, under the names that `python -m launch.export` gives it.

    Args:
      directory: frozen; the directory that holds it is the group.
      training: of the stage.
      attempt: just begun.
    """
    spec = directory.spec
    lineage = {f"parent.{role}": identity for role, identity in spec.parents.items()}
    lineage |= {f"data.{role}": content for role, content in spec.data.items()}
    settings = {**values.settings(spec.config), "lineage": lineage}
    identity = Identity(spec.run_id, spec.name, directory.path.parent.name, spec.kind, (), settings)
    return live.of_attempt(training.mirrors, identity, attempt)
