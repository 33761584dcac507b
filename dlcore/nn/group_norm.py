"""Normalisation within one example, the same in training and in use and at every batch size.

    y = (x - mean) / sqrt(var + eps) * scale + bias                 x: [B, H, W, C], scale and bias: [C]

    layer norm      mean and var over the channels of each position
    group norm      over the positions and a group of channels
    instance norm   over the positions of one channel
    RMS norm        y = x / sqrt(mean x^2 + eps) * scale, over the channels of each position
    local response  y = x / (k + alpha mean over the n neighbouring channels of x^2)^beta

Ba, Kiros & Hinton 2016, arXiv:1607.06450 (layer); Wu & He 2018, arXiv:1803.08494 (group); Ulyanov, Vedaldi & Lempitsky
2016, arXiv:1607.08022 (instance); Zhang & Sennrich 2019, arXiv:1910.07467 (RMS); Krizhevsky, Sutskever & Hinton 2012
(local response, AlexNet).

The layers are flax's with torch's epsilon, 1e-5 (flax has 1e-6), and with the variance about the mean: flax's default,
E[x^2] - E[x]^2, cancels where the mean is large. Group norm with one group spans all channels and positions. Local
response norm divides alpha by n as torch does; AlexNet's paper does not, so that its alpha 1e-4 is 5e-4 here.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

__all__ = ["GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm", "local_response_norm"]


class LayerNorm(nn.LayerNorm):
    """Normalise each position over its channels: [..., C] -> [..., C].

    reduction_axes: what is averaged over, (-3, -2, -1) for the whole of a map; parameters are on `feature_axes`.
    """

    epsilon: float = 1e-5
    use_fast_variance: bool = False


class RMSNorm(nn.RMSNorm):
    """Divide each position by the root mean square of its channels, without centring: [..., C] -> [..., C]."""

    epsilon: float = 1e-5
    use_fast_variance: bool = False


class GroupNorm(nn.GroupNorm):
    """Normalise groups of neighbouring channels over all positions: [B, ..., C] -> [B, ..., C].

    num_groups divides C, or group_size with num_groups None; ValueError otherwise. One group is layer norm over the
    whole example, as many as channels are instance norm.
    """

    epsilon: float = 1e-5
    use_fast_variance: bool = False


class InstanceNorm(nn.InstanceNorm):
    """Normalise each channel of each example over its positions: [B, ..., C] -> [B, ..., C].

    torch's has no scale and bias unless affine: use_scale=False, use_bias=False here.
    """

    epsilon: float = 1e-5
    use_fast_variance: bool = False


def local_response_norm(
    x: jax.Array, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
) -> jax.Array:
    """Divide each value of x: [..., C] by a power of the squares of `size` channels around it; zeros beyond the ends.

    An even size reaches one channel further down than up. torch's default k is 1, AlexNet's 2.

    Raises ValueError for a size below 1.
    """
    if size < 1:
        raise ValueError(f"size is {size}; at least one channel is needed")
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    padding = [(0, 0)] * (x.ndim - 1) + [(size // 2, (size - 1) // 2)]
    squares = jnp.pad(jnp.square(wide), padding)
    channels = x.shape[-1]
    total = sum(squares[..., i : i + channels] for i in range(size))
    return (wide / (k + alpha / size * total) ** beta).astype(x.dtype)
