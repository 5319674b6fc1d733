"""Write the models of this version, which later versions must load, or refuse by name.

    python tests/_stored_models.py

It is run once a release, with the oldest versions that setup.cfg allows, as newer ones read
older files.
"""

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import skops.io

import mixexp
from mixexp import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from mixexp.callbacks import Checkpoint
from mixexp.datasets import load_tone
from mixexp.gates import HierarchicalGate

#: A folder for each version.
STORED = Path(__file__).parent / "data" / "models"

#: Protocol of the pickles: every supported Python reads it.
PROTOCOL = 4


def data():
    """Return X, numbers and classes of the table that all models are fitted to."""
    X, y = load_tone(return_X_y=True)
    return np.asarray(X), np.asarray(y), np.where(np.asarray(y) > np.median(y), "high", "low")


def models():
    """Return mixtures that are not fitted, by name."""
    run = {"n_init": 2, "max_iter": 30, "random_state": 0}
    tree = HierarchicalGate((2, 2), alpha=0.3)
    return {
        "regressor": MixtureOfExpertsRegressor(
            n_experts=4, gate=tree, noise_expert=True, gate_basis="quantile", **run
        ),
        "classifier": MixtureOfExpertsClassifier(n_experts=2, **run),
    }


def write(folder):
    """Write each model by skops and as a pickle, a checkpoint of its fit, and its predictions."""
    X, numbers, classes = data()
    folder.mkdir(exist_ok=True)
    for name, model in models().items():
        checkpoint = Checkpoint(folder / f"{name}.checkpoint", every=1000)
        model.set_callbacks(checkpoint).fit(X, classes if name == "classifier" else numbers)
        model.set_callbacks()
        skops.io.dump(model, folder / f"{name}.skops", compression=zipfile.ZIP_DEFLATED)
        pickled = pickle.dumps(model, protocol=PROTOCOL)
        (folder / f"{name}.pickle").write_bytes(pickled)
        answers = {"predict": model.predict(X).tolist(), "gate_proba": model.gate_proba(X).tolist()}
        (folder / f"{name}.json").write_text(json.dumps(answers), encoding="utf-8")


if __name__ == "__main__":
    write(STORED / mixexp.__version__)
