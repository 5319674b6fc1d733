"""One expert against the figures of statsmodels 0.15.0 on data by a formula.

With ``A = sm.add_constant(X)``: `sm.Logit(y, A)` and `sm.Poisson(y, A)`, both
``fit(method="newton", tol=1e-14)``, cov_type "HC0" and "cluster" (no correction); `sm.OLS(y, A)`;
`ZeroInflatedPoisson(y, A, exog_infl=A)`, ``fit(method="bfgs")`` and from there
``fit(method="newton", tol=1e-13)``.
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.special import expit
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor

from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.gates import SoftmaxGate

N = np.arange(300.0)
X = np.column_stack([np.sin(N), np.cos(1.7 * N)])
U, V = (0.618034 * N) % 1, (0.754878 * N) % 1
LABELS = expit(0.3 + X @ [1.0, -0.5]) > U
COUNTS = np.floor(np.exp(0.5 + X @ [0.6, -0.3]) * 2 * U)
NUMBERS = 1 + X @ [2.0, -1.0] + 2 * (U - 0.5) + (V - 0.5)

#: Log-likelihoods, coefficients (intercept first), standard errors.
LOGIT = (
    -186.00956763601997,
    [0.3174400214102477, 1.030691018060584, -0.31592447365325105],
    [0.12511627377199763, 0.18296965684897157, 0.1766951838893035],
)
POISSON = (
    -415.3272837852709,
    [0.11750793413931022, 0.8028452090668754, -0.3817266048424005],
    [0.05908939891448692, 0.07857495212248258, 0.07174329902447057],
)
OLS = (
    -292.6988706559145,
    [0.9965319085449121, 1.9784196853896665, -1.00077707792583],
    [0.037249600948241555, 0.05276914529563991, 0.05261694488631563],
)
ROBUST = [0.05115911795046195, 0.07441509460563876, 0.07042886286499349]
CLUSTERED = [0.031619859033000186, 0.061220669616303125, 0.07109391350139534]

#: Log-likelihood; log-odds of a zero, intercept first; coefficients of the counts.
ZERO_INFLATED = (
    -499.2466922666175,
    [-0.3580678951425759, 0.007466908905948334, 1.2861264591866632],
    [1.2250053359797652, 0.6221132783473768, -0.25089934531024327],
)
TIGHT = {"n_experts": 1, "tol": 1e-13, "max_iter": 1000}


@pytest.fixture(scope="module")
def poisson():
    return MixtureOfExpertsRegressor(PoissonRegressor(alpha=0), family="poisson", **TIGHT).fit(
        X, COUNTS
    )


def check(model, y, known, factor=1.0):
    likelihood, coefficients, errors = known
    assert_allclose(model.log_density(X, y).sum(), likelihood, rtol=1e-6)
    found = model.summary(X, y).estimates
    assert_allclose(found.estimates[:3], coefficients, rtol=1e-6)
    assert_allclose(found.std_errors[:3], np.array(errors) * factor, rtol=1e-6)


def test_logit():
    expert = LogisticRegression(C=np.inf)
    check(MixtureOfExpertsClassifier(expert, **TIGHT).fit(X, LABELS), LABELS, LOGIT)


def test_poisson(poisson):
    check(poisson, COUNTS, POISSON)


def test_ols_divides_by_n():
    model = MixtureOfExpertsRegressor(LinearRegression(), **TIGHT).fit(X, NUMBERS)
    check(model, NUMBERS, OLS, np.sqrt((300 - 3) / 300))


def test_sandwich_and_clusters(poisson):
    robust = poisson.summary(X, COUNTS, cov_type="sandwich").estimates.std_errors
    assert_allclose(robust, ROBUST, rtol=1e-6)
    clusters = np.arange(300) // 5
    found = poisson.summary(X, COUNTS, cov_type="sandwich", clusters=clusters).estimates
    assert_allclose(found.std_errors, CLUSTERED, rtol=1e-6)


def test_zeros_whose_share_depends_on_x():
    rate = np.exp(1.2 + X @ [0.6, -0.3])
    zero = expit(1.2 * X[:, 1] - 0.4) > V
    y = np.where(zero, 0.0, stats.poisson.ppf((0.618034 * N + 0.01) % 1, rate))
    columns = np.column_stack([X, np.ones(300)])  # the first expert has an intercept alone
    model = MixtureOfExpertsRegressor(
        PoissonRegressor(alpha=0),
        n_experts=2,
        family="poisson",
        gate=SoftmaxGate(alpha=0),
        expert_features=[[2], [0, 1]],
        gate_features=[0, 1],
        init=(y > 0).astype(int),
        tol=1e-13,
        max_iter=1000,
    ).fit(columns, y)
    likelihood, odds, coefficients = ZERO_INFLATED
    assert_allclose(model.log_density(columns, y).sum(), likelihood, rtol=0, atol=1e-6)
    zeros, counts = model.experts_
    assert zeros.predict(columns[:1, 2:]) < 1e-9
    assert_allclose([counts.intercept_, *counts.coef_], coefficients, rtol=1e-6)
    gate = model.gate_
    found = [gate.intercept_[0] - gate.intercept_[1], *(gate.coef_[0] - gate.coef_[1])]
    assert_allclose(found, odds, rtol=1e-5)
