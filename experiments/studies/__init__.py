"""Claims of the field, compared over several seeds: each prints a verdict and draws a figure."""
