"""The cost model of linear parts: Gram matrices, or conjugate gradients.

Seconds are those of one core of about 20 GFLOP/s; only their quotients matter.
"""

from __future__ import annotations

from typing import Any

from sklearn import get_config

from mixexp.protocols import Design, Rows

__all__ = ["by_products", "fits", "gram_seconds", "product_seconds", "require_grams"]

#: Seconds of a multiplication and addition in a product of large matrices, and in a solution.
GRAM_FLOP, SOLVE_FLOP = 1e-10, 2e-10

#: Seconds an entry and vector of a product with rows, full and sparse, and of a call.
FULL_ENTRY, SPARSE_ENTRY, CALL = 3e-10, 1.5e-9, 3e-5

#: Products of an M-step, two an iteration of conjugate gradients: of a Newton step, and of one that
#: is exact with Gram matrices.
NEWTON_PRODUCTS, EXACT_PRODUCTS = 10, 200

#: Below this many design columns Gram matrices are always formed: steps are then exact. In
#: coordinates of the row space, which are nearly uncorrelated, few products are as good.
FEWEST_COLUMNS, FEWEST_WHITENED = 256, 64

#: Share of scikit-learn's working memory that the Gram matrices of one part may take.
MEMORY_SHARE = 0.5


def gram_seconds(n_rows: int, size: int, n_weights: int, systems: int, order: int) -> float:
    """Return the time of Gram matrices of `n_weights` weight rows and of their solution.

    `size` is the number of design columns; there are as many `systems` of this `order`.
    """
    return GRAM_FLOP * n_weights * n_rows * size**2 + SOLVE_FLOP * systems * order**3 / 3


def product_seconds(entries: float, vectors: int, n_blocks: int, *, sparse: bool) -> float:
    """Return the time of one product of the rows with this many vectors."""
    return CALL * n_blocks + (SPARSE_ENTRY if sparse else FULL_ENTRY) * entries * vectors


def fits(n_weights: int, size: int) -> bool:
    """Return whether as many Gram matrices are within a part's share of the working memory."""
    limit = MEMORY_SHARE * get_config()["working_memory"] * 2**20
    return 8.0 * n_weights * size**2 <= limit


def require_grams(owner: str, n_weights: int, size: int) -> None:
    """Raise unless Gram matrices fit, for parts that have no other way."""
    if not fits(n_weights, size):
        raise ValueError(
            f"{owner}: an L1 penalty needs Gram matrices, here {n_weights} of {size} x {size}, "
            f"which exceed {MEMORY_SHARE:g} of scikit-learn's working memory "
            f"({get_config()['working_memory']} MB). Select columns first, use a ridge penalty "
            "(l1_ratio=0), which takes wide rows, or raise it by "
            "sklearn.set_config(working_memory=...)."
        )


def by_products(
    rows: Rows,
    design: Design,
    *,
    n_weights: int,
    systems: int,
    order: int,
    vectors: int,
    exact: bool = False,
) -> bool:
    """Return whether conjugate gradients are the cheaper way to an M-step.

    Parameters
    ----------
    rows : Rows
    design : Design
    n_weights : int
        Gram matrices of the other way, which solves `systems` of `order` equations.
    vectors : int
        Vectors that a product with the rows takes.
    exact : bool
        Whether the other way is exact.
    """
    if design.size <= (FEWEST_WHITENED if design.whitened else FEWEST_COLUMNS):
        return False
    sparse = design.sparse and rows.sparse
    entries: Any = rows.n_rows * design.size
    if sparse:
        entries = rows.n_stored + rows.n_rows + design.size
    n_blocks = -(-rows.n_rows // rows.block_rows)
    product = product_seconds(entries, vectors, n_blocks, sparse=sparse)
    n_products = EXACT_PRODUCTS if exact and not design.whitened else NEWTON_PRODUCTS
    gram = gram_seconds(rows.n_rows, design.size, n_weights, systems, order)
    return n_products * product < gram
