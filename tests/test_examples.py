"""Examples run, and find what they say they find."""

import runpy
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def run(monkeypatch):
    """Return a function that runs an example without windows: its names, and how many figures."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.close("all")  # those of other tests

    def run(name):
        monkeypatch.setattr(pyplot, "show", lambda: None)
        return runpy.run_path(str(EXAMPLES / name)), len(pyplot.get_fignums())

    yield run
    pyplot.close("all")


def test_hierarchy_finds_the_planted_tree(run, capsys):
    names, n_figures = run("plot_hierarchy.py")
    assert n_figures == 2
    assert "  0: 0.0 where " in capsys.readouterr().out
    taken = np.array(
        [
            np.bincount(names["experts"][[path == leaf for path in names["paths"]]], minlength=4)
            for leaf in names["LINES"]
        ]
    )
    assert taken.max(axis=1).sum() > 0.98 * taken.sum()
    own = taken.argmax(axis=1)
    assert sorted(own) == [0, 1, 2, 3]
    # Siblings are siblings: the first border is the one at the root.
    assert {*own[:2]} in ({0, 1}, {2, 3})
    truth = np.array(names["BOUNDARIES"][()])
    found = np.diff(names["model"].gate_.coef_[()], axis=0)[0]
    cosine = found @ truth[1:] / np.linalg.norm(found) / np.linalg.norm(truth[1:])
    assert abs(cosine) > 0.99


@pytest.mark.slow  # about 10 seconds
def test_routing_saves_work_and_keeps_accuracy(run):
    names, n_figures = run("plot_routing.py")
    assert n_figures == 1
    models, X, y = names["models"], names["X_new"], names["y_new"]
    assert {name: model.active_fraction_ for name, model in models.items()} == {
        "dense": 1.0,
        "TopK(2)": 0.25,
        "Switch": 0.125,
    }
    scores = {name: model.score(X, y) for name, model in models.items()}
    assert scores["Switch"] > 0.93 > scores["TopK(2)"] > 0.85
    assert models["dense"].to_hard().score(X, y) > 0.93
    assert 0 < names["reports"]["Switch"].overflow < 0.1


def test_families_of_counts_find_spread_and_zeros(run):
    names, n_figures = run("plot_count_families.py")
    assert n_figures == 1
    held_out, best = names["held_out"], names["best"]
    assert max(held_out, key=held_out.get) == "negative binomial, zero expert"
    assert held_out["poisson"] < held_out["negative binomial"] - 0.05
    assert abs(best.gate_.zero_share_ - 0.25) < 0.05
    assert np.all(np.abs(best.dispersions_ - 0.5) < 0.15)


def test_conformal_intervals_cover(run):
    names, n_figures = run("plot_conformal.py")
    assert n_figures == 1
    assert names["coverage"](*names["intervals"]["the model"]) < 0.85
    if names["ConformalizedQuantileRegressor"] is not None:
        assert abs(names["coverage"](*names["intervals"]["conformal"]) - 0.9) < 0.03


@pytest.mark.slow  # about 10 seconds
def test_inverse_problem_has_three_branches(run):
    names, n_figures = run("plot_inverse_problem.py")
    assert n_figures == 1
    mixture = names["mixture"]
    density = mixture.log_density(names["X_test"], names["y_test"]).mean()
    assert density > names["density_single"] + 0.5
    middle = np.array([[0.5]])
    assert mixture.gate_proba(middle).min() > 0.1
    assert np.diff(np.sort(mixture.predict_experts(middle)[0])).min() > 0.1


@pytest.mark.parametrize("has_pyarrow", [True, False])
def test_rows_from_a_file_show_both_fares(run, capsys, has_pyarrow, monkeypatch):
    if has_pyarrow:
        pytest.importorskip("pyarrow")
    else:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    names, n_figures = run("plot_out_of_core.py")
    assert n_figures == 1
    assert ("parquet" in capsys.readouterr().out) is has_pyarrow
    slopes = sorted(float(expert.coef_[0]) for expert in names["model"].experts_)
    assert np.allclose(slopes, [0.0, 1.9], atol=0.02)
    assert names["n_calls"] > names["model"].n_passes_


@pytest.mark.slow  # about 15 seconds: it starts two workers
@pytest.mark.skipif(find_spec("distributed") is None, reason="needs mixexp[dask]")
def test_a_fit_on_workers_finds_the_districts(run):
    names, _ = run("plot_dask.py")
    model = names["fitted"]()
    names["draw"](model)
    districts = model.gate_proba(names["CENTRES"]).argmax(axis=1)
    assert sorted(districts) == [0, 1, 2]
    found = np.array([model.experts_[k].coef_ for k in districts])
    assert np.allclose(found, names["SLOPES"], atol=0.02)


def test_an_interrupted_training_ends_like_one_that_was_left_alone(run):
    names, n_figures = run("plot_resume.py")
    assert n_figures == 1 and names["same"]
    bounds = [bound for watch in names["watches"] for bound in watch.bounds.values()]
    assert bounds == names["alone"].lower_bounds_.tolist()
    assert bounds[12] < 0.5 and 0.5 < bounds[16] < 1 and bounds[-1] > 1.4


@pytest.mark.slow  # about 7 seconds
def test_a_searched_pipeline_finds_three_experts_one_of_them_european(run):
    pytest.importorskip("pandas")
    names, n_figures = run("plot_pipeline_search.py")
    assert n_figures == 1
    assert names["best"]["mixture__n_experts"] == 3
    assert names["best"]["mixture__expert_features"] == names["NUMBERS"]
    rmse = names["results"].groupby("mixture__n_experts")["RMSE"]
    assert rmse.max()[2] < 0.87 * rmse.min()[1]
    found = names["X_train"].loc[names["smallest"]]
    assert len(found) > 5 and set(found["origin"]) == {"europe"}


@pytest.mark.slow  # about 8 seconds
def test_the_number_of_experts_grows_with_the_rows_of_a_curve_only(run):
    names, n_figures = run("plot_n_experts.py")
    assert n_figures == 1
    found, few, many = names["found"], *names["ROWS"]
    for make, n, by_cv, by_bic in (
        ("make_lines", few, 3, 3),
        ("make_lines", many, 3, 3),
        ("make_curve", few, 3, 3),
        ("make_curve", many, 5, 5),
    ):
        selection = found[names[make], n]
        assert selection.n_experts_ == by_cv
        assert selection.n_experts[selection.bic.argmin()] == by_bic


@pytest.mark.slow  # about 4 seconds
def test_intervals_hold_the_truth_and_those_of_separate_groups_do_not(run):
    pytest.importorskip("pandas")
    names, n_figures = run("plot_standard_errors.py")
    assert n_figures == 1
    mixture, separate = (np.mean(names["covers"][name], axis=0) for name in names["METHODS"])
    assert 0.9 < mixture.mean() < 0.98
    assert np.all(mixture - separate > 0.1)


def test_only_nox_by_equivalence_needs_a_gate_that_sees_x(run):
    pytest.importorskip("pandas")
    names, n_figures = run("plot_tone_ethanol.py")
    assert n_figures == 1
    gain = names["bic"]["constant"] - names["bic"]["softmax"]
    assert gain["tone: tuned"] < 0 and gain["ethanol: equivalence"] < 0
    assert gain["ethanol: NOx"] > 50
    X = names["questions"]["ethanol: NOx"][0].iloc[:2].assign(equivalence=[0.85, 1.0])
    rising = names["models"]["ethanol: NOx", "softmax"].gate_proba(X)
    assert np.all(rising.max(axis=1) > 0.7) and len(set(rising.argmax(axis=1))) == 2


@pytest.mark.slow  # about 5 seconds
def test_half_of_the_digits_need_no_forest(run):
    names, n_figures = run("plot_cascade.py")
    assert n_figures == 1
    draft, full, cascade = (
        np.mean(names[name] != names["y_test"]) for name in ("by_draft", "by_full", "answers")
    )
    assert draft > 0.1 and full < 0.04 and cascade < full + 0.01
    accepted = names["accepted"]
    assert accepted.mean() > 0.4
    assert np.mean((names["by_draft"] != names["by_full"])[accepted]) < 0.02
    errors = names["errors"]  # the curve passes through the ends and the cascade itself
    n_asked = np.sum(~accepted)
    assert np.allclose(errors[[0, n_asked, -1]] / len(accepted), [draft, cascade, full])


@pytest.mark.slow  # about 5 seconds
def test_six_processes_keep_the_cliffs(run):
    names, n_figures = run("plot_kernel_experts.py")
    assert n_figures == 1
    rmse = names["rmse"]
    assert rmse["six, routed"] < 0.9 * rmse["one process"]
    sizes = [len(expert.X_train_) for expert in names["routed"].experts_]
    assert sum(sizes) == len(names["X"]) and max(sizes) < 0.3 * sum(sizes)
    truth = names["truth"]
    near = {name: np.mean(abs(p - truth) < 0.2) for name, p in names["predicted"].items()}
    assert near["six, routed"] > near["one process"] + 0.1


def test_a_stream_is_followed_by_forgetting(run):
    names, n_figures = run("plot_streaming.py")
    assert n_figures == 1
    errors, slopes = (
        {name: np.array(found) for name, found in names[what].items()}
        for what in ("errors", "slopes")
    )
    short, never = names["models"]
    wear, repair = (names[what] // names["BATCH"] for what in ("WEAR", "REPAIR"))
    for when in (slice(wear + 5, repair - 1), slice(repair + 1, None)):
        assert errors[short][when].mean() < 0.75 * errors[never][when].mean()
    assert errors[short][:wear].mean() < 1.1 * errors[never][:wear].mean()
    recovered = np.abs(slopes[short][repair + 7 :] - names["SLOPE"])
    assert recovered.max() < 1 < np.abs(slopes[never][-1] - names["SLOPE"])


def test_sectors_of_an_own_gate_are_the_towns(run):
    names, n_figures = run("plot_own_gate.py")
    assert n_figures == 1
    X, dust, models = names["X"], names["dust"], names["models"]
    scores = {name: model.score(X, dust) for name, model in models.items()}
    assert scores["SectorGate"] > 0.9 and scores["SoftmaxGate"] < 0.2
    model = models["SectorGate"]
    towards = int(np.argmin([expert.coef_[0] for expert in model.experts_]))
    found = model.gate_proba(X).argmax(axis=1) == towards
    assert np.mean(found == names["town"]) > 0.97
    assert np.all(np.diff(model.lower_bounds_) > -1e-9)


def test_a_few_known_rows_keep_two_birds_apart(run):
    names, n_figures = run("plot_known_subtasks.py")
    assert n_figures == 1
    right, known = names["right"], names["known"]
    assert right["nothing is known"] < 0.75
    assert right["16 rows are known"] > 0.95 and right["all are guessed"] > 0.93
    assert np.mean(names["guess"] == names["bird"]) < 0.8
    model = names["fits"]["16 rows are known"]
    assert model.lower_bound_ > names["fits"]["nothing is known"].lower_bound_
    assert np.sum(known >= 0) == 16


@pytest.mark.slow  # about 6 seconds
def test_columns_of_their_own_help_experts_with_few_rows(run):
    names, n_figures = run("plot_column_groups.py")
    assert n_figures == 1
    every, own = (np.array(names["rmse"][name]) for name in names["SEEN"])
    assert np.all(own < every)
    assert every[0] - own[0] > 3 * (every[-1] - own[-1])
    found = names["coefficients"](names["fit"](1000, "own columns", 0))
    assert np.nanmax(np.abs(found - names["COEF"])) < 0.5
    assert np.array_equal(np.isnan(found), names["COEF"] == 0)
