"""Search for hyperparameters over runs: spaces, methods, trials."""

from dlcore.search.space import (
    Choice,
    Integers,
    LogUniform,
    Space,
    Uniform,
    edges,
    grid,
    latin_hypercube,
    narrow,
    parse_space,
    random,
    sobol,
)

__all__ = [
    "Choice",
    "Integers",
    "LogUniform",
    "Space",
    "Uniform",
    "edges",
    "grid",
    "latin_hypercube",
    "narrow",
    "parse_space",
    "random",
    "sobol",
]
