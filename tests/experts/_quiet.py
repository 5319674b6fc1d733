"""Fits without their warnings."""

import warnings


def quiet(model, X, y, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, y, **options)
