"""Expansion: which points the axes of a sweep make."""

import typing

import pytest

from launch import expand, sweep_config
from scaling.accounting import flops, parameters
from scaling.errors import ConfigError

PART = "sweep_config.Sweep.parts = (@sweep_config.Part(),)\n"

ISOFLOP = (
    PART
    + """
sweep_config.Part.axes = (@sweep_config.IsoFlop(),)
sweep_config.IsoFlop.budgets = (2e9, 8e9, 32e9)
sweep_config.IsoFlop.size_binding = "WIDTH"
sweep_config.IsoFlop.sizes = (16, 32, 64)
sweep_config.IsoFlop.tokens_binding = "TOKENS"
"""
)


def grid(name: str, binding: str, values: object) -> str:
    return f"{name}/sweep_config.Grid.binding = {binding!r}\n{name}/sweep_config.Grid.values = {values!r}\n"


def test_grids_multiply_and_the_first_varies_slowest(lab):
    axes = "sweep_config.Part.axes = (@size/sweep_config.Grid(), @seed/sweep_config.Grid())\n"
    text = PART + axes + grid("size", "WIDTH", (16, 32)) + grid("seed", "RunConfig.seed", (0, 1, 2))
    points = lab.points(text)
    assert [tuple(point.bindings.values()) for point in points] == [
        (16, 0),
        (16, 1),
        (16, 2),
        (32, 0),
        (32, 1),
        (32, 2),
    ]
    config = expand.build(points[4]).config
    assert (config.model.width, config.seed) == (32, 1)


def test_zip_moves_bindings_together(lab):
    text = PART + (
        "sweep_config.Part.axes = (@sweep_config.Zip(),)\n"
        'sweep_config.Zip.bindings = ("WIDTH", "TOKENS", "BRANCHES")\n'
        "sweep_config.Zip.rows = ((16, 6_400, (3_200, 6_400)), (32, 12_800, ()))\n"
    )
    first, second = (expand.build(point).config for point in lab.points(text))
    assert (first.model.width, first.tokens, first.branches) == (16, 6_400, (3_200, 6_400))
    assert (second.model.width, second.tokens, second.branches) == (32, 12_800, ())


def test_log_grid_grows_by_a_constant_factor_and_reaches_both_ends(lab):
    text = PART + (
        "sweep_config.Part.axes = (@sweep_config.LogGrid(),)\n"
        'sweep_config.LogGrid.binding = "ScheduleConfig.peak"\n'
        "sweep_config.LogGrid.low = 1e-4\nsweep_config.LogGrid.high = 1e-2\nsweep_config.LogGrid.points = 5\n"
    )
    rates = [expand.build(point).config.schedule.peak for point in lab.points(text)]
    assert rates[0] == 1e-4 and rates[-1] == 1e-2
    assert all(b / a == pytest.approx(10**0.5, rel=1e-5) for a, b in zip(rates, rates[1:], strict=False))


def test_log_grid_rounds_to_multiples(lab):
    values = sweep_config.LogGrid("WIDTH", 16, 128, 4, multiple_of=16).values
    assert values == (16, 32, 64, 128) and all(isinstance(value, int) for value in values)


def test_a_choice_of_parts_can_be_an_axis(lab):
    text = (
        PART
        + "ladder.neox.width = 16\nladder.neox.vocab_size = 259\n"
        + "sweep_config.Part.axes = (@family/sweep_config.Grid(),)\n"
        + grid("family", "RunConfig.model", ("@ladder.llama()", "@ladder.neox()"))
    )
    assert [expand.build(point).config.model.family for point in lab.points(text)] == ["llama", "neox"]


def test_parts_follow_each_other_with_their_own_tags(lab):
    text = (
        "sweep_config.Sweep.parts = (@fit/sweep_config.Part(), @held/sweep_config.Part())\n"
        "fit/sweep_config.Part.axes = (@sizes/sweep_config.Grid(),)\n"
        'fit/sweep_config.Part.tags = {"role": "fit"}\n'
        'held/sweep_config.Part.tags = {"role": "held_out"}\n' + grid("sizes", "WIDTH", (32, 48))
    )
    points = lab.points(text)
    assert [point.tags["role"] for point in points] == ["fit", "fit", "held_out"]
    assert [expand.build(point).config.model.width for point in points] == [32, 48, 16]


@pytest.mark.parametrize("convention", flops.CONVENTIONS)
def test_isoflop_hits_every_budget_within_half_a_batch_under_the_named_convention(lab, convention):
    points = lab.points(ISOFLOP + f'sweep_config.IsoFlop.convention = "{convention}"\n')
    assert len(points) == 9
    for point in points:
        config = expand.build(point).config
        per_token = flops.training_flops_per_token(config.model, 32)[convention]
        assert config.tokens % config.batch_tokens == 0
        assert abs(config.tokens * per_token - float(point.tags["budget"])) <= 0.5 * config.batch_tokens * per_token


def test_conventions_of_sweeps_are_those_of_the_accounting():
    assert set(typing.get_args(sweep_config.FlopsConvention)) == set(flops.CONVENTIONS)


def test_isoflop_sees_the_values_of_the_other_axes(lab):
    """FLOPs per token depend on the sequence length under conventions with attention."""
    text = ISOFLOP.replace("(@sweep_config.IsoFlop(),)", "(@sweep_config.IsoFlop(), @length/sweep_config.Grid())")
    text += 'sweep_config.IsoFlop.convention = "6nd_head_attention"\n' + grid(
        "length", "DataConfig.sequence_length", (32, 128)
    )
    short, long = (
        [
            point.bindings["TOKENS"]
            for point in lab.points(text)
            if point.bindings["DataConfig.sequence_length"] == length
        ]
        for length in (32, 128)
    )
    assert all(a > b for a, b in zip(short, long, strict=True))


def test_isoflop_follows_a_batch_that_follows_the_horizon(lab):
    """Where the batch is a function of the tokens, the tokens are whole batches of the batch that they imply."""
    text = ISOFLOP + (
        "from scaling.optim import rules\n"
        "run_config.RunConfig.batch_size = @rules.batch_sequences()\n"
        "rules.batch_sequences.tokens = %TOKENS\nrules.batch_sequences.sequence_length = 32\n"
        "rules.batch_sequences.base_tokens = 512\nrules.batch_sequences.reference_tokens = 100_000\n"
    )
    configs = [expand.build(point).config for point in lab.points(text)]
    assert len({config.batch_size for config in configs}) > 1
    assert all(config.tokens == config.steps * config.batch_tokens for config in configs)


def test_isoflop_with_branches_is_one_trunk_a_size(lab):
    points = lab.points(ISOFLOP + 'sweep_config.IsoFlop.branches_binding = "BRANCHES"\n')
    configs = [expand.build(point).config for point in points]
    assert [config.model.width for config in configs] == [16, 32, 64]
    alone = lab.points(ISOFLOP)
    for config in configs:
        tokens = tuple(point.bindings["TOKENS"] for point in alone if point.bindings["WIDTH"] == config.model.width)
        assert config.branches == tokens


def test_limits_leave_points_out(lab):
    everything = lab.points(ISOFLOP)
    limited = lab.points(
        ISOFLOP + "sweep_config.IsoFlop.min_tokens = 10_000\nsweep_config.IsoFlop.max_tokens = 100_000\n"
    )
    kept = {tuple(point.bindings.values()) for point in everything if 10_000 <= point.bindings["TOKENS"] <= 100_000}
    assert {tuple(point.bindings.values()) for point in limited} == kept and 0 < len(kept) < len(everything)


@pytest.mark.parametrize("count", ["total", "non_embedding"])
def test_tokens_per_parameter(lab, count):
    text = PART + (
        "sweep_config.Part.axes = (@sweep_config.TokensPerParameter(),)\n"
        "sweep_config.TokensPerParameter.ratios = (0.5, 2)\n"
        'sweep_config.TokensPerParameter.size_binding = "WIDTH"\n'
        "sweep_config.TokensPerParameter.sizes = (16, 32)\n"
        'sweep_config.TokensPerParameter.tokens_binding = "TOKENS"\n'
        f'sweep_config.TokensPerParameter.parameters = "{count}"\n'
    )
    points = lab.points(text)
    assert len(points) == 4
    for point in points:
        config = expand.build(point).config
        wanted = float(point.tags["tokens_per_parameter"]) * getattr(parameters.count_parameters(config.model), count)
        assert abs(config.tokens - wanted) <= config.batch_tokens / 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (grid("a", "RunConfig.sede", (1, 2)), "RunConfig.sede"),
        (grid("a", "WIDHT", (16, 32)), "WIDHT"),
        (grid("a", "WIDTH", ()), "empty"),
        (grid("a", "WIDTH", (16, 33)), "not a multiple"),
        (grid("a", "RunConfig.batch_size", ("four",)), "batch_size"),
    ],
    ids=["misspelt field", "misspelt macro", "empty axis", "does not divide", "wrong type"],
)
def test_bad_axes_are_refused_in_one_sentence(lab, text, said):
    sweep = PART + "sweep_config.Part.axes = (@a/sweep_config.Grid(),)\n" + text
    with pytest.raises(ConfigError, match=said):
        for point in lab.points(sweep):
            expand.build(point)


def test_two_axes_on_one_binding_are_refused(lab):
    axes = "sweep_config.Part.axes = (@a/sweep_config.Grid(), @b/sweep_config.Grid())\n"
    with pytest.raises(ConfigError, match="two axes"):
        lab.points(PART + axes + grid("a", "WIDTH", (16,)) + grid("b", "WIDTH", (32,)))


def test_limits_that_leave_nothing_are_refused(lab):
    with pytest.raises(ConfigError, match="no point"):
        lab.points(ISOFLOP + "sweep_config.IsoFlop.min_tokens = 10_000_000\n")


def test_a_row_of_the_wrong_length_is_refused():
    with pytest.raises(ConfigError, match="one value for each"):
        sweep_config.Zip(("A", "B"), ((1, 2), (3,)))
