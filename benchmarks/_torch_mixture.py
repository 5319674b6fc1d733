"""Mixtures of experts that torch trains by gradient descent, the rivals of those trained by EM."""

import math

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from torch import nn

#: Share of the rows that training is stopped by, and epochs without a better loss on them.
HELD_OUT, PATIENCE = 0.1, 30


def trained(module, loss, X, y, *, lr, batch, epochs, seed):
    """Train a module by Adam with early stopping; go back to its best parameters."""
    rows, held = train_test_split(np.arange(len(X)), test_size=HELD_OUT, random_state=seed)
    optimiser = torch.optim.Adam(module.parameters(), lr=lr)
    generator = torch.Generator().manual_seed(seed)
    best, since, state = math.inf, 0, module.state_dict()
    for _ in range(epochs):
        for part in torch.from_numpy(rows)[torch.randperm(len(rows), generator=generator)].split(
            batch
        ):
            optimiser.zero_grad()
            loss(module(X[part]), y[part]).mean().backward()
            optimiser.step()
        with torch.no_grad():
            now = float(loss(module(X[held]), y[held]).mean())
        if now < best:
            best, since = now, 0
            state = {name: value.clone() for name, value in module.state_dict().items()}
        else:
            since += 1
        if since >= PATIENCE:
            break
    module.load_state_dict(state)
    return module


class LogisticExperts(nn.Module):
    """Logistic experts and a gate, all of them linear: log-probabilities of the classes."""

    def __init__(self, n_features, n_classes, n_experts):
        super().__init__()
        self.gate = nn.Linear(n_features, n_experts)
        self.experts = nn.Linear(n_features, n_experts * n_classes)

    def forward(self, X):
        gate = torch.log_softmax(self.gate(X), dim=1)
        scores = self.experts(X).view(len(X), gate.shape[1], -1)
        return torch.logsumexp(gate[:, :, None] + torch.log_softmax(scores, dim=2), dim=1)


class TorchMixture(ClassifierMixin, BaseEstimator):
    """A mixture of eight logistic regressions under a softmax gate."""

    def __init__(self, n_experts=8, lr=0.01, batch=128, epochs=300, seed=0):
        self.n_experts = n_experts
        self.lr = lr
        self.batch = batch
        self.epochs = epochs
        self.seed = seed

    def fit(self, X, y):
        torch.manual_seed(self.seed)
        self.classes_, codes = np.unique(y, return_inverse=True)
        module = LogisticExperts(X.shape[1], len(self.classes_), self.n_experts)
        loss = nn.NLLLoss(reduction="none")
        X, codes = torch.tensor(X, dtype=torch.float32), torch.tensor(codes)
        options = {"lr": self.lr, "batch": self.batch, "epochs": self.epochs, "seed": self.seed}
        self.module_ = trained(module, loss, X, codes, **options)
        return self

    def predict_proba(self, X):
        with torch.no_grad():
            return self.module_(torch.tensor(X, dtype=torch.float32)).double().exp().numpy()

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class DensityNetwork(nn.Module):
    """Networks of one hidden layer for gate and experts, and a dispersion for each expert.

    Gives the log-weights, means and log-dispersions, each (m, n_experts).
    """

    def __init__(self, n_features, n_experts, n_hidden):
        super().__init__()
        self.gate = nn.Sequential(
            nn.Linear(n_features, n_hidden), nn.Tanh(), nn.Linear(n_hidden, n_experts)
        )
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(n_features, n_hidden), nn.Tanh(), nn.Linear(n_hidden, 1))
            for _ in range(n_experts)
        )
        self.log_dispersion = nn.Parameter(torch.full((n_experts,), -1.0))

    def forward(self, X):
        gate = torch.log_softmax(self.gate(X), dim=1)
        means = torch.cat([expert(X) for expert in self.experts], dim=1)
        return gate, means, self.log_dispersion.expand_as(means)


def minus_log_density(outputs, y):
    """Minus the log-density of y (m,)."""
    gate, means, log_dispersion = outputs
    z = (y[:, None] - means) * torch.exp(-log_dispersion)
    normal = -0.5 * z**2 - log_dispersion - 0.5 * math.log(2 * math.pi)
    return -torch.logsumexp(gate + normal, dim=1)


class TorchDensityNetwork(BaseEstimator):
    """A mixture density network; inputs are standardised."""

    def __init__(self, n_experts=3, n_hidden=10, lr=0.01, batch=64, epochs=2000, seed=0):
        self.n_experts = n_experts
        self.n_hidden = n_hidden
        self.lr = lr
        self.batch = batch
        self.epochs = epochs
        self.seed = seed

    def fit(self, X, y):
        torch.manual_seed(self.seed)
        self.center_, self.scale_ = X.mean(axis=0), X.std(axis=0)
        module = DensityNetwork(X.shape[1], self.n_experts, self.n_hidden)
        y = torch.tensor(y, dtype=torch.float32)
        options = {"lr": self.lr, "batch": self.batch, "epochs": self.epochs, "seed": self.seed}
        self.module_ = trained(module, minus_log_density, self._scaled(X), y, **options)
        return self

    def log_density(self, X, y):
        """Log-density of y."""
        y = torch.tensor(y, dtype=torch.float32)
        with torch.no_grad():
            return -minus_log_density(self.module_(self._scaled(X)), y).double().numpy()

    def _scaled(self, X):
        return torch.tensor((X - self.center_) / self.scale_, dtype=torch.float32)
