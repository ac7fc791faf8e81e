"""The shipped Gin files mean what they meant; an intended change is recorded by `python -m tests.golden`."""

import json

import pytest

from tests.conftest import PROJECT_ROOT
from tests.golden import config_texts, model_tables


@pytest.mark.parametrize("name", config_texts.NAMES)
def test_every_configuration_has_the_fields_it_had(name):
    assert config_texts.text(name) == config_texts.path_of(name).read_text()


@pytest.mark.parametrize("name", model_tables.NAMES)
def test_every_model_has_the_parameters_and_flops_it_had(name):
    assert json.loads(json.dumps(model_tables.table(name))) == json.loads(model_tables.path_of(name).read_text())


def test_every_model_file_has_a_table():
    for path in (PROJECT_ROOT / "configs" / "models").glob("*.gin"):
        assert any(name.startswith(path.stem) for name in model_tables.NAMES), path


def test_no_golden_file_outlives_its_configuration():
    found = {str(path.relative_to(config_texts.FOLDER).with_suffix("")) for path in config_texts.FOLDER.rglob("*.txt")}
    assert found == set(config_texts.NAMES)
