"""Profile likelihood where it is known in closed form, and what it says where the data set no end."""

import numpy as np
import pytest
from scipy import stats

from analysis.laws import parametric, study
from analysis.laws.fitting import fit as fitting
from analysis.laws.fitting import solve
from analysis.laws.fitting.objectives import HUBER, binomial, least_squares
from analysis.laws.forms.chinchilla import FORM
from analysis.laws.forms.form import Direct, Parameter, evaluate
from analysis.laws.intervals import bootstrap, likelihood, noise, profile
from analysis.laws.intervals.held import held, holds

LINE = Direct(
    "line", "y = c + s x", "none", ("params",), (Parameter("c", -1e3, 1e3, -9, 9, False), Parameter("s", -1e3, 1e3, -9, 9, False)),
    lambda theta, x, xp: theta[0] + theta[1] * x[0], natural={"c": lambda theta: theta[:, 0], "s": lambda theta: theta[:, 1]},
)  # fmt: skip


def problem_of(form, x_KxV, y_K, objective):
    centre_V, w_K = fitting.centre_of(form, x_KxV), np.ones(len(y_K))
    optimum = solve.solve(form, x_KxV - centre_V, y_K, w_K, objective)
    return profile.Problem(form, x_KxV - centre_V, centre_V, y_K, w_K, optimum.theta, optimum.objective, objective)


@pytest.fixture(scope="module")
def line():
    rng = np.random.default_rng(0)
    x_K = np.linspace(-1, 2, 25)
    return x_K, 0.3 + 0.7 * x_K + 0.05 * rng.standard_normal(25)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_gaussian_line_has_the_closed_form(line, level):
    """n ln(1 + t²/(n − 2)) is the deviance of a coefficient in linear regression, so the ends are known; the interpolation holds 1e-3 of them."""
    x_K, y_K = line
    found = profile.profiles(problem_of(LINE, x_K[:, None], y_K, least_squares()))
    regression = stats.linregress(x_K, y_K)
    t = np.sqrt(23 * np.expm1(stats.chi2.ppf(level, 1) / 25))
    for name, value, deviation in (
        ("c", regression.intercept, regression.intercept_stderr),
        ("s", regression.slope, regression.stderr),
    ):
        expected = (value - t * deviation, value + t * deviation)
        assert found[name].interval(level) == pytest.approx(expected, abs=1e-3 * deviation), name


def test_replicates_as_reference_give_students_t(line):
    """With noise of known spread as the reference, the interval of a Gaussian line is wider than the chi-square's, as Student's is."""
    x_K, y_K = line
    noise_RxK = 0.05 * np.random.default_rng(1).standard_normal((3000, 25))
    found = profile.profiles(problem_of(LINE, x_K[:, None], y_K, least_squares()), noise_RxK)["s"]
    regression = stats.linregress(x_K, y_K)
    half = stats.t.ppf(0.95, 23) * regression.stderr
    low, high = found.interval(0.9)
    assert (high - low) / 2 == pytest.approx(half, rel=0.05)
    assert "calibrated by 3000 replicates" in found.reference_in_words


def test_what_is_held_stays_held(epoch):
    """Refits with alpha or a held at a value are the best of the curves that have it: slower refits over a bound agree."""
    x_KxV, y_K = fitting.variables(FORM, epoch), epoch.log("loss")
    problem = problem_of(FORM, x_KxV, y_K, HUBER)
    names = [hold.name for hold in holds(FORM)]
    assert set(names) == {*FORM.names, "a", "b"}
    at = np.array([0.36])
    ours = problem.refit(np.array([names.index("alpha")]), at, y_K[None], problem.theta_P[None])
    low, high = FORM.bounds(y_K)
    low[3] = high[3] = at[0]
    start = problem.theta_P.copy()
    start[3] = at[0]
    pinned = solve.descend(FORM, HUBER, problem.x_KxV, y_K[None], problem.w_K[None], start[None], (low, high))
    assert ours == pytest.approx(pinned.objective, rel=1e-9)
    # A law held at its own optimum loses nothing, whichever number is held.
    estimate = problem.natural(problem.theta_P[None])[0]
    unmoved = problem.refit(np.arange(len(names)), estimate, y_K[None], np.tile(problem.theta_P, (len(names), 1)))
    assert unmoved == pytest.approx(np.full(len(names), problem.least), rel=1e-9)
    columns = held(FORM).columns(problem.x_KxV, problem.centre_V, np.array([float(names.index("a"))]), np.array([0.4]))
    theta = problem.theta_P.copy()
    theta[4] = theta[3] * 0.4 / 0.6
    assert evaluate(held(FORM), problem.theta_P[None], columns[0])[0] == pytest.approx(
        evaluate(FORM, theta[None], problem.x_KxV)[0], rel=1e-12
    )


@pytest.mark.slow
def test_an_end_that_the_data_do_not_set_is_infinite():
    """Noise of 10% over a factor of four in N and D determines no beta: no value is excluded, and the method says so."""
    rng = np.random.default_rng(0)
    params, tokens = (column.ravel() for column in np.meshgrid(np.geomspace(1e6, 4e6, 6), np.geomspace(1e8, 4e8, 6)))
    y_K = np.log(300 / params**0.3 + 900 / tokens**0.35) + 0.1 * rng.standard_normal(36)
    x_KxV = np.stack([np.log(params), np.log(tokens)], axis=1)
    draws = bootstrap.Draws(0.1 * rng.standard_normal((60, 36)), interval=bootstrap.PROFILE_CHI2)
    found = fitting.fit_form(FORM, x_KxV, y_K, draws).spread.estimate("beta", FORM.natural["beta"], 0.9)
    assert found.interval == (-np.inf, np.inf)
    assert found.method == "profile likelihood, by the chi-square distribution, unbounded below, unbounded above"
    assert found.to_json()["interval"] is None


def test_intervals_of_a_law_are_read_from_its_profiles(epoch):
    """By name, with the method stated; E is exp(log E) and a has a profile of its own; gamma has none and keeps its replicates."""
    rng = np.random.default_rng(0)
    draws = bootstrap.Draws(0.01 * rng.standard_normal((60, len(epoch))), interval=bootstrap.PROFILE_CHI2)
    law = parametric.fit(epoch, draws)
    for name in ("alpha", "beta", "E", "A", "a"):
        item = {**law.parameters, **law.derived}[name]
        assert item.method == "profile likelihood, by the chi-square distribution", name
        assert item.interval[0] < item.value < item.interval[1], name
    assert law.derived["gamma"].method.startswith("percentile of 60 bootstrap replicates")
    low, high = law.derived["a"].interval
    assert law.derived["b"].interval == pytest.approx((1 - high, 1 - low), abs=2e-4)


def test_deviances_know_what_was_summed():
    """Huber's far inside delta is least squares up to a constant, and a binomial sum has no scale."""
    residual = 1e-3 * np.random.default_rng(0).standard_normal((2, 50))
    squares = 0.5 * np.sum(residual**2, axis=1)
    by_huber, by_squares = (
        likelihood.deviances(squares, 50, item)
        for item in (HUBER.__class__("huber", HUBER.point, 10.0, 10.0), least_squares())
    )
    assert np.diff(by_huber) == pytest.approx(np.diff(by_squares), rel=1e-3)
    with pytest.raises(ValueError, match="no scale"):
        likelihood.deviances(squares, 50, binomial())


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        (bootstrap.BCA, "BCa of 60 bootstrap replicates"),
        pytest.param(bootstrap.PROFILE, "profile likelihood, calibrated by", marks=pytest.mark.slow),
    ],
)
def test_a_study_takes_the_kind_of_interval_by_name(ladder, interval, words):
    """From the option to laws.json, through every law of the study."""
    found = study.fit_all(ladder, study.Options(bootstrap=60, interval=interval))
    assert found.parametric.parameters["alpha"].method.startswith(words)
    assert found.to_json()["options"]["interval"] == interval


def test_unknown_intervals_are_refused(ladder):
    with pytest.raises(ValueError, match="unknown scheme 'automatic' or interval 'guess'"):
        bootstrap.draw(ladder, noise.Noise(None, 0, 0.01, 0.0, 30, ""), 10, np.random.default_rng(0), interval="guess")
