"""Files that hold the state of a fit: plain data and arrays, written all at once or not at all."""
