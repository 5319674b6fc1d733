"""
===============================
Six more pictures of a mixture
===============================

Regions show who answers where. Each Display here answers another question: how sure is the gate,
what do experts make of the columns, are they told apart, what is predicted, is it calibrated, and
did the fit settle? All have `from_estimator`, keep their numbers as attributes, and draw on given
axes.
"""

# %%
# A mixture of two experts
# ------------------------
# 392 cars and the miles that each drives on a gallon, mpg; a quarter of the cars is held out. The
# table is a data frame, so that pictures have the names of its columns.

import matplotlib.pyplot as plt
from sklearn.model_selection import train_test_split

from mixexp import MixtureOfExpertsRegressor
from mixexp.datasets import load_auto_mpg, load_ethanol
from mixexp.inspection import (
    CalibrationDisplay,
    ConditionalDensityDisplay,
    ConvergenceDisplay,
    ExpertProfilesDisplay,
    GateProbabilitiesDisplay,
    ResponsibilitiesDisplay,
)

X, y = load_auto_mpg(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
mixture = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(X_train, y_train)

# %%
# How sure is the gate?
# ---------------------
# Gate probabilities over one column, the others held at typical values, which the note below names.

display = GateProbabilitiesDisplay.from_estimator(mixture, X_train, features="weight")

# %%
# What do the experts make of the columns?
# ----------------------------------------
# Coefficients, times the standard deviation of their column so that they can be compared, with
# intervals.

display = ExpertProfilesDisplay.from_estimator(mixture, X_train, y_train)

# %%
# Are the experts told apart?
# ---------------------------
# Once y is known, how clearly does each row belong to one expert? Bars at 1 are rows that clearly
# do. The matrix says to whom the others also belong.

display = ResponsibilitiesDisplay.from_estimator(mixture, X_train, y_train)

# %%
# What is predicted?
# ------------------
# The density of y over one column (grey), the experts' means, and the ends of central intervals.
# Other columns are held, so that it says most of a table with one. Here, an engine that emits the
# same nitrogen oxides with a lean and with a rich mixture of fuel: the density has two ridges, and
# a central interval spans both and the gap.

exhaust, ratio = load_ethanol(return_X_y=True, as_frame=True)
engine = MixtureOfExpertsRegressor(n_experts=2, random_state=0).fit(exhaust, ratio)
display = ConditionalDensityDisplay.from_estimator(engine, exhaust, ratio)

# %%
# Are distributions right?
# ------------------------
# On held-out cars. Bars at the line are right; high ends would mean intervals that are too narrow.
# With 98 cars in ten bars, a few cars more or less in a bar mean nothing.

display = CalibrationDisplay.from_estimator(mixture, X_test, y_test)

# %%
# Did the fit settle?
# -------------------
# The bound of the starts on a sketch of the rows (grey), and of the long run from the best of them.
# Before the long run penalties are set, which moves the bound.

display = ConvergenceDisplay.from_estimator(mixture)

plt.show()
