"""Plans: run ids, groups, checks and the cut into jobs and shares."""

import dataclasses
import itertools
import shutil

import pytest

from launch import jobs, states
from launch import plan as planning
from launch.engines.engine import Job
from launch.manifest import ManifestRun
from launch.rates import STARTUP_SECONDS, Rates
from scaling import run_directory
from scaling.errors import ConfigError, DataError

PARTS = "sweep_config.Sweep.parts = (@a/sweep_config.Part(), @b/sweep_config.Part())\n"


def part(name: str, binding: str, values: object) -> str:
    return (
        f"{name}/sweep_config.Part.axes = (@{name}/sweep_config.Grid(),)\n"
        f"{name}/sweep_config.Grid.binding = {binding!r}\n{name}/sweep_config.Grid.values = {values!r}\n"
    )


def test_run_ids_are_those_of_frozen_directories(lab):
    plan = lab.plan(PARTS + part("a", "WIDTH", (16, 32)) + part("b", "BRANCHES", ((3_200, 6_400),)))
    assert not lab.root.exists()
    for run in plan.runs:
        frozen = run_directory.freeze(lab.root, run.loaded, run.unit.specs[0].stores)
        assert [directory.path.name for directory in frozen] == [spec.run_id for spec in run.unit.specs]
    assert plan.models == 4


def test_bindings_of_a_point_reach_its_own_config_only(lab):
    plan = lab.plan(PARTS + part("a", "RunConfig.seed", (5,)) + part("b", "WIDTH", (32,)))
    assert [(run.config.seed, run.config.model.width) for run in plan.runs] == [(5, 16), (0, 32)]
    assert all("Sweep" not in run.loaded.operative for run in plan.runs[1:])


def test_a_point_that_occurs_twice_is_refused_with_both_names(lab):
    with pytest.raises(
        ConfigError, match=r"part 1 \(WIDTH=32\) and part 2 \(seed=0 WIDTH=32\) are the same run"
    ) as caught:
        lab.plan(
            PARTS
            + part("a", "WIDTH", (16, 32))
            + "b/sweep_config.Part.axes = (@b/sweep_config.Zip(),)\n"
            + 'b/sweep_config.Zip.bindings = ("RunConfig.seed", "WIDTH")\nb/sweep_config.Zip.rows = ((0, 32),)\n'
        )
    assert "seed" in caught.value.remedy


def test_groups_share_what_is_compiled(lab):
    """Seed, learning rate, weight decay and horizon are inputs of a step; width, batch and clipping are not."""
    bindings = [
        "RunConfig.seed",
        "ScheduleConfig.peak",
        "TOKENS",
        "WIDTH",
        "RunConfig.batch_size",
        "RunConfig.compute_dtype",
    ]
    values = [1, 0.5, 3_200, 32, 8, "bfloat16"]
    base = tuple([0, 3e-4, 6_400, 16, 4, "float32"])
    rows = [base] + [base[:i] + (value,) + base[i + 1 :] for i, value in enumerate(values)]
    text = "sweep_config.Sweep.parts = (@sweep_config.Part(),)\nsweep_config.Part.axes = (@sweep_config.Zip(),)\n"
    text += f"sweep_config.Zip.bindings = {tuple(bindings)!r}\nsweep_config.Zip.rows = {tuple(rows)!r}\n"
    first, *others = lab.plan(text).runs
    assert [run.group == first.group for run in others] == [True, True, True, False, False, False]


def test_repeated_text_is_a_warning_or_an_error(lab):
    text = PARTS + part("a", "WIDTH", (16,)) + part("b", "TOKENS", (64_000,))
    plan = lab.plan(text)
    (warning,) = plan.warnings
    assert "TOKENS=64000" in warning and "more than once" in warning
    with pytest.raises(ConfigError, match="single_epoch"):
        lab.plan(text + "sweep_config.Sweep.single_epoch = True\n")


def test_records_that_keep_other_tags_are_a_warning(lab):
    text = PARTS + part("a", "WIDTH", (16,)) + part("b", "WIDTH", (32,))
    for run in (first := lab.plan(text)).runs:
        (directory,) = run_directory.freeze(lab.root, run.loaded, run.unit.specs[0].stores, tags=run.point.tags)
        directory.write_record({"status": "completed", "tags": run.point.tags})
    assert not first.warnings and not lab.plan(text).warnings
    (warning,) = lab.plan(text + 'a/sweep_config.Part.tags = {"role": "held_out"}\n').warnings
    assert warning.startswith("1 records have other tags") and "WIDTH=16" in warning


def test_a_vocabulary_that_is_not_the_store_s_is_refused(lab):
    with pytest.raises(DataError, match="vocab_size"):
        lab.plan(PARTS + part("a", "WIDTH", (16,)) + part("b", "ladder.llama.vocab_size", (300,)))


def test_a_truncated_store_is_refused(lab):
    store = lab.folder / "store"
    shutil.copytree(lab.store, store)
    tokens = store / "train-00000.tokens"
    tokens.write_bytes(tokens.read_bytes()[:-2])
    with pytest.raises(DataError, match="truncated"):
        dataclasses.replace(lab, store=str(store)).plan(PARTS + part("a", "WIDTH", (16,)) + part("b", "WIDTH", (32,)))


def test_own_tokens_of_a_trunk_count_shared_tokens_once(lab):
    text = PARTS + part("a", "BRANCHES", ((1_280, 3_840, 6_400),)) + part("b", "WIDTH", (32,))
    run = lab.plan(text).runs[0]
    trunk, *branches = (states.own_tokens(spec) for spec in run.unit.specs)
    assert trunk == 0.8 * 6_400
    assert branches == [0.2 * 1_280, 0.2 * 3_840, 0.2 * 6_400]
    assert run.own_flops == pytest.approx(6 * run.parameters * (trunk + sum(branches)))


def planned(lab, seconds: dict[str, list[float]]) -> list[planning.PlannedRun]:
    """Runs with given groups and predicted seconds."""
    flat = [(group, value) for group, values in seconds.items() for value in values]
    text = PARTS + part("a", "WIDTH", (32,)) + part("b", "RunConfig.seed", tuple(range(1, len(flat) + 1)))
    runs = lab.plan(text).runs[1:]
    return [
        dataclasses.replace(run, group=group, seconds=value) for run, (group, value) in zip(runs, flat, strict=True)
    ]


def test_jobs_are_longest_first_keep_groups_apart_and_lose_nothing(lab):
    runs = planned(lab, {"small": [10.0] * 12, "large": [100.0], "middle": [30.0, 50.0]})
    cut = jobs.jobs_of(runs, slots=2)
    assert [job.seconds for job in cut] == sorted((job.seconds for job in cut), reverse=True)
    assert cut[0].name.startswith("large")
    assert sorted(run_id for job in cut for run_id in job.run_ids) == sorted(run.unit.run_id for run in runs)
    group_of = {run.unit.run_id: run.group for run in runs}
    assert all(len({group_of[run_id] for run_id in job.run_ids}) == 1 for job in cut)


def test_a_long_group_is_split_so_that_slots_finish_together(lab):
    runs = planned(lab, {"only": [60.0] * 10})
    cut = jobs.jobs_of(runs, slots=2)
    assert len(cut) > 2
    assert jobs.makespan(cut, 2) < 0.6 * sum(run.seconds for run in runs) + len(cut) * STARTUP_SECONDS


def test_a_short_group_stays_one_process(lab):
    assert len(jobs.jobs_of(planned(lab, {"only": [0.5] * 8}), slots=2)) == 1


GRID = """
sweep_config.Sweep.parts = (@sweep_config.Part(),)
sweep_config.Part.axes = (@shape/sweep_config.Zip(), @horizon/sweep_config.Grid(), @rate/sweep_config.Grid(), @seed/sweep_config.Grid())
shape/sweep_config.Zip.bindings = ("WIDTH", "BRANCHES")
shape/sweep_config.Zip.rows = ((16, ()), (32, ()), (16, (3_200, 6_400)))
horizon/sweep_config.Grid.binding = "RunConfig.batch_size"
horizon/sweep_config.Grid.values = (2, 4)
rate/sweep_config.Grid.binding = "ScheduleConfig.peak"
rate/sweep_config.Grid.values = (0.001, 0.002)
seed/sweep_config.Grid.binding = "RunConfig.seed"
seed/sweep_config.Grid.values = (0, 1)
"""


def test_a_plan_knows_which_runs_the_trainer_takes_side_by_side(lab):
    """The plan's hash, made without JAX, cuts frozen runs into the populations of scaling.training.population.grouping: sizes, batches, kinds and horizons
    part them, rates and seeds do not."""
    from scaling.training.population import grouping

    plan = lab.plan(GRID)
    assert len(plan.runs) == 24
    directories = [
        run_directory.freeze(lab.root, run.loaded, run.unit.specs[0].stores, tags=run.point.tags)[0]
        for run in plan.runs
    ]
    expected: dict[tuple[str, str], set[str]] = {}
    for run in plan.runs:
        expected.setdefault((run.group, run.population), set()).add(run.run_id)
    found = grouping.grouped(directories, 16)
    assert [{directory.path.name for directory in population} for population in found] == list(expected.values())
    assert [len(population) for population in found] == [4] * 6


def alike(seconds: dict[str, list[float]]) -> list[ManifestRun]:
    """Runs of one group in populations with given predicted seconds."""
    flat = [(population, value) for population, values in seconds.items() for value in values]
    return [
        ManifestRun(f"run{number * 37 % 101:03d}", (), "", {}, "group", 1, 1.0, value, 1.0, population)
        for number, (population, value) in enumerate(flat)
    ]


def test_runs_that_may_train_side_by_side_stay_in_one_job():
    """Twelve horizons of four seeds on two slots: no population is as long as a piece may be, so each is whole in one of the eight jobs, its runs one after
    another; dealt by length alone, each would be in four."""
    runs = alike({f"horizon{n:02d}": [float(n)] * 4 for n in range(10, 22)})
    population = {run.run_id: run.population for run in runs}
    cut = jobs.jobs_of(runs, slots=2)
    assert len(cut) == 8 and sorted(name for job in cut for name in job.run_ids) == sorted(population)
    blocks = [name for job in cut for name, _ in itertools.groupby(population[run_id] for run_id in job.run_ids)]
    assert sorted(blocks) == sorted(set(population.values()))


def test_a_population_that_slots_would_wait_for_is_cut_evenly():
    """One population of 40 runs beside short ones on four slots: jobs of almost equal numbers of runs, and slots that end together."""
    runs = alike({"long": [60.0] * 40, "short": [20.0] * 3, "other": [10.0] * 3})
    cut = jobs.jobs_of(runs, slots=4)
    shares = [sum(name in {run.run_id for run in runs[:40]} for name in job.run_ids) for job in cut]
    assert set(shares) - {0} == {2, 3}
    total = sum(job.seconds for job in cut)
    assert jobs.makespan(cut, 4) < total / 4 + max(job.seconds for job in cut)


def test_runs_of_a_manifest_that_names_no_populations_are_dealt_by_length():
    runs = [dataclasses.replace(run, population="") for run in alike({"only": [60.0] * 9 + [540.0]})]
    cut = jobs.jobs_of(runs, slots=1)
    assert max(len(job.run_ids) for job in cut if job.seconds < 540) > 1
    assert [len(job.run_ids) for job in cut if job.seconds > 540] == [1]


def test_shares_of_a_sweep_are_even_disjoint_and_the_same_on_every_host():
    cut = [Job(f"j{i:02d}", (f"run{i}",), 1.0, flops, 1.0) for i, flops in enumerate([8.0, 7, 6, 5, 4, 3, 2, 2, 2, 1])]
    shares = [jobs.shard(cut, index, 3) for index in range(3)]
    assert sorted(job.name for share in shares for job in share) == [job.name for job in cut]
    # Graham 1969: longest first is within 4/3 of the best, here 40 / 3.
    assert max(sum(job.flops for job in share) for share in shares) <= 14
    assert all([job.flops for job in share] == sorted((job.flops for job in share), reverse=True) for share in shares)
    assert jobs.shard(cut[::-1], 1, 3) == shares[1]


def test_predictions_use_measured_rates():
    assumed = Rates().seconds_per_token(1_000_000, 6e6)
    rates = Rates(measured=((10_000, 1e-5), (1_000_000, 1e-3)))
    assert rates.seconds_per_token(1_000_000, 6e6) == 1e-3 != assumed
    assert rates.seconds_per_token(100_000, 6e5) == pytest.approx(1e-4)
    assert rates.seconds_per_token(4_000_000, 24e6) == pytest.approx(4e-3)
    assert rates.seconds_per_token(1_000, 6e3) == 1e-5
