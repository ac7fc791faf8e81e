"""What the shipped model configurations mean: one JSON file each, with every parameter and the FLOPs per token."""

import dataclasses
import pathlib
import tempfile

from scaling import gin_files
from scaling.accounting.flops import training_flops_per_token
from scaling.accounting.parameters import count_parameters
from scaling.models.parameters import parameter_specs
from scaling.run_config import RunConfig

FOLDER = pathlib.Path(__file__).resolve().parent / "models"

# A run file around each file of configs/models, at two rungs; the run files are taken as they are.
_AROUND_A_MODEL = """
from __gin__ import dynamic_registration
from scaling import run_config
from scaling.data import config as data_config
include "configs/models/{family}.gin"
WIDTH = {width}
VOCAB_SIZE = {vocab_size}
SEQUENCE_LENGTH = {length}
run_config.RunConfig.tokens = 1_000_000
run_config.RunConfig.batch_size = 8
run_config.RunConfig.data = @data_config.DataConfig()
data_config.DataConfig.store = "none"
data_config.DataConfig.sequence_length = %SEQUENCE_LENGTH
"""
_RUNGS = {"small": dict(width=64, vocab_size=512, length=128), "large": dict(width=4864, vocab_size=32000, length=2048)}
RUN_FILES = ("cpu_base", "llama_10b")
NAMES = (*(f"{family}_{rung}" for family in ("llama", "kaplan_gpt", "neox") for rung in _RUNGS), *RUN_FILES)


def table(name: str) -> dict:
    """The content of a golden file."""
    config = _run_config(name)
    counts = count_parameters(config.model)
    return {
        "parameters": {
            path: {
                "shape": list(spec.shape),
                "axes": list(spec.axes),
                "init": {type(spec.init).__name__: dataclasses.asdict(spec.init)},
                "decay": spec.decay,
                "part": spec.part,
            }
            for path, spec in parameter_specs(config.model).items()
        },
        "total": counts.total,
        "non_embedding": counts.non_embedding,
        "by_part": counts.by_part,
        "sequence_length": config.data.sequence_length,
        "flops_per_token": training_flops_per_token(config.model, config.data.sequence_length),
    }


def path_of(name: str) -> pathlib.Path:
    """Where the golden file lies."""
    return FOLDER / f"{name}.json"


def _run_config(name: str) -> RunConfig:
    if name in RUN_FILES:
        return gin_files.load(RunConfig, [f"configs/runs/{name}.gin"]).config
    family, rung = name.rsplit("_", 1)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "run.gin"
        path.write_text(_AROUND_A_MODEL.format(family=family, **_RUNGS[rung]))
        return gin_files.load(RunConfig, [str(path)]).config
