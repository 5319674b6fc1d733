"""A mixture density network trained by EM beside one of the same size that torch trains.

Bishop's inverse problem (`make_inverse_sine`): 1000 rows to train on, 2000 others. Three experts
and a gate, each a network with one hidden layer of ten tanh units. EM continues the training of
each network with 20 L-BFGS steps an iteration (examples/plot_inverse_problem.py); torch minimises
the same negative log-likelihood by Adam, and stops by a tenth of the rows. Figures over seeds of
the data: the held-out log-density of torch's less that of EM's, in nats a row, and process time
of EM over that of torch, one thread each. Without torch it does nothing.
"""

import argparse
import importlib.util
import time
import warnings

import _one_thread  # noqa: F401  (before NumPy)
from _results import Result, add_json, publish
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mixexp import MixtureOfExpertsRegressor
from mixexp.datasets import make_inverse_sine

N_TRAINED, N_NEW = 1000, 2000
NETWORK = {
    "hidden_layer_sizes": (10,),
    "activation": "tanh",
    "alpha": 1e-3,
    "solver": "lbfgs",
    "max_iter": 20,
}


def by_em():
    """The mixture of networks."""
    return MixtureOfExpertsRegressor(
        make_pipeline(StandardScaler(), MLPRegressor(**NETWORK)),
        n_experts=3,
        gate=make_pipeline(StandardScaler(), MLPClassifier(**NETWORK)),
        cross_fit=False,
        tol=1e-4,
        random_state=0,
    )


def main():
    """Run the protocol."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    add_json(parser)
    options = parser.parse_args()
    if importlib.util.find_spec("torch") is None:
        print("torch is not installed, so there is nothing to compare with.")
        return
    from _torch_mixture import TorchDensityNetwork

    warnings.simplefilter("ignore", ConvergenceWarning)
    gains, ratios = [], []
    for seed in range(options.seeds):
        X, y = make_inverse_sine(N_TRAINED + N_NEW, random_state=seed)
        densities, seconds = [], []
        for model in (by_em(), TorchDensityNetwork()):
            begin = time.process_time()
            model.fit(X[:N_TRAINED], y[:N_TRAINED])
            seconds.append(time.process_time() - begin)
            densities.append(float(model.log_density(X[N_TRAINED:], y[N_TRAINED:]).mean()))
        gains.append(densities[1] - densities[0])
        ratios.append(seconds[0] / seconds[1])
        print(f"seed {seed}: EM {densities[0]:.3f}, torch {densities[1]:.3f}", flush=True)
    publish(
        [
            Result("network", "nats a row below torch's", "1000 rows", gains, 0.05),
            Result("network", "time / torch's", "1000 rows", ratios),
        ],
        options.json,
    )


if __name__ == "__main__":
    main()
