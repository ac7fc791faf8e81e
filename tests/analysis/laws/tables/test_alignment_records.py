"""Records of alignment lie in the same trees as those of pretraining, and disturb no law."""

import pandas as pd
import pytest

from analysis.laws.errors import TableError
from analysis.laws.tables import sources, table
from tests.analysis import synthetic
from tests.analysis.alignment import runs


def test_laws_of_pretraining_pass_over_records_of_alignment(tmp_path):
    """A directory that holds both gives the runs table of pretraining alone, whatever alignment records lack."""
    alone = synthetic.write(tmp_path / "alone", synthetic.ladder(3))
    both = synthetic.write(tmp_path / "both", synthetic.ladder(3))
    runs.write_study(both / "alignment")
    without_path = [found.frame.drop(columns="path") for found in (table.load(str(alone)), table.load(str(both)))]
    pd.testing.assert_frame_equal(*without_path)
    assert not len(table.load(str(both)).excluded)


def test_a_directory_of_alignment_alone_names_the_verb_that_reads_it(tmp_path):
    runs.write_study(tmp_path)
    with pytest.raises(TableError, match="records are of alignment.*analysis.frontier"):
        sources.read(str(tmp_path))
