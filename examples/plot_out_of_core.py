"""
==================================================
Rows from a file: parquet row groups, read in turn
==================================================

`fit_blocks` takes a function that yields all rows run by run, and calls it once for every pass over
the data. Here the runs are the row groups of a parquet file, read by pyarrow (which is not
needed by mixexp; without it the same rows come from a memory map). No more than one row group is
in memory at a time.

The example takes a few seconds.
"""

# %%
# A file
# ------
# Fares of taxi rides: by the kilometre in the city, and a flat fare to the airport. Which of the
# two applies shows in the distance, softly. The file is written in ten row groups.

import tempfile
from importlib.util import find_spec
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from mixexp import MixtureOfExpertsRegressor

N_GROUPS, GROUP = 10, 4000


def rides(seed):
    """Distances, hours and fares of some rides."""
    rng = np.random.default_rng(seed)
    distance, hour = rng.gamma(3.0, 4.0, GROUP), rng.uniform(0, 24, GROUP)
    flat = rng.random(GROUP) < 1 / (1 + np.exp(-0.8 * (distance - 18)))
    fare = np.where(flat, 45.0, 4.0 + 1.9 * distance + 0.1 * np.abs(hour - 12))
    return np.column_stack([distance, hour, fare + 1.5 * rng.standard_normal(GROUP)])


def written_parquet(path):
    """Write a parquet file, and return a function that reads its row groups in turn."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.float64()) for name in ("distance", "hour", "fare")])
    with pq.ParquetWriter(path, schema) as writer:
        for seed in range(N_GROUPS):
            writer.write_table(pa.Table.from_arrays(list(rides(seed).T), schema=schema))

    def factory():
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                columns = file.read_row_group(group).columns
                distance, hour, fare = (np.asarray(column) for column in columns)
                yield np.column_stack([distance, hour]), fare

    return factory


def written_map(path):
    """Write a memory map, and return a function that reads it in runs."""
    table = np.memmap(path, float, "w+", shape=(N_GROUPS * GROUP, 3))
    for seed in range(N_GROUPS):
        table[seed * GROUP : (seed + 1) * GROUP] = rides(seed)
    table.flush()

    def factory():
        rows = np.memmap(path, float, "r", shape=(N_GROUPS * GROUP, 3))
        for start in range(0, len(rows), GROUP):
            run = np.array(rows[start : start + GROUP])
            yield run[:, :2], run[:, 2]

    return factory


# %%
# The fit
# -------
# The function is called once to check the rows, once for the sketch that starts run on, and once
# for every later pass. A checksum tells whether it yields the same rows each time.

n_calls = 0


def counted(factory):
    """Count the calls of a function."""

    def call():
        global n_calls
        n_calls += 1
        return factory()

    return call


with tempfile.TemporaryDirectory() as folder:
    has_pyarrow = find_spec("pyarrow") is not None
    print("rows come from", "parquet row groups" if has_pyarrow else "a memory map: no pyarrow")
    write = written_parquet if has_pyarrow else written_map
    factory = write(Path(folder) / "rides")
    model = MixtureOfExpertsRegressor(n_experts=2, random_state=0)
    model.fit_blocks(counted(factory))
    some, fares = next(factory())

print(f"{n_calls} passes over {N_GROUPS} row groups, {model.n_passes_} of them of EM")
for k, expert in enumerate(model.experts_):
    print(f"expert {k}: {expert.intercept_:.1f} + {expert.coef_[0]:.2f} a kilometre")

# %%
# What was found
# --------------
# Left: rides of the first row group, in the colour of the expert that probably set their fare.
# Right: the probability of a flat fare, by distance: fitted, and as the rows were made.

distance = np.linspace(0.5, 40, 200)
midday = np.column_stack([distance, np.full(200, 12.0)])
gate, curves = model.gate_proba(midday), model.predict_experts(midday)
flat = int(np.argmin([abs(expert.coef_[0]) for expert in model.experts_]))
likely = model.responsibilities(some, fares)[:, flat]

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
axes[0].scatter(some[:, 0], fares, s=3, c=likely, cmap="coolwarm", alpha=0.3, rasterized=True)
for k, name in ((flat, "flat fare"), (1 - flat, "by the kilometre")):
    color = "darkred" if k == flat else "navy"
    axes[0].plot(distance, curves[:, k], color=color, linewidth=2.5, label=name)
axes[0].set(xlabel="distance, km", ylabel="fare", xlim=(0, 40), ylim=(0, 85))
axes[0].legend(loc="upper left")
axes[1].plot(distance, gate[:, flat], color="C3", label="fitted")
axes[1].plot(distance, 1 / (1 + np.exp(-0.8 * (distance - 18))), "k--", label="truth")
axes[1].set(xlabel="distance, km", ylabel="probability of the flat fare", xlim=(0, 40))
axes[1].legend(loc="upper left")

plt.show()
