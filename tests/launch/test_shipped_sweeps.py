"""The sweeps in configs/sweeps/ keep the promises of their comments; planned over stand-in stores of the right sizes."""

import pathlib

import numpy as np
import pytest

from launch import plan as planning
from launch.rates import Rates
from launch.sweep_config import Sweep
from scaling import gin_files
from scaling.accounting.parameters import count_parameters
from scaling.data import store_writer
from scaling.data.vocabularies import ByteVocabulary


class StandInVocabulary(ByteVocabulary):
    """Bytes, with ids that no text uses up to the size of a trained vocabulary."""

    def __init__(self, size: int):
        super().__init__()
        self._size = size
        self._pieces += [b""] * (size - len(self._pieces))

    @property
    def size(self) -> int:
        return self._size


def write_stand_in(path: pathlib.Path, vocabulary: ByteVocabulary, tokens: dict[str, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with store_writer.writing(path, vocabulary, seed=0) as writer:
        for split, count in tokens.items():
            text = "x" * 99_999
            document = store_writer.Document(text.encode(), np.append(vocabulary.encode(text), vocabulary.eos_id))
            writer.write_split(split, [document] * (count // 100_000))
        writer.finish({"task": split, "corpora": []})


STORES = {
    "cpu_demo": ("sotu_bpe512/sotu", 512, 4_500_000),
    "cpu_cosine": ("sotu_bpe512/sotu", 512, 4_500_000),
    "cpu_study": ("light_prose_mixture_bpe1024/light_prose_mixture", 1024, 9_500_000),
}
DOMAINS = ("wikipedia_leads", "botocore", "cpython_source")


@pytest.fixture(scope="module", params=["cpu_demo", "cpu_study"])
def plan(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> planning.Plan:
    """The plan of a shipped study."""
    return planned(request.param, tmp_path_factory.mktemp("project"))


def planned(sweep_file: str, folder: pathlib.Path) -> planning.Plan:
    """The plan of a shipped sweep, over stand-in stores in `folder`."""
    folder.mkdir(exist_ok=True)
    (folder / "configs").symlink_to(gin_files.PROJECT_ROOT / "configs")
    name, vocab_size, train_tokens = STORES[sweep_file]
    vocabulary = StandInVocabulary(vocab_size)
    store = folder / "stores" / name
    write_stand_in(store, vocabulary, {"train": train_tokens, "validation": 100_000, "time_shift": 100_000})
    for domain in DOMAINS:
        write_stand_in(store.with_name(domain), vocabulary, {"validation": 100_000})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        gin_files.parse(Sweep, [f"configs/sweeps/{sweep_file}.gin"])
        sweep = gin_files.build(Sweep).config
        return planning.make_plan(sweep, sweep.root, Rates())


def cost(spec) -> float:
    """6ND of a finished model as if trained alone, exactly as records count it."""
    return 6.0 * count_parameters(spec.config.model).total * spec.config.steps * spec.config.batch_tokens


def test_it_is_a_study_of_the_promised_size(plan):
    fit = [spec for run in plan.runs for spec in run.unit.models if spec.tags["role"] == "fit"]
    (held_out,) = [spec for run in plan.runs for spec in run.unit.models if spec.tags["role"] == "held_out"]
    sizes = {run.parameters for run in plan.runs if run.point.tags["role"] == "fit"}
    assert len(fit) >= 20
    assert max(sizes) / min(sizes) >= 30
    assert max(map(cost, fit)) / min(map(cost, fit)) >= 30
    assert cost(held_out) == pytest.approx(4 * max(map(cost, fit)), rel=5e-3)
    assert held_out.config.model.width > max(spec.config.model.width for spec in fit)
    assert all(run.epochs <= 1 for run in plan.runs) and plan.sweep.single_epoch


def test_it_repeats_two_points_with_three_seeds(plan):
    seeds: dict[tuple[int, int], set[int]] = {}
    for run in plan.runs:
        for spec in run.unit.models:
            point = (spec.config.model.width, spec.config.tokens)
            seeds.setdefault(point, set()).add(spec.config.seed)
    assert sorted(map(len, seeds.values()))[-2:] == [3, 3]


def test_isoflop_curves_have_at_least_three_sizes(plan):
    """The cheapest budgets may have fewer: only the smallest models can spend them on enough tokens."""
    budgets = sorted(plan.sweep.parts[0].axes[0].budgets)
    sizes: dict[float, set[int]] = {budget: set() for budget in budgets}
    for run in plan.runs:
        for spec in run.unit.models:
            if spec.tags["role"] == "fit":
                (budget,) = [known for known in budgets if cost(spec) == pytest.approx(known, rel=0.05)]
                sizes[budget].add(spec.config.model.width)
    assert all(sizes.values()) and sum(len(widths) >= 3 for widths in sizes.values()) >= 6


def test_every_cosine_run_is_a_branch_of_the_demo_trained_alone(tmp_path):
    """Else the two could not be compared point by point: same width, same tokens, same peak, another schedule."""
    demo, cosine = (planned(name, tmp_path / name) for name in ("cpu_demo", "cpu_cosine"))
    branches = {point_of(spec) for run in demo.runs for spec in run.unit.models if spec.kind == "branch"}
    runs = [spec for run in cosine.runs for spec in run.unit.models]
    assert len(runs) == 7 and {spec.config.schedule.name for spec in runs} == {"cosine"}
    assert {point_of(spec) for spec in runs} <= branches


def point_of(spec) -> tuple[int, int, float]:
    return spec.config.model.width, spec.config.tokens, spec.config.schedule.peak
