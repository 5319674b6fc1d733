"""Cascades: a cheap estimator answers, a costly one is asked where the cheap one may be wrong."""
