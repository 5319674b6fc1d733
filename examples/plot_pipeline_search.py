"""
==================================================
Words in a column: a pipeline, searched as a whole
==================================================

A table with a text column goes through a scikit-learn Pipeline: columns are encoded, then comes the
mixture. A grid search turns parameters at every depth of it, and the picture of what was found has
the units of the table, not those of the encoded columns.
"""

# %%
# The table
# ---------
# 392 cars of the years 1970 to 1982, and the miles that each drives on a gallon (mpg). Where a car
# comes from is a column of words.

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mixexp import MixtureOfExpertsRegressor
from mixexp.datasets import load_auto_mpg
from mixexp.gates import SoftmaxGate
from mixexp.inspection import ExpertRegionsDisplay, unwrap

X, y = load_auto_mpg(return_X_y=True, as_frame=True, categorical=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
print(X_train[["weight", "horsepower", "year", "origin"]].head(3))

# %%
# The search
# ----------
# Three parameters are searched together: the number of experts; the penalty of the gate, which is
# part of the mixture, which is part of the pipeline; and whether experts see the origin, or the
# gate alone. Columns keep their names behind the encoder, so `expert_features` can name them. One
# expert is in the grid as well: the linear model that a mixture has to beat.

encode = make_column_transformer(
    (OneHotEncoder(drop=["usa"], sparse_output=False), ["origin"]),
    remainder=StandardScaler(),
    verbose_feature_names_out=False,
).set_output(transform="pandas")
mixture = MixtureOfExpertsRegressor(gate=SoftmaxGate(), n_init=2, random_state=0)
model = Pipeline([("encode", encode), ("mixture", mixture)])
NUMBERS = list(X.columns.drop("origin"))
GRID = {
    "mixture__n_experts": [1, 2, 3],
    "mixture__gate__alpha": [0.3, 3.0],
    "mixture__expert_features": [None, NUMBERS],
}
search = GridSearchCV(model, GRID, cv=4, scoring="neg_root_mean_squared_error")
search.fit(X_train, y_train)

best = search.best_params_
print(f"{best['mixture__n_experts']} experts, gate penalty {best['mixture__gate__alpha']}")
print("experts see the origin:", best["mixture__expert_features"] is None)
print(f"RMSE on held-out cars: {-search.score(X_test, y_test):.2f} mpg")

# %%
# Who is in the smallest expert?
# ------------------------------
# `unwrap` returns the mixture and the rows as it sees them. All cars that the gate sends to the
# expert with the fewest rows come from Europe and are slow. Several have a diesel engine, which no
# column says.

mixture, rows = unwrap(search, X_train)
expert = mixture.gate_proba(rows).argmax(axis=1)
smallest = X_train.index[expert == mixture.usage_.argmin()]
print(X_train.loc[smallest, "origin"].value_counts().to_dict())
print(", ".join(load_auto_mpg().car_names[smallest]))

# %%
# What was found
# --------------
# Left: the error in cross-validation. Two experts make most of the difference. Right: the display
# takes the search as it is, and cars as they are in the table. It draws where each expert is in
# charge, in cubic inches and years, for an American car that is typical in all else. Large engines
# have an expert of their own, and the border moves: 200 cubic inches are many in 1972, and few in
# 1982. Dots have the colour of a car's own expert. The third one has no region here, as these cars
# are American.

figure, (errors, regions) = plt.subplots(1, 2, figsize=(11, 4.3), layout="constrained")
results = pd.DataFrame(search.cv_results_["params"])
results["RMSE"] = -search.cv_results_["mean_test_score"]
for seen, label in [(True, "gate and experts"), (False, "gate only")]:
    for alpha, style in [(0.3, "o--"), (3.0, "o-")]:
        rows = results["mixture__expert_features"].isna() == seen
        rows &= results["mixture__gate__alpha"] == alpha
        errors.plot(
            results.loc[rows, "mixture__n_experts"],
            results.loc[rows, "RMSE"],
            style,
            color="k" if seen else "C3",
            label=f"{label}, {alpha:g}",
        )
errors.set(xticks=GRID["mixture__n_experts"], xlabel="number of experts")
errors.set_ylabel("RMSE in cross-validation, mpg")
errors.legend(title="origin seen by, gate penalty")
ExpertRegionsDisplay.from_estimator(
    search, X_train, features=["displacement", "year"], ax=regions, scatter_kwargs={"s": 16}
)
regions.set(xlabel="displacement, cubic inches", ylabel="model year, 19..")

plt.show()
