"""The axes beyond grids: Sobol points, chains inside a part, settings read from records, and limits on what a sweep may need."""

import json
import math

import numpy as np
import pytest
from scipy.stats import qmc

from launch import budgets, expand, sweep_config, tuned
from scaling import gin_files
from scaling.errors import ConfigError, DataError

PART = "sweep_config.Sweep.parts = (@sweep_config.Part(),)\n"

SOBOL = (
    PART
    + """
sweep_config.Part.axes = (@sweep_config.Sobol(),)
sweep_config.Sobol.ranges = (@rate/sweep_config.Range(), @decay/sweep_config.Range(), @width/sweep_config.Range())
sweep_config.Sobol.points = 16
rate/sweep_config.Range.binding = "ScheduleConfig.peak"
rate/sweep_config.Range.low = 1e-4
rate/sweep_config.Range.high = 1e-2
rate/sweep_config.Range.scale = "log"
decay/sweep_config.Range.binding = "OptimizerConfig.weight_decay"
decay/sweep_config.Range.low = 0.0
decay/sweep_config.Range.high = 0.2
width/sweep_config.Range.binding = "WIDTH"
width/sweep_config.Range.low = 16
width/sweep_config.Range.high = 64
width/sweep_config.Range.multiple_of = 16
run_config.RunConfig.optimizer = @optim_config.OptimizerConfig()
"""
)


def grid(name: str, binding: str, values: object) -> str:
    return f"{name}/sweep_config.Grid.binding = {binding!r}\n{name}/sweep_config.Grid.values = {values!r}\n"


def test_sobol_binds_every_range_on_its_scale(lab):
    configs = [expand.build(point).config for point in lab.points(SOBOL)]
    assert len(configs) == 16
    # Of a scrambled sequence of 16, each quarter of each side holds 4 points exactly.
    for shares in (
        [math.log10(config.schedule.peak / 1e-4) / 2 for config in configs],
        [config.optimizer.weight_decay / 0.2 for config in configs],
    ):
        assert np.histogram(shares, bins=4, range=(0, 1))[0].tolist() == [4, 4, 4, 4]
    widths = [config.model.width for config in configs]
    assert [widths.count(width) for width in (16, 32, 48, 64)] == [4, 4, 4, 4]


def test_sobol_is_scipys_scrambled_sequence_and_a_longer_one_begins_with_it():
    sides = tuple(sweep_config.Range(name, 0.0, 1.0) for name in "abc")
    expected_PxR = qmc.Sobol(3, scramble=True, rng=5).random_base2(4)
    np.testing.assert_allclose(sweep_config.Sobol(sides, 16, 5).rows, expected_PxR, rtol=1e-5)
    assert sweep_config.Sobol(sides, 11, 5).rows == sweep_config.Sobol(sides, 64, 5).rows[:11]
    assert sweep_config.Sobol(sides, 11, 6).rows != sweep_config.Sobol(sides, 11, 5).rows


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_whole_numbers_of_a_range_reach_both_ends_and_stay_inside(scale):
    side = sweep_config.Range("WIDTH", 3, 41, scale=scale, multiple_of=4)
    values = [side.at(share) for share in np.linspace(0, 1, 2000, endpoint=False)]
    assert sorted(set(values)) == list(range(4, 41, 4)) and all(isinstance(value, int) for value in values)
    if scale == "linear":
        assert {values.count(value) for value in set(values)} <= {199, 200, 201}
    else:
        assert values.count(4) > 3 * values.count(20)


@pytest.mark.parametrize(
    "fields",
    [
        dict(low=1.0, high=1.0),
        dict(low=0.0, high=1.0, scale="log"),
        dict(low=5, high=7, multiple_of=4),
        dict(low=0.0, high=math.inf),
        dict(low=1, high=2, multiple_of=-1),
    ],
)
def test_a_range_that_holds_nothing_is_refused(fields):
    with pytest.raises(ConfigError, match="Range of 'WIDTH'"):
        sweep_config.Range("WIDTH", **fields)


CHAIN = (
    PART
    + """
sweep_config.Part.axes = (@width/sweep_config.Grid(), @sweep_config.Chain())
sweep_config.Chain.parts = (@rates/sweep_config.Part(), @seeds/sweep_config.Part())
rates/sweep_config.Part.axes = (@rate/sweep_config.Grid(),)
rates/sweep_config.Part.tags = {"role": "tune"}
seeds/sweep_config.Part.axes = (@seed/sweep_config.Grid(), @sweep_config.TokensPerParameter())
sweep_config.TokensPerParameter.ratios = (1,)
sweep_config.TokensPerParameter.size_binding = "DataConfig.sequence_length"
sweep_config.TokensPerParameter.sizes = (32, 16)
sweep_config.TokensPerParameter.tokens_binding = "TOKENS"
"""
    + grid("width", "WIDTH", (16, 32))
    + grid("rate", "ScheduleConfig.peak", (1e-3, 2e-3))
    + grid("seed", "RunConfig.seed", (1,))
)


def test_a_chain_is_several_parts_in_the_place_of_one_axis(lab):
    points = lab.points(CHAIN)
    shown = [(point.bindings["WIDTH"], point.tags.get("role"), len(point.bindings)) for point in points]
    assert shown == [(width, *rest) for width in (16, 32) for rest in (("tune", 2), ("tune", 2), (None, 4), (None, 4))]
    assert [point.tags.get("tokens_per_parameter") for point in points[:4]] == [None, None, "1", "1"]


def test_a_chain_cannot_bring_a_second_axis_of_tokens(lab):
    text = CHAIN.replace("(@width/sweep_config.Grid(), @sweep", "(@other/sweep_config.TokensPerParameter(), @sweep")
    text += (
        "other/sweep_config.TokensPerParameter.size_binding = 'WIDTH'\n"
        "other/sweep_config.TokensPerParameter.sizes = (16,)\n"
    )
    with pytest.raises(ConfigError, match="two axes set tokens"):
        lab.points(text)


def test_a_tag_cannot_be_set_twice(lab):
    with pytest.raises(ConfigError, match="sets the tag 'role' twice"):
        lab.points(CHAIN + 'sweep_config.Part.tags = {"role": "fit"}\n')


def tuning_run(lab, width: int, peak: float, loss: float | None, seed: int = 0, tokens: int = 6_400, **tags: str):
    """A recorded run of an earlier sweep; a loss of None is one that diverged."""
    lab.parsed(PART + "sweep_config.Part.axes = ()\n")
    with gin_files.overridden({"WIDTH": width, "ScheduleConfig.peak": peak, "RunConfig.seed": seed, "TOKENS": tokens}):
        config = gin_files.build(expand.RunConfig).config
    folder = lab.folder / "tuned" / f"{width}-{peak}-{seed}-{tokens}"
    folder.mkdir(parents=True)
    spec = {"config": gin_files.to_dict(config), "sweep_id": "rates-1234", "kind": "pretrain", "tags": tags}
    (folder / "spec.json").write_text(json.dumps(spec))
    record = {
        "status": "completed" if loss is not None else "diverged",
        "losses": {"speeches": {"nats_per_token": loss}} if loss is not None else {},
        "primary_domain": "speeches",
    }
    (folder / "record.json").write_text(json.dumps(record))
    return folder


def parabolas(lab, optima: dict[int, float], rates=(1e-3, 2e-3, 4e-3, 8e-3), **tags: str) -> None:
    for width, best in optima.items():
        for rate in rates:
            tuning_run(lab, width, rate, 3 + 0.1 * math.log(rate / best) ** 2, **tags)


def from_records(lab, widths, **fields) -> str:
    text = PART + "sweep_config.Part.axes = (@width/sweep_config.Grid(), @sweep_config.FromRecords())\n"
    fields = {"binding": "ScheduleConfig.peak", "root": str(lab.folder / "tuned"), **fields}
    axis = "".join(f"sweep_config.FromRecords.{name} = {value!r}\n" for name, value in fields.items())
    return text + grid("width", "WIDTH", widths) + axis


def test_each_size_takes_the_vertex_of_its_own_parabola_in_log_learning_rate(lab):
    """The records lie on exact parabolas, whose vertices lie between the rates that were tried."""
    optima = {16: 3.1e-3, 32: 2.3e-3}
    parabolas(lab, optima)
    points = lab.points(from_records(lab, (16, 32)))
    peaks = [expand.build(point).config.schedule.peak for point in points]
    assert peaks == pytest.approx(list(optima.values()), rel=1e-3)
    assert [point.label for point in points] == ["WIDTH=16 peak=0.0031", "WIDTH=32 peak=0.0023"]


def test_it_sees_the_size_that_another_axis_sets_together_with_tokens(lab):
    parabolas(lab, {16: 3e-3, 32: 2e-3})
    text = from_records(lab, (16,)).replace("@width/sweep_config.Grid()", "@sweep_config.IsoFlop()") + (
        "sweep_config.IsoFlop.budgets = (2e9,)\nsweep_config.IsoFlop.size_binding = 'WIDTH'\n"
        "sweep_config.IsoFlop.sizes = (16, 32)\nsweep_config.IsoFlop.tokens_binding = 'TOKENS'\n"
    )
    configs = [expand.build(point).config for point in lab.points(text)]
    assert [config.schedule.peak for config in configs] == pytest.approx([3e-3, 2e-3], rel=1e-3)
    assert configs[0].tokens > configs[1].tokens


def test_seeds_are_averaged_and_a_neighbour_that_diverged_leaves_the_best_as_it_is(lab):
    for seed, losses in ((0, (3.2, 3.0, 3.1)), (1, (3.2, 3.3, 3.0))):
        for rate, loss in zip((1e-3, 2e-3, 4e-3), losses, strict=True):
            tuning_run(lab, 16, rate, loss, seed=seed)
    tuning_run(lab, 16, 8e-3, None)
    assert expand.build(lab.points(from_records(lab, (16,)))[0]).config.schedule.peak == 4e-3


@pytest.mark.parametrize(("best", "remedy"), [(5e-4, "smaller values"), (2e-2, "larger values")])
def test_an_optimum_at_the_edge_is_refused_with_the_side_to_extend(lab, best, remedy):
    parabolas(lab, {16: best})
    with pytest.raises(ConfigError, match=f"at the edge.*{remedy}"):
        lab.points(from_records(lab, (16,)))


def test_a_size_that_was_not_tuned_is_refused_or_taken_from_the_power_law(lab):
    parabolas(lab, {16: 4e-3, 32: 2e-3})
    with pytest.raises(ConfigError, match="model.width=16, model.width=32, and not for model.width=64"):
        lab.points(from_records(lab, (64,)))
    (point,) = lab.points(from_records(lab, (64,), power_law=True))
    assert expand.build(point).config.schedule.peak == pytest.approx(1e-3, rel=2e-3)


def test_runs_of_other_horizons_are_not_mixed_up_with_the_setting(lab):
    """The longer run has the lower loss whatever its learning rate is."""
    parabolas(lab, {16: 3e-3}, stage="short")
    tuning_run(lab, 16, 4e-3, 2.0, tokens=12_800, stage="long")
    with pytest.raises(ConfigError, match="differ in tokens beside schedule.peak"):
        lab.points(from_records(lab, (16,)))
    (point,) = lab.points(from_records(lab, (16,), tags={"stage": "short"}))
    assert expand.build(point).config.schedule.peak == pytest.approx(3e-3, rel=1e-3)


def test_an_earlier_sweep_that_is_not_finished_is_refused(lab):
    """The missing run could be the best one."""
    parabolas(lab, {16: 3e-3})
    folder = tuning_run(lab, 16, 3e-3, 2.9)
    (folder / "record.json").unlink()
    with pytest.raises(DataError, match="1 runs under .* have no record yet.*launch.resume"):
        lab.points(from_records(lab, (16,)))


def test_records_that_are_not_there_are_named(lab):
    with pytest.raises(DataError, match="holds no recorded run"):
        lab.points(from_records(lab, (16,)))
    parabolas(lab, {16: 3e-3})
    with pytest.raises(DataError, match="of the sweep 'another'"):
        lab.points(from_records(lab, (16,), sweep="another"))
    with pytest.raises(ConfigError, match="schedule.peek.*RunConfig does not have"):
        lab.points(from_records(lab, (16,), setting="schedule.peek"))
    with pytest.raises(ConfigError, match="measured on speeches"):
        lab.points(from_records(lab, (16,), domain="poems"))


def test_the_vertex_is_that_of_the_fitted_parabola():
    rates, losses = (1e-3, 2.5e-3, 4e-3), (3.0, 2.9, 2.95)
    curvature, slope, _ = np.polyfit(np.log(rates), losses, 2)
    assert tuned.vertex(rates, losses) == pytest.approx(math.exp(-slope / (2 * curvature)), rel=1e-9)
    assert tuned.vertex(rates, (3.0, 3.0, 3.0)) == 2.5e-3


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (dict(budget_flops=1e9), "needs 2e\\+09 FLOPs, and Sweep.budget_flops allows 1e\\+09"),
        (dict(budget_seconds=99), "needs 100 s, and Sweep.budget_seconds"),
        (dict(budget_cost=2.5), "needs 3, and Sweep.budget_cost"),
    ],
)
def test_a_plan_over_a_budget_is_refused_and_one_within_is_not(limits, said):
    part = sweep_config.Part()
    with pytest.raises(ConfigError, match=said):
        budgets.check(sweep_config.Sweep("s", "r", (part,), **limits), 2e9, 100.0, 3.0)
    roomy = {name: 10 * value for name, value in limits.items()}
    budgets.check(sweep_config.Sweep("s", "r", (part,), **roomy), 2e9, 100.0, 3.0)
    budgets.check(sweep_config.Sweep("s", "r", (part,)), 2e9, 100.0, None)


def test_a_cost_that_nobody_can_predict_is_not_taken_for_nothing():
    sweep = sweep_config.Sweep("s", "r", (sweep_config.Part(),), budget_cost=10.0)
    with pytest.raises(ConfigError, match="knows no price"):
        budgets.check(sweep, 2e9, 100.0, None)


def test_a_budget_below_nothing_is_refused():
    with pytest.raises(ConfigError, match="budget_flops"):
        sweep_config.Sweep("s", "r", (sweep_config.Part(),), budget_flops=-1.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gin.Sweep.budget_flops=1e6"], "Sweep.budget_flops allows 1e+06"),
        (["--gin.Sweep.budget_seconds=0.001"], "Sweep.budget_seconds allows 0.001"),
        (["--gin.Sweep.budget_cost=1"], "knows no price"),
        (["--gin.LocalEngine.price_per_hour=3600", "--gin.Sweep.budget_cost=0.01"], "Sweep.budget_cost allows 0.01"),
        (["--gin.Sweep.parts=()"], "Sweep.parts of 'test' is empty"),
        (["--gin.Grid.values=(3,3)"], "are the same run"),
        (["--gin.Grid.binding=RunConfig.sede"], "sede"),
    ],
    ids=["flops", "seconds", "no price", "cost", "no runs", "duplicate", "unknown binding"],
)
def test_the_verb_refuses_a_sweep_that_must_not_run_with_one_line_and_writes_nothing(lab, sweep, arguments, said):
    ended = sweep(f"--gin_file={lab.seeds(0, 1)}", *arguments, "--engine=local")
    assert ended.code == 2 and said in ended.err, ended.err
    assert ended.err.count("\n") == 1 and not lab.root.exists()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: sweep_config.Sobol((1, 2), 4), "Sobol.ranges holds 1.*of Range"),
        (lambda: sweep_config.Chain((sweep_config.Grid("WIDTH", (16,)),)), "Chain.parts holds Grid.*of Part"),
        (
            lambda: sweep_config.Part((sweep_config.Range("WIDTH", 1, 2),)),
            "Part.axes holds Range.*of Grid, Zip, LogGrid, Sobol",
        ),
        (lambda: sweep_config.Sweep("s", "r", (sweep_config.Grid("WIDTH", (16,)),)), "Sweep.parts holds Grid.*of Part"),
        (lambda: sweep_config.Chain(()), "Chain.parts is empty"),
    ],
)
def test_a_thing_in_the_wrong_place_is_named_with_what_belongs_there(make, said):
    with pytest.raises(ConfigError, match=said):
        make()
