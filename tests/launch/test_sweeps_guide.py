"""The examples of docs/sweeps.md are Gin that means what the text says."""

import re

import pytest

from launch import expand
from launch.sweep_config import Sweep
from scaling import gin_files
from tests.launch.test_sweep_language import parabolas

GUIDE = gin_files.PROJECT_ROOT / "docs" / "sweeps.md"
SWEEP, RULES, TUNED = re.findall(r"```gin\n(.*?)```", GUIDE.read_text(), re.S)


def points(path, text: str) -> list[expand.Point]:
    path.write_text(text)
    gin_files.parse(Sweep, [str(path)])
    return expand.points(gin_files.build(Sweep).config)


def test_the_first_sweep_is_three_sizes_at_five_rates(tmp_path):
    found = points(tmp_path / "sweep.gin", SWEEP)
    configs = [expand.build(point).config for point in found]
    assert len(configs) == 15 and {point.tags["role"] for point in found} == {"tune"}
    assert {config.model.width for config in configs} == {16, 32, 64}
    assert min(config.schedule.peak for config in configs) == 0.001


def test_rules_follow_the_horizon(tmp_path):
    more = """
from scaling import run_config
from scaling.optim import config as optim_config
from scaling.optim import rules
rules.batch_sequences.sequence_length = %SEQUENCE_LENGTH
rules.batch_sequences.base_tokens = 1024
rules.batch_sequences.reference_tokens = 1_000_000
"""
    text = SWEEP.replace('"ScheduleConfig.peak"', '"TOKENS"').replace("0.001", "250_000").replace("0.03", "4_000_000")
    text += "rate/sweep_config.LogGrid.multiple_of = 1000\n" + more + RULES
    configs = [expand.build(point).config for point in points(tmp_path / "sweep.gin", text)]
    assert [config.batch_size for config in configs[:5]] == [4, 4, 8, 8, 16]
    assert configs[4].schedule.peak / configs[0].schedule.peak == pytest.approx(16**-0.32)


def test_sizes_take_the_rates_that_were_tuned_for_them(lab, tmp_path):
    parabolas(lab, {16: 4e-3, 32: 2e-3})
    text = SWEEP.replace("(@tune/sweep_config.Part(),)", "(@main/sweep_config.Part(),)")
    text = re.sub(r"^(tune|size|rate)/.*\n", "", text, flags=re.M) + TUNED.replace(
        "runs/rates", str(lab.folder / "tuned")
    )
    text += """
main/sweep_config.IsoFlop.budgets = (1e11,)
main/sweep_config.IsoFlop.size_binding = "WIDTH"
main/sweep_config.IsoFlop.sizes = (16, 64)
main/sweep_config.IsoFlop.tokens_binding = "TOKENS"
"""
    peaks = [expand.build(point).config.schedule.peak for point in points(tmp_path / "sweep.gin", text)]
    assert peaks[0] == 4e-3 and abs(peaks[1] / 1e-3 - 1) < 2e-3
