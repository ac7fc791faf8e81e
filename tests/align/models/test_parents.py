"""Parents are found by directory, by name and by selection; what cannot be one is refused with a remedy."""

import json

import pytest

from align.models import parents
from align.models.parents import ParentConfig
from scaling.errors import CheckpointError, DataError


def write(root, run_id, **fields):
    path = root / run_id
    path.mkdir(parents=True)
    record = {"run_id": run_id, "status": "completed", "kind": "pretrain", "primary_domain": "text"} | fields
    (path / "record.json").write_text(json.dumps(record))


def losses(value):
    return {"text": {"nats_per_token": value}}


def test_of_a_directory_of_runs_the_best_finished_one_of_stage_one_is_taken(tmp_path):
    write(tmp_path, "small", losses=losses(2.0), parameters={"total": 10}, tokens=5)
    write(tmp_path, "large", losses=losses(2.5), parameters={"total": 99}, tokens=5)
    write(tmp_path, "diverged", losses={}, parameters={"total": 999}, tokens=5, status="diverged")
    write(tmp_path, "tuned", losses=losses(0.1), parameters={"total": 999}, tokens=5, kind="sft")
    assert parents._selected(tmp_path, "lowest_loss").name == "small"
    assert parents._selected(tmp_path, "largest").name == "large"


def test_a_run_is_found_by_its_name_unless_two_have_it(tmp_path):
    write(tmp_path, "0123", name="reviews", kind="sft")
    assert parents._directory(tmp_path / "reviews") == tmp_path / "0123"
    write(tmp_path, "4567", name="reviews", kind="sft")
    with pytest.raises(CheckpointError, match="2 runs .* named 'reviews'"):
        parents._directory(tmp_path / "reviews")


def test_a_missing_parent_and_a_directory_without_runs_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        parents.find(ParentConfig(str(tmp_path / "nowhere")))
    with pytest.raises(CheckpointError, match="no completed stage-one run"):
        parents.find(ParentConfig(str(tmp_path)))


def test_an_imported_model_needs_to_be_told_its_vocabulary(tmp_path):
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(DataError, match=r"ParentConfig\.vocabulary"):
        parents.find(ParentConfig(str(tmp_path)))


def test_an_unfinished_stage_is_no_parent(tmp_path):
    (tmp_path / "stage.json").write_text(json.dumps({"run_id": "0123", "vocabulary_store": "store"}))
    with pytest.raises(CheckpointError, match="not completed"):
        parents.find(ParentConfig(str(tmp_path)))
