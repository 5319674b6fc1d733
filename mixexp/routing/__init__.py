"""Routing and pooling: which experts a row reaches, and how their outputs become one."""

from mixexp.routing._pooling import POOLINGS, argmax_pooling, weighted_pooling

__all__ = ["POOLINGS", "argmax_pooling", "weighted_pooling"]
