"""Files of every kind are read as they are, and what is malformed is named."""

import json

import numpy as np
import pytest

from analysis.laws.errors import TableError
from analysis.laws.tables import files, table
from tests.analysis.conftest import noise_free_frame


def rows() -> list[dict]:
    return noise_free_frame().to_dict("records")


@pytest.mark.parametrize("suffix", [".tsv", ".json", ".jsonl"])
def test_the_other_kinds_of_file_give_the_same_table(tmp_path, suffix):
    path = tmp_path / f"runs{suffix}"
    text = {
        ".tsv": noise_free_frame().to_csv(sep="\t", index=False),
        ".json": json.dumps(rows()),
        ".jsonl": "\n\n".join(map(json.dumps, rows())),
    }
    path.write_text(text[suffix])
    np.testing.assert_allclose(table.load(str(path)).log("loss"), np.log(noise_free_frame()["loss"]), rtol=1e-12)


def test_objects_in_objects_become_columns_with_dots():
    assert files.flat({"a": {"b": 1, "c": {"d": [2]}}, "e": {}}) == {"a.b": 1, "a.c.d": [2]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("runs.jsonl", '{"a": 1}\n{"a": \n', r"cannot be read as jsonl: line 2 is not JSON"),
        ("runs.jsonl", "[1]\n", r"line 1 is not a JSON object"),
        ("runs.json", '{"a": 1}', r"cannot be read as json: it is not a list of objects"),
        ("runs.csv", "", r"cannot be read as csv"),
        ("runs.parquet", "no parquet", r"cannot be read as parquet"),
        ("runs.xlsx", "x", r"is neither a directory nor one of \.csv, \.tsv, \.parquet, \.jsonl, \.json, \.db"),
    ],
)
def test_a_malformed_file_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(TableError, match=message):
        table.load(str(tmp_path / name))


def test_lines_are_named_only_where_each_row_is_one(tmp_path):
    frame = noise_free_frame().assign(note="plain")
    frame.loc[2, ["loss", "note"]] = [-1.0, "two\nlines"]
    frame.to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(TableError, match=r"in row 3 \(-1\.0\)"):
        table.load(str(tmp_path / "runs.csv"))
    (tmp_path / "runs.jsonl").write_text(
        "\n".join(json.dumps(row) for row in frame.drop(columns="note").to_dict("records"))
    )
    with pytest.raises(TableError, match=r"in row 3 \(-1\.0, line 3\)"):
        table.load(str(tmp_path / "runs.jsonl"))
