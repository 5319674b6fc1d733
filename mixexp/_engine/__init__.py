"""The EM engine: the pass over the rows, the loop, starts. It names no concrete part."""
