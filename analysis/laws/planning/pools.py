"""Pools of runs on which planners are compared: grids of known laws, and the rows of published tables.

The target is ten times the compute of the largest run. On a grid the truth is the law; on a published table it is the law fitted to
all of its rows, so there a planner is asked how fast it finds what the full table says.
"""

import dataclasses
import pathlib

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.laws import parametric
from analysis.laws.planning.decision import Decision, decision_at
from analysis.laws.planning.posterior import Posterior
from analysis.laws.tables import sources, table

FloatArray = npt.NDArray[np.float64]

TARGET = 10.0


@dataclasses.dataclass(frozen=True)
class Pool:
    """Runs that a planner may choose from.

    Attributes:
      name: for tables.
      log_params, log_tokens: ln N and ln D, float64[J].
      log_loss: ln L as measured; for a grid without noise, float64[J].
      cost: of each run, float64[J].
      noise: standard deviation of ln L to add; 0 where the losses hold it already.
      theta: the truth, float64[5].
      published: whether the losses were measured by somebody.
    """

    name: str
    log_params: FloatArray
    log_tokens: FloatArray
    log_loss: FloatArray
    cost: FloatArray
    noise: float
    theta: FloatArray
    published: bool

    @property
    def misfit(self) -> float:
        """Median distance of the losses from the truth, in units of the loss."""
        return float(np.median(np.abs(self.log_loss - self.truth.log_loss(self.log_params, self.log_tokens)[0])))

    @property
    def log_flops(self) -> FloatArray:
        """ln C = ln 6ND, float64[J]."""
        return np.log(6.0) + self.log_params + self.log_tokens

    @property
    def decision(self) -> Decision:
        """The choice of N at the target."""
        return decision_at(TARGET * float(np.exp(self.log_flops.max())))

    @property
    def truth(self) -> Posterior:
        """The truth as a posterior of one draw."""
        return Posterior(self.theta[None], np.array([self.noise]))

    def rows(self, index: npt.NDArray) -> "Pool":
        """Some of the runs; the truth and the target's law stay."""
        return dataclasses.replace(
            self, log_params=self.log_params[index], log_tokens=self.log_tokens[index], log_loss=self.log_loss[index], cost=self.cost[index]
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Grid:
    """A grid of a known law.

    Attributes:
      name: whose law, or what is special about it.
      law: E, A, B, alpha, beta.
      sizes: smallest and largest N.
      budgets: smallest and largest C = 6ND.
      noise: standard deviation of ln L.
      overhead: seconds that every run takes beside its steps, over those of the cheapest run's steps; 0 costs 6ND alone.
    """

    name: str
    law: tuple[float, float, float, float, float]
    sizes: tuple[float, float]
    budgets: tuple[float, float]
    noise: float
    overhead: float = 0.0


# Published laws, our own studies (LABLOG.md), and laws whose two exponents are far apart.
GRIDS = (
    Grid("chinchilla, as published", (1.69, 406.4, 410.7, 0.34, 0.28), (5e7, 1.2e10), (6e18, 3e21), 0.004),
    Grid("chinchilla, refitted", (1.8172, 477.8, 2143.4, 0.3473, 0.3672), (5e7, 1.2e10), (6e18, 3e21), 0.008, 2.0),
    Grid("gemstones", (2.1431, 60.0, 6.0e5, 0.2929, 0.7129), (5e7, 2e9), (1e18, 2e20), 0.005, 1.0),
    Grid("data-constrained", (1.869, 521.0, 1488.0, 0.3527, 0.3527), (7e6, 8e9), (1e17, 1e21), 0.004),
    Grid("small demo", (2.07, 300.0, 4.0e5, 0.600, 1.04), (1.5e4, 6e5), (6e10, 2e12), 0.009, 1.0),
    Grid("small study", (2.93, 700.0, 1.1e5, 0.691, 0.835), (2.3e4, 1.3e6), (2.3e11, 1.3e13), 0.007, 0.5),
    Grid("size is slow", (1.5, 60.0, 9000.0, 0.22, 0.45), (1e7, 3e9), (1e17, 1e20), 0.005),
    Grid("data is slow", (1.7, 2000.0, 90.0, 0.48, 0.20), (1e7, 3e9), (1e17, 1e20), 0.005, 1.0),
    Grid("no floor in reach", (0.6, 90.0, 120.0, 0.20, 0.21), (1e7, 3e9), (1e17, 1e20), 0.005),
    Grid("noisy", (1.9, 400.0, 1500.0, 0.34, 0.35), (1e7, 3e9), (1e17, 1e20), 0.02),
)
_SIZES, _BUDGETS = 12, 8
_TOKENS_PER_PARAMETER = (0.5, 2000.0)


def grid_pool(grid: Grid) -> Pool:
    """All sizes at all budgets that give 0.5 to 2,000 tokens per parameter."""
    log_n, log_c = (
        axis.ravel()
        for axis in np.meshgrid(
            np.log(np.geomspace(*grid.sizes, _SIZES)), np.log(np.geomspace(*grid.budgets, _BUDGETS)), indexing="ij"
        )
    )
    log_d = log_c - np.log(6.0) - log_n
    low, high = np.log(_TOKENS_PER_PARAMETER)
    kept = (log_d - log_n >= low) & (log_d - log_n <= high)
    log_n, log_d, log_c = log_n[kept], log_d[kept], log_c[kept]
    e, a, b, alpha, beta = grid.law
    theta = np.array([np.log(a), np.log(b), np.log(e), alpha, beta])
    truth = Posterior(theta[None], np.array([grid.noise]))
    # What is paid is time: small models waste more of it, and every run has an overhead.
    cost = np.exp(log_c)
    if grid.overhead:
        cost = cost * np.exp(-0.1 * (log_n - log_n.max()))
        cost = cost + grid.overhead * cost.min()
    return Pool(grid.name, log_n, log_d, truth.log_loss(log_n, log_d)[0], cost, grid.noise, theta, published=False)


def frame_pool(name: str, frame: pd.DataFrame) -> Pool:
    """A published table (params, tokens, loss [, cost]); the truth is the law fitted to all its rows."""
    runs = table.build(sources.from_frame(frame.assign(flops=6.0 * frame["params"] * frame["tokens"]), name))
    fitted = parametric.fit(runs)
    cost = (
        frame["cost"].to_numpy(np.float64)
        if "cost" in frame
        else 6.0 * (frame["params"] * frame["tokens"]).to_numpy(np.float64)
    )
    return Pool(name, runs.log("params"), runs.log("tokens"), runs.log("loss"), cost, 0.0, fitted.theta, published=True)


def published_pools(root: pathlib.Path) -> list[Pool]:
    """The tables beside the project, in the layout of their README files.

    Args:
      root: holds epoch_chinchilla, gemstones, porian2024 and datablations.
    """
    frames = {
        "epoch_chinchilla": _epoch(root),
        "gemstones, cooled (node seconds)": _gemstones(root / "gemstones" / "wandb_df_for_fitting_cool_end.jsonl"),
        "gemstones, hot (node seconds)": _gemstones(root / "gemstones" / "wandb_df_for_fitting_hot.jsonl"),
        "datablations, one epoch": _datablations(root),
        **_porian(root),
    }
    return [frame_pool(name, frame) for name, frame in frames.items()]


def _epoch(root: pathlib.Path) -> pd.DataFrame:
    raw = pd.read_csv(root / "epoch_chinchilla" / "svg_extracted_data.csv")
    # Besiroglu et al. leave out the five largest losses.
    kept = raw[raw["loss"] < np.sort(raw["loss"])[-5]]
    params = kept["Model Size"]
    return pd.DataFrame({"params": params, "tokens": kept["Training FLOP"] / (6 * params), "loss": kept["loss"]})


def _gemstones(path: pathlib.Path) -> pd.DataFrame:
    raw = pd.read_json(path, lines=True)
    seconds = raw["seconds_per_step"] * raw["step"] * raw["num_nodes"]
    return pd.DataFrame(
        {"params": raw["params_active_precise"], "tokens": raw["tokens"], "loss": raw["final_loss"], "cost": seconds}
    )


def _datablations(root: pathlib.Path) -> pd.DataFrame:
    raw = pd.read_csv(root / "datablations" / "all_runs_with_seeds.csv")
    once = raw[(raw["D_total"] <= raw["U_unique"] * (1 + 1e-9)) & np.isfinite(raw["loss"])]
    return pd.DataFrame({"params": once["N"], "tokens": once["D_total"], "loss": once["loss"]})


def _porian(root: pathlib.Path) -> dict[str, pd.DataFrame]:
    """Both corpora, each with the learning rate decayed by Kaplan's and by Chinchilla's recipe, and with tuned hyper-parameters."""
    raw = pd.read_csv(root / "porian2024" / "isoflop_points.csv")
    raw = raw[(raw["warmup"] == "short") & (raw["param_count"] == "standard") & (raw["val"] == "val")]
    settings = (("base", "chinchilla"), ("base", "kaplan"), ("tuned", "const"))
    return {
        f"porian2024, {corpus}, {tuning}, {decay} decay": raw[
            (raw["dataset"] == corpus) & (raw["hparams"] == tuning) & (raw["decay"] == decay)
        ][["n", "tokens", "loss"]].rename(columns={"n": "params"})
        for corpus in ("rw", "owt2")
        for tuning, decay in settings
    }
