"""Holds BLAS and OpenMP to one thread, for every contender: import it before NumPy.

A machine with other work slows small problems on two threads 4 to 26 times.
"""

import os

VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)

os.environ.update(dict.fromkeys(VARIABLES, "1"))
