"""The products and exponentials that no EM iteration of this model can avoid.

One sweep over row blocks does, for a softmax gate and K gaussian linear experts with p columns:

1. gate logits and experts' means, one product (2K, p) @ (p, m);
2. 2 K m exponentials;
3. the pairwise products of columns, (p(p + 1)/2, m), unless they are formed beforehand;
4. all K Gram matrices and the gate's Hessian, one product of K + K(K + 1)/2 stacked weight rows
   with the transposed pairwise products.

Nothing else is done: the weight rows are fixed, no residual, maximum, sum or solve is computed.
Arrays are made beforehand and blocks are contiguous, component-major (p, m).
"""

import numpy as np

BLOCK_SIZES = (512, 1024, 2048)


def column_pairs(block, out):
    """Products of columns i <= j of a (p, m) block, row after row, into out (p(p + 1)/2, m)."""
    start = 0
    for i in range(len(block)):
        stop = start + len(block) - i
        np.multiply(block[i], block[i:], out=out[start:stop])
        start = stop
    return out


def make_sweep(X1, n_experts, block_size=2048, keep_pairs=False, seed=0):
    """A callable that runs one sweep; keep_pairs forms the pairwise products beforehand."""
    n, p = X1.shape
    rng = np.random.default_rng(seed)
    n_pairs = p * (p + 1) // 2
    n_weights = n_experts + n_experts * (n_experts + 1) // 2
    blocks = [np.ascontiguousarray(X1[i : i + block_size].T) for i in range(0, n, block_size)]
    kept = [None] * len(blocks)
    if keep_pairs:
        kept = [column_pairs(b, np.empty((n_pairs, b.shape[1]))) for b in blocks]
    coefs = 0.1 * rng.standard_normal((2 * n_experts, p))
    buffers = {}  # one set for whole blocks, one for the last
    for size in {b.shape[1] for b in blocks}:
        scores, pairs = np.empty((2 * n_experts, size)), np.empty((n_pairs, size))
        buffers[size] = scores, pairs, rng.random((n_weights, size))
    total, part = np.empty((n_weights, n_pairs)), np.empty((n_weights, n_pairs))

    def sweep():
        total[:] = 0.0
        for block, pairs_kept in zip(blocks, kept, strict=True):
            scores, pairs, weights = buffers[block.shape[1]]
            np.matmul(coefs, block, out=scores)
            np.exp(scores, out=scores)
            pairs = column_pairs(block, pairs) if pairs_kept is None else pairs_kept
            np.matmul(weights, pairs.T, out=part)
            np.add(total, part, out=total)
        return total

    return sweep
