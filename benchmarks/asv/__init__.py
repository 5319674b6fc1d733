"""Benchmarks that asv runs over the history of the project."""
