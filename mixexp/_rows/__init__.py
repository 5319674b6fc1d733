"""Rows of data: their view for parts, and their construction from input."""
