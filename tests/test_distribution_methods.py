"""Densities, tails, entropy, modes, regions and scores of mixtures of every family."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from mixexp.distribution import ClassDistribution, MixtureDistribution
from mixexp.distribution._quadrature import breakpoints, grid
from mixexp.distribution._search import root
from mixexp.families import FAMILIES, Gamma, Gaussian, Laplace, Poisson, StudentT

N, K = 6, 3


@pytest.fixture(params=FAMILIES, ids=list(FAMILIES))
def law(request, rng):
    family = FAMILIES[request.param]()
    parameters = family.initial(K, 1)[..., 0] * rng.uniform(0.5, 1.5, (1, K))
    means = family.mean(rng.normal(1.0, 1.0, (N, K)))
    weights = rng.dirichlet(np.ones(K), N)
    weights[0] = [0.0, 1.0, 0.0]
    return MixtureDistribution(weights, means, parameters, family)


def one(family, mean, *parameters):
    """Return the law of one component and one row."""
    return MixtureDistribution(
        np.ones((1, 1)), np.array([[mean]]), np.array(parameters).reshape(-1, 1), family
    )


def test_pdf_integrates_to_one_and_cdf_is_its_integral(law):
    points, weights = grid(law, breakpoints(law))
    assert_allclose(np.sum(weights * law.at("pdf", points), axis=1), 1, atol=1e-6)
    y = np.floor(law.quantile(0.4))
    breaks = np.sort(np.hstack([breakpoints(law), y[:, None] + law.family.discrete]), axis=1)
    points, weights = grid(law, breaks)
    below = np.where(points <= y[:, None], weights * law.at("pdf", points), 0).sum(axis=1)
    assert_allclose(law.cdf(y), below, atol=1e-9)


def test_logs_and_tails_agree_with_what_they_are_of(law):
    for y in np.arange(-2.0, 12.0):
        with np.errstate(divide="ignore"):
            assert_allclose(law.logpdf(y), np.log(law.pdf(y)), rtol=1e-10, atol=1e-12)
            assert_allclose(law.logcdf(y), np.log(law.cdf(y)), rtol=1e-10, atol=1e-12)
        assert_allclose(law.sf(y), 1 - law.cdf(y), atol=1e-14)
    assert_allclose(law.std() ** 2, law.variance())
    assert_array_equal(law.median(), law.quantile(0.5))


def test_families_without_the_optional_methods(law):
    family = law.family

    class Bare:
        discrete, link = family.discrete, family.link
        variance, pdf, cdf, quantile = family.variance, family.pdf, family.cdf, family.quantile

    bare = MixtureDistribution(law.weights, law.means, law.parameters, Bare())
    y = np.floor(law.mean()) + 1
    for name in ("logpdf", "logcdf", "sf", "crps"):
        assert_allclose(getattr(bare, name)(y), getattr(law, name)(y), rtol=1e-8, atol=1e-12)
    assert_allclose(bare.entropy(), law.entropy())
    assert_allclose(bare.mean(), law.mean())


@pytest.mark.parametrize(
    "found, known",
    [
        (one(Gaussian(), 3.0, 2.0), stats.norm(3, 2)),
        (one(StudentT(), 3.0, 2.0, 0.4), stats.t(0.4, 3, 2)),
        (one(StudentT(), 3.0, 2.0, 3.0), stats.t(3, 3, 2)),
        (one(Laplace(), 3.0, 2.0), stats.laplace(3, 2)),
        (one(Poisson(), 3.0), stats.poisson(3)),
        (one(Gamma(), 3.0, 0.5), stats.gamma(4, scale=3 / 4)),
        (one(Gamma(), 3.0, 2.0), stats.gamma(0.25, scale=12)),
    ],
)
def test_one_component_is_the_known_distribution(found, known):
    y = np.array([-3.0, 0.0, 1.0, 3.0, 40.0])
    laws = found[np.zeros(5, dtype=int)]
    atol = 1e-6 if isinstance(found.family, Laplace) else 1e-12  # its parabola
    density = known.pmf if found.family.discrete else known.pdf
    finite = (y > 0) | (found.family.link == "identity") | found.family.discrete
    assert_allclose(laws.pdf(y)[finite], density(y)[finite], rtol=1e-9, atol=atol)
    for name in ("cdf", "sf", "logcdf"):
        assert_allclose(getattr(laws, name)(y), getattr(known, name)(y), rtol=1e-9, atol=1e-13)
    for q in (1e-6, 0.3, 0.9):
        assert_allclose(found.quantile(q), known.ppf(q), rtol=1e-8)
    assert_allclose(found.entropy(), known.entropy(), atol=1e-7)
    moments, known_moments = [found.mean()[0], found.variance()[0]], known.stats("mv")
    assert_array_equal(np.isfinite(moments), np.isfinite(known_moments))
    if np.isfinite(moments).all():
        assert_allclose(moments, known_moments)
    low, high = found.highest_density_region(0.9)[0, 0]
    mass = found.cdf(high) - found.cdf(low - found.family.discrete)
    assert mass >= 0.9 - 1e-12
    if not found.family.discrete:
        assert_allclose(mass, 0.9)


@pytest.mark.parametrize("df, mean, variance", [(0.7, np.nan, np.nan), (1.5, 0.0, np.inf)])
def test_moments_that_do_not_exist(df, mean, variance):
    law = one(StudentT(), 0.0, 1.0, df)
    assert_array_equal([law.mean()[0], law.variance()[0]], [mean, variance])
    assert np.isfinite(law.entropy()).all()
    assert np.isinf(law.crps(0.0)).all() == np.isnan(mean)


def test_modes_and_regions_of_two_peaks():
    weights, means = np.array([[0.3, 0.7], [0.5, 0.5]]), np.array([[-5.0, 5.0], [0.0, 0.1]])
    law = MixtureDistribution(weights, means, np.ones((1, 2)), Gaussian())
    modes = law.modes()
    assert_allclose(modes, [[5.0, -5.0], [0.05, np.nan]], atol=1e-6)
    assert_array_equal(law.mode(), modes[:, 0])
    found = law.highest_density_region([0.5, 0.9])
    assert found.shape == (2, 2, 2, 2)
    ends = found[1]
    assert np.isnan(ends[1, 1]).all() and not np.isnan(ends[0]).any()
    for i, inside in ((0, ends[0]), (1, ends[1, :1])):
        heights = law[i].at("pdf", inside.reshape(1, -1))
        assert_allclose(heights, heights[0, 0], rtol=1e-8)
        assert_allclose(
            np.diff(law[i].at("cdf", inside.reshape(1, -1))[:, :]).ravel()[::2].sum(), 0.9
        )


@pytest.mark.parametrize("family", [Gaussian, Laplace, Gamma])
def test_regions_hold_their_level_and_no_more(family):
    """Gaps open between any two points of a grid: regions with one must not be too large."""
    far = np.linspace(2.2, 4.0, 40)
    means = np.column_stack([np.ones(40), 1 + far])
    law = MixtureDistribution(np.tile([0.6, 0.4], (40, 1)), means, np.array([[0.1, 0.1]]), family())
    if family is not Gamma:
        law.parameters[:] = [0.8, 1.0]
    for level in (0.8, 0.9):
        low, high = np.moveaxis(law.highest_density_region(level), -1, 0)
        gaps = np.isnan(low)
        ends = np.where(gaps, 0.0, np.stack([low, high]))
        mass = (law.at("cdf", ends[1]) - law.at("cdf", ends[0])).sum(axis=1)
        assert_allclose(mass, level, rtol=0, atol=2e-11)


def test_regions_of_unbounded_densities_begin_at_0():
    law = MixtureDistribution(
        np.full((1, 2), 0.5), np.array([[1.0, 5.0]]), np.array([[50.0, 0.01]]), Gamma()
    )
    (region,) = law.highest_density_region(0.9)
    assert region[0, 0] == 0 and law.mode()[0] == 0
    assert_allclose(law.modes(), [[0.0, 5.0 * 0.99]], rtol=0.02)
    mass = np.diff(law.at("cdf", region.reshape(1, -1)))[0, ::2].sum()
    assert_allclose(mass, 0.9, rtol=0, atol=2e-11)


def test_roots_of_steep_flat_and_infinite_functions():
    def function(which, x):
        return np.choose(which, [x**3 - 2, np.tanh(50 * (x - 0.3)), 1 - 1e-3 * x, np.log(x) + 9])

    inside, outside = np.array([9.0, 9.0, 0.0, 1.0]), np.array([0.0, 0.0, 1e9, 0.0])
    every = np.arange(4)
    with np.errstate(divide="ignore"):
        ends = function(every, inside), function(every, outside)
    found = root(function, inside, outside, *ends)
    assert_allclose(found, [2 ** (1 / 3), 0.3, 1000.0, np.exp(-9)], rtol=1e-14)
    assert np.all(function(every, found) >= 0)
    assert_array_equal(root(function, inside, inside, ends[0], ends[0]), inside)


def test_regions_of_counts_are_the_most_probable_ones():
    law = MixtureDistribution(
        np.array([[0.5, 0.5]]), np.array([[1.5, 40.5]]), np.empty((0, 2)), Poisson()
    )
    probability = law.at("pdf", np.arange(100.0)[None])[0]
    order = np.argsort(-probability)
    wanted = np.sort(order[: np.searchsorted(np.cumsum(probability[order]), 0.8) + 1])
    (region,) = law.highest_density_region(0.8)
    found = np.concatenate([np.arange(low, high + 1) for low, high in region])
    assert_array_equal(found, wanted)
    assert_array_equal(law.modes(), [[1.0, 40.0]])


def test_crps_is_the_integral(law):
    if law.family.name == "student_t":
        law.parameters[1] = [1.5, 3.0, 10.0]
    y = np.floor(law.mean() + 1)
    if law.family.discrete:
        points = np.arange(300.0)[None].repeat(N, axis=0)
        expected = np.sum((law.at("cdf", points) - (points >= y[:, None])) ** 2, axis=1)
    else:
        breaks = np.sort(np.hstack([breakpoints(law), y[:, None]]), axis=1)
        finer = np.sort(np.hstack([breaks, (breaks[:, 1:] + breaks[:, :-1]) / 2]), axis=1)
        points, weights = grid(law, finer)
        inner = np.where(points < y[:, None], law.at("cdf", points), law.at("sf", points)) ** 2
        expected = np.sum(weights * inner, axis=1)
    assert_allclose(law.crps(y), expected, atol=1e-8)
    assert_array_equal(law.crps(np.inf), np.inf)
    assert_allclose(law.crps(1e100), 1e100)


def test_crps_of_one_gaussian():
    """Gneiting & Raftery 2007, eq. 21."""
    z = np.array([-30.0, -1.0, 0.0, 0.3, 4.0])
    law = one(Gaussian(), 1.0, 2.0)[[0] * 5]
    known = z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi)
    assert_allclose(law.crps(1 + 2 * z), 2 * known, rtol=1e-13)


@pytest.mark.parametrize("scale", [1e-150, 1e150, 1e300])
def test_extreme_scales_and_far_queries_are_never_nan(law, scale):
    if law.family.parameter_names and law.family.link == "identity":
        law.parameters[0] = scale
    scale = min(scale, 1e4) if law.family.discrete else scale
    odds = law.family.link == "logit"
    law.means = np.minimum(law.means * scale, 1.0) if odds else law.means * scale
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("mean", "std", "median", "entropy", "mode"):
            assert not np.isnan(getattr(law, name)()).any(), name
        for y in (-np.inf, -1e300, 0.0, scale, 1e300, np.inf):
            for name in ("pdf", "logpdf", "cdf", "logcdf", "sf", "crps"):
                assert not np.isnan(getattr(law, name)(y)).any(), (name, y)
        low, high = law.quantile([0.0, 1.0])
    assert np.all(low == (-np.inf if law.family.link == "identity" else 0.0))
    assert np.all(high <= 1.0 if odds else high == np.inf)


def test_rows_and_components(law):
    y = np.floor(law.mean()) + 1
    assert len(law) == N
    for rows in (slice(1, 3), [2, 0], np.arange(N) > 3, -1, []):
        part = law[rows]
        assert_array_equal(part.pdf(np.atleast_1d(y[rows])), np.atleast_1d(law.pdf(y)[rows]))
    assert sum(len(row) for row in law) == N
    empty = law[:0]
    for name in ("mean", "std", "entropy", "mode", "highest_density_region"):
        assert len(getattr(empty, name)()) == 0
    mean = sum(law.weights[:, k] * law.component(k).mean() for k in range(K))
    assert_allclose(mean, law.mean())
    assert_array_equal(law.component(-1).mean(), law.component(K - 1).mean())
    with pytest.raises(IndexError):
        law[N]
    with pytest.raises(ValueError, match=f"MixtureDistribution: k={K} must be .* 0 to {K - 1}"):
        law.component(K)


def test_several_outputs_one_by_one(rng):
    means, parameters = rng.normal(size=(N, K, 2)), rng.uniform(0.5, 1, (1, K, 2))
    weights = rng.dirichlet(np.ones(K), N)
    law = MixtureDistribution(weights, means, parameters, Gaussian())
    y = rng.normal(size=(N, 2))
    for output in range(2):
        alone = MixtureDistribution(
            weights, means[..., output], parameters[..., output], Gaussian()
        )
        assert_array_equal(law.crps(y)[:, output], alone.crps(y[:, output]))
        for name in ("entropy", "mode", "std"):
            assert_array_equal(getattr(law, name)()[:, output], getattr(alone, name)())
    assert law.highest_density_region([0.5, 0.9]).shape[:3] == (2, N, 2)
    assert_allclose(law.logpdf(y), np.log(law.pdf(y)))
    assert law.to_frame().shape == (N, 12)


def test_to_frame(law):
    with pytest.raises(ValueError, match="index has 2 labels for 6 rows"):
        law.to_frame(index=[1, 2])
    frame = law.to_frame([0.1, 0.9], index=list("abcdef"))
    assert list(frame.columns) == ["mean", "std", "mode", "q0.1", "q0.9"]
    assert_array_equal(frame["q0.9"], law.quantile(0.9))
    assert frame.index[0] == "a"


@pytest.mark.parametrize("level", [0.0, 1.0, np.nan, -0.1])
def test_levels_out_of_range(law, level):
    with pytest.raises(ValueError, match=r"level must be one number between 0 and 1.*got .*1e-9"):
        law.highest_density_region(level)


# ---------------------------------------------------------------- classes


def test_entropy_of_classes_is_what_is_unknown_and_what_is_disputed(rng):
    weights = rng.dirichlet(np.ones(K), N)
    weights[0] = [0.0, 0.0, 1.0]
    proba = rng.dirichlet(np.full(4, 0.3), (N, K))
    proba[0, 0] = np.nan  # of an expert that the row does not reach
    law = ClassDistribution(weights, proba, np.array(list("abcd")))
    assert_allclose(law.entropy(), stats.entropy(law.proba(), axis=1))
    assert_allclose(law.entropy(), law.expected_entropy() + law.mutual_information(), atol=1e-14)
    assert law.mutual_information()[0] == 0
    assert_array_equal(law.mode(), law.classes[law.proba().argmax(axis=1)])
    assert_allclose(np.exp(law.log_proba()).sum(axis=1), 1)
    assert_array_equal(law[2:4].component(1).proba(), proba[2:4, 1])
    draws = law.sample(4000, random_state=0)
    shares = (draws[..., None] == law.classes).mean(axis=1)
    assert_allclose(shares, law.proba(), atol=0.04)
    assert list(law.to_frame().columns[:4]) == list("abcd")
