"""Models of width 32 (three layers), random everywhere, and their Hugging Face directories."""

import json
import pathlib

import numpy as np

from scaling.foreign import hugging_face
from scaling.foreign.weights import Weights
from scaling.models import ladder
from scaling.models.config import TransformerConfig
from scaling.models.parameters import Ones, parameter_specs

VOCABULARY, LENGTH = 61, 24

FAMILIES = {
    "llama": ladder.llama(32, VOCABULARY, LENGTH, kv_heads=1),
    "llama_tied": ladder.llama(32, VOCABULARY, LENGTH, tied=True),
    "kaplan_gpt": ladder.kaplan_gpt(32, VOCABULARY, LENGTH),
    "kaplan_gpt_untied": ladder.kaplan_gpt(32, VOCABULARY, LENGTH, tied=False),
    "neox": ladder.neox(32, VOCABULARY, LENGTH),
    "neox_tied": ladder.neox(32, VOCABULARY, LENGTH, tied=True),
}


def random_weights(config: TransformerConfig, seed: int = 0) -> Weights:
    """No bias is 0 and no scale is 1, so that a tensor left out or put elsewhere shows."""
    random = np.random.default_rng(seed)
    return Weights(
        config,
        {
            path: (isinstance(spec.init, Ones) + 0.2 * random.standard_normal(spec.shape)).astype(np.float32)
            for path, spec in parameter_specs(config).items()
        },
    )


def assert_identical(actual: Weights, expected: Weights) -> None:
    """Bit for bit, architecture included."""
    assert actual.config == expected.config
    assert actual.parameters.keys() == expected.parameters.keys()
    for path, value in expected.parameters.items():
        assert actual.parameters[path].dtype == np.float32
        np.testing.assert_array_equal(actual.parameters[path], value, err_msg=path)


def write(path: pathlib.Path, config: TransformerConfig) -> Weights:
    """A Hugging Face directory at `path`, and what is in it."""
    path.mkdir()
    weights = random_weights(config)
    hugging_face.write(path, weights)
    return weights


def read(path: pathlib.Path, **options) -> Weights:
    with hugging_face.opened(path, **options) as model:
        return model.weights()


def edit_config(path: pathlib.Path, **fields) -> None:
    """Changes fields of a directory's config.json; None removes one."""
    file = path / "config.json"
    values = json.loads(file.read_text()) | fields
    file.write_text(json.dumps({name: value for name, value in values.items() if value is not None}))
