"""Win rates of final policies over their references come from samples of the same prompts, and say what was planted."""

import json

import numpy as np
import pytest

from analysis.alignment import against_reference, measurements, study, terminal
from analysis.laws.errors import TableError
from tests.analysis.alignment import runs


def write_samples(run, gains, prompts=40, **changes):
    generator = np.random.default_rng(0)
    base = generator.normal(size=(prompts, 2))
    lengths = generator.integers(5, 20, (prompts, 2)).tolist()
    sides = {
        name: {
            "seed": 0,
            "prompts": [f"prompt {number}" for number in range(prompts)],
            "gold": (base + gain).tolist(),
            "length": lengths,
        }
        | changes.get(name, {})
        for name, gain in (("policy", gains), ("reference", 0.0))
    }
    (run / "samples.json").write_text(json.dumps(sides))


@pytest.fixture
def root(tmp_path):
    return runs.write_study(tmp_path / "study", seeds=2)


def directories(root):
    return sorted(path.parent for path in root.rglob("record.json"))


def test_a_policy_that_is_better_on_every_prompt_wins_all_and_an_equal_one_ties_all(root):
    better, equal, *_ = directories(root)
    write_samples(better, 0.5)
    write_samples(equal, 0.0)
    found = {item.run_id: item for item in against_reference.read(measurements.read([str(root)]), 0.9)}
    assert set(found) == {better.name, equal.name}
    assert found[better.name].rate.value == 1 and found[better.name].difference == pytest.approx(0.5)
    # The least p-value that 20,000 draws can give, times the two runs that are compared.
    assert found[better.name].adjusted == pytest.approx(2 / 20_001)
    assert found[equal.name].rate.ties == 40 and found[equal.name].p_value == 1


def test_the_report_and_the_terminal_show_them(root):
    write_samples(directories(root)[0], 0.5)
    made = study.study(measurements.read([str(root)]), study.Options(draws=0))
    assert any("final policy against its reference" in line for line in terminal.describe(made))
    (row,) = made.to_json()["win_rates"]
    assert row["win_rate"] == 1 and row["wins"] == 40


def test_samples_of_other_prompts_are_refused(root):
    run = directories(root)[0]
    write_samples(run, 0.5, reference={"seed": 1})
    with pytest.raises(TableError, match="same prompts"):
        against_reference.read(measurements.read([str(root)]), 0.9)
    (run / "samples.json").write_text("{}")
    with pytest.raises(TableError, match="samples"):
        against_reference.read(measurements.read([str(root)]), 0.9)
