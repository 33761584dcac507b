"""A network of which tests can say by hand what its features are."""

from flax import linen as nn


class Linear(nn.Module):
    """Maps "a" and "b", each of the three colors by a matrix.

    Args:
      channels: those of each map.
    """

    channels: tuple[int, ...] = (2, 3)

    @nn.compact
    def features(self, x):
        return {
            name: x @ self.param(name, nn.initializers.ones, (3, count))
            for name, count in zip("ab", self.channels, strict=False)
        }
