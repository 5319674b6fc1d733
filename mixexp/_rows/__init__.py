"""Rows of data: how parts see them, and how input becomes them."""
