"""What the shipped Gin files mean: one text file each, a line for every field after defaults, includes, macros and rules were applied.

A sweep's text has its points, what each planned run binds; that of a sweep or a search ends with the run that they vary.
"""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

from align.data.config import PrepareExamplesConfig
from align.gold.rating_judge import JudgeConfig
from align.stages.catalogue import KINDS
from align.stages.collecting import CollectConfig
from align.stages.laboratory import LaboratoryConfig
from align.stages.study import StudyConfig
from analysis.alignment.judging.reward_judge import RewardJudge
from launch import expand
from launch.search_config import Search
from launch.sweep_config import Sweep
from scaling import gin_files
from scaling.data.config import PrepareConfig, TrainVocabularyConfig
from scaling.run_config import RunConfig

FOLDER = pathlib.Path(__file__).resolve().parent / "configs"
CONFIGS = gin_files.PROJECT_ROOT / "configs"
# Files of configs/models are parts of others and build nothing alone; model_tables covers them.
NAMES = sorted(
    str(path.relative_to(CONFIGS).with_suffix(""))
    for folder in (
        "data",
        "runs",
        "sweeps",
        "searches",
        "align/data",
        "align/gold",
        "align/judges",
        "align/stages",
        "align/studies",
        "align/laboratories",
    )
    for path in (CONFIGS / folder).glob("*.gin")
)

# Files of align/stages that are not named by their kind.
COLLECTING = ("collect", "frozen_gold", "judged")
PREFERENCE = ("dpo", "dpo_llama_10b", "mpo", "rpo")


def text(name: str) -> str:
    """The content of a golden file."""
    return "\n".join(_lines(name)) + "\n"


def path_of(name: str) -> pathlib.Path:
    """Where the golden file lies."""
    return FOLDER / f"{name}.txt"


def _lines(name: str) -> Iterator[str]:
    file = f"configs/{name}.gin"
    root = _root(name)
    gin_files.parse(root, [file])
    config = gin_files.build(root).config
    yield from _flattened(root.__name__, gin_files.to_dict(config))
    if isinstance(config, Sweep):
        for point in expand.points(config):
            yield f"point: {', '.join(f'{key} = {value!r}' for key, value in [*point.bindings.items(), *point.tags.items()])}"
    if isinstance(config, Sweep | Search):
        yield from _flattened("RunConfig", gin_files.to_dict(gin_files.build(RunConfig).config))


def _root(name: str) -> type:
    folder, _, file = name.rpartition("/")
    if folder == "data":
        return TrainVocabularyConfig if file.startswith("vocabulary") else PrepareConfig
    if folder == "align/stages":
        return CollectConfig if file in COLLECTING else KINDS["preference" if file in PREFERENCE else file].config
    return {
        "runs": RunConfig,
        "sweeps": Sweep,
        "searches": Search,
        "align/data": PrepareExamplesConfig,
        "align/gold": JudgeConfig,
        "align/judges": RewardJudge,
        "align/studies": StudyConfig,
        "align/laboratories": LaboratoryConfig,
    }[folder]


def _flattened(path: str, value: Any) -> Iterator[str]:
    if dataclasses.is_dataclass(value):
        value = dataclasses.asdict(value)
    if isinstance(value, dict) and value:
        for key in sorted(value):
            yield from _flattened(f"{path}.{key}", value[key])
    elif isinstance(value, (list, tuple)) and any(isinstance(item, (dict, list, tuple)) for item in value):
        for index, item in enumerate(value):
            yield from _flattened(f"{path}[{index}]", item)
    else:
        yield f"{path} = {value!r}"
