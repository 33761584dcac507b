"""Measures of a whole data set, taken on the host from what `predict` gives."""
