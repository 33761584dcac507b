"""dlcore: the techniques of deep learning for vision, as pure functions in JAX."""

__version__ = "1.0.0"
