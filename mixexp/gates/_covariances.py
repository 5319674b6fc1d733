"""Four covariance shapes of Gaussian clusters, each with a closed-form M-step.

A shape works on standardised columns, with *factors*: lower Cholesky factors for ``full`` (K, d, d)
and ``tied`` (1, d, d), standard deviations for ``diag`` (K, d) and ``spherical`` (K, 1). Its M-step
maximises, with the scatter S_k = Σ r (z − μ_k)(z − μ_k)ᵀ and weight N_k = Σ r of each cluster,

    −½ Σ_k [N_k log|Σ_k| + tr Σ_k⁻¹ S_k] − ½ α Σ tr Σ⁻¹,

where the last sum, the log-prior, runs over the distinct covariances.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular

__all__ = ["SHAPES", "Diag", "Full", "Spherical", "Tied"]

#: Beyond this many standard deviations of the columns, squares swamp the terms linear in x.
FAR = 1e3


class Full:
    """Each expert has its own covariance matrix: Σ_k = (S_k + α I) / N_k."""

    #: Whether products of different columns matter: the scatter is (K, d, d) if so, else (K, d).
    crossed = True

    #: Whether all experts have the same covariance.
    shared = False

    def start(self, k: int, d: int) -> np.ndarray:
        """Return the factors of unit covariances."""
        return np.repeat(np.eye(d)[None], 1 if self.shared else k, axis=0)

    def estimate(self, scatter: np.ndarray, mass: np.ndarray, alpha: float) -> np.ndarray:
        """Return the factors that maximise the objective."""
        penalised = scatter + alpha * np.eye(scatter.shape[-1])
        pairs = zip(penalised / mass[:, None, None], alpha / mass, strict=True)
        return np.array([_cholesky(*pair) for pair in pairs]).reshape(scatter.shape)

    def inverse(self, factors: np.ndarray) -> np.ndarray:
        """Return the factors' inverses, by triangular solves."""
        if not factors.size:
            return factors
        eye = np.eye(factors.shape[-1])
        return np.stack([solve_triangular(factor, eye, lower=True) for factor in factors])

    def half_log_det(self, factors: np.ndarray, d: int) -> np.ndarray:
        """Return ½ log|Σ_k|, (K,) or (1,)."""
        return np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)

    def inverse_trace(self, inverse: np.ndarray, d: int) -> float:
        """Return Σ tr Σ⁻¹ over the distinct covariances."""
        return float(np.sum(inverse**2))

    def distances(self, inverse: np.ndarray, means: np.ndarray, z: np.ndarray) -> tuple:
        """Return squared Mahalanobis distances (K, m) less a common term, and that term.

        The same operations run per expert, which keeps equal experts equal to the last bit.
        """
        distances = np.empty((len(means), z.shape[1]))
        error, whitened = np.empty_like(z), np.empty_like(z)
        for whitener, mean, out in zip(inverse, means, distances, strict=True):
            np.subtract(z, mean[:, None], out=error)
            np.matmul(whitener, error, out=whitened)
            np.multiply(whitened, whitened, out=whitened)
            np.add.reduce(whitened, axis=0, out=out)
        return distances, 0.0

    def covariances(self, factors: np.ndarray, seen: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Return covariances in input units; `seen` are the columns that vary."""
        covariances = np.zeros((len(factors), len(scale), len(scale)))
        unit = scale[seen]
        scaled = factors @ factors.swapaxes(1, 2) * np.outer(unit, unit)
        covariances[:, seen[:, None], seen] = scaled
        return covariances

    def vector(self, factors: np.ndarray) -> np.ndarray:
        """Return the factors as an unconstrained vector: logarithms of the diagonals."""
        rows, columns = np.tril_indices(factors.shape[-1])
        entries = factors[:, rows, columns]
        entries[:, rows == columns] = np.log(entries[:, rows == columns])
        return entries.ravel()

    def from_vector(self, vector: np.ndarray, like: np.ndarray) -> np.ndarray:
        """Return the factors that a vector encodes."""
        factors = np.zeros_like(like)
        rows, columns = np.tril_indices(like.shape[-1])
        entries = vector.reshape(len(like), -1).copy()
        entries[:, rows == columns] = np.exp(entries[:, rows == columns])
        factors[:, rows, columns] = entries
        return factors


class Tied(Full):
    """All experts have the same covariance matrix: Σ = (Σ_k S_k + α I) / N."""

    shared = True

    def estimate(self, scatter: np.ndarray, mass: np.ndarray, alpha: float) -> np.ndarray:
        """Return the factor that maximises the objective."""
        return super().estimate(scatter.sum(axis=0)[None], mass.sum()[None], alpha)

    def distances(self, inverse: np.ndarray, means: np.ndarray, z: np.ndarray) -> tuple:
        """Return squared Mahalanobis distances (K, m) less a common term, and that term.

        With y = L⁻¹ z and c = L⁻¹ μ the distance |y − c|² is |y|² + |c|² − 2 c·y. Far away, where
        |y|² would round the other terms away, it is left out: only they tell experts apart.
        """
        whitened, centers = inverse[0] @ z, means @ inverse[0].T
        distances = np.empty((len(means), z.shape[1]))
        error = np.empty_like(whitened)
        for center, out in zip(centers, distances, strict=True):
            np.subtract(whitened, center[:, None], out=error)
            np.multiply(error, error, out=error)
            np.add.reduce(error, axis=0, out=out)
        common = np.zeros(z.shape[1])
        if z.size and max(z.max(), -z.min()) > FAR:
            far = np.flatnonzero(np.abs(z).max(axis=0) > FAR)
            away = whitened[:, far]
            common[far] = np.sum(away**2, axis=0)
            distances[:, far] = np.sum(centers**2, axis=1)[:, None] - 2 * centers @ away
        return distances, common

    def covariances(self, factors: np.ndarray, seen: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Return the covariance in input units, (d, d)."""
        return super().covariances(factors, seen, scale)[0]


class Diag:
    """Columns are independent: σ²_kj = (S_kjj + α) / N_k."""

    crossed = False
    shared = False

    def start(self, k: int, d: int) -> np.ndarray:
        """Return the factors of unit covariances."""
        return np.ones((k, d))

    def estimate(self, scatter: np.ndarray, mass: np.ndarray, alpha: float) -> np.ndarray:
        """Return the factors that maximise the objective; rounding may leave S_kjj below 0."""
        return np.sqrt((np.maximum(scatter, 0.0) + alpha) / mass[:, None])

    def inverse(self, factors: np.ndarray) -> np.ndarray:
        """Return the factors' inverses."""
        return 1.0 / factors

    def half_log_det(self, factors: np.ndarray, d: int) -> np.ndarray:
        """Return ½ log|Σ_k|, (K,)."""
        return np.log(factors).sum(axis=1)

    def inverse_trace(self, inverse: np.ndarray, d: int) -> float:
        """Return Σ_k tr Σ_k⁻¹."""
        return float(np.sum(inverse**2))

    def distances(self, inverse: np.ndarray, means: np.ndarray, z: np.ndarray) -> tuple:
        """Return squared Mahalanobis distances (K, m), and 0 as the common term."""
        distances = np.empty((len(means), z.shape[1]))
        error = np.empty_like(z)
        for whitener, mean, out in zip(inverse, means, distances, strict=True):
            np.subtract(z, mean[:, None], out=error)
            error *= whitener[:, None]
            np.multiply(error, error, out=error)
            np.add.reduce(error, axis=0, out=out)
        return distances, 0.0

    def covariances(self, factors: np.ndarray, seen: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Return variances in input units, (K, d); `seen` are the columns that vary."""
        variances = np.zeros((len(factors), len(scale)))
        variances[:, seen] = (factors * scale[seen]) ** 2
        return variances

    def vector(self, factors: np.ndarray) -> np.ndarray:
        """Return the factors as an unconstrained vector: logarithms."""
        return np.log(factors).ravel()

    def from_vector(self, vector: np.ndarray, like: np.ndarray) -> np.ndarray:
        """Return the factors that a vector encodes."""
        return np.exp(vector).reshape(like.shape)


class Spherical(Diag):
    """One variance for all standardised columns: σ²_k = (tr S_k + α d) / (N_k d)."""

    def start(self, k: int, d: int) -> np.ndarray:
        """Return the factors of unit covariances: none if no column varies."""
        return np.ones((k, min(d, 1)))

    def estimate(self, scatter: np.ndarray, mass: np.ndarray, alpha: float) -> np.ndarray:
        """Return the factors that maximise the objective; rounding may leave S_kjj below 0."""
        d = scatter.shape[1]
        total = np.maximum(scatter, 0.0).sum(axis=1, keepdims=True)[:, : min(d, 1)]
        return np.sqrt((total + alpha * d) / (mass[:, None] * max(d, 1)))

    def half_log_det(self, factors: np.ndarray, d: int) -> np.ndarray:
        """Return ½ log|Σ_k|, (K,)."""
        return d * super().half_log_det(factors, d)

    def inverse_trace(self, inverse: np.ndarray, d: int) -> float:
        """Return Σ_k tr Σ_k⁻¹."""
        return d * super().inverse_trace(inverse, d)


def _cholesky(matrix: np.ndarray, least: float) -> np.ndarray:
    """Return the lower Cholesky factor of a matrix with eigenvalues of `least` or more.

    If rounding has left smaller eigenvalues, they are raised to `least`, and the factor comes from
    a QR decomposition of a square root, which needs no positive pivots.
    """
    try:
        return np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(matrix)
        root = vectors * np.sqrt(np.maximum(values, least))
        upper = np.asarray(np.linalg.qr(root.T, mode="r"))
        return upper.T * np.where(np.diagonal(upper) < 0, -1.0, 1.0)


#: The shapes by their scikit-learn names.
SHAPES = {"full": Full(), "tied": Tied(), "diag": Diag(), "spherical": Spherical()}
