"""Mu-law companding: the levels of a waveform lie dense where sound is quiet, as the ear resolves it.

    f(x) = sign(x) log(1 + mu |x|) / log(1 + mu),   mu = levels - 1        ITU-T G.711 (mu = 255)
    code = round((f(x) + 1) / 2 * mu)

van den Oord et al. 2016, arXiv:1609.03499, predict these codes by a softmax.
"""

import jax
import jax.numpy as jnp

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_finite, check_indices

__all__ = ["mu_law_decode", "mu_law_encode"]


def mu_law_encode(waveform: jax.Array, levels: int = 256) -> jax.Array:
    """Quantize a waveform to mu-law codes.

    Args:
      waveform: [...] in [-1, 1]; what is beyond is clipped.
      levels: number of codes, at least 2.

    Returns:
      [...] int32 in [0, levels).
    """
    mu = _mu(levels)
    waveform = jnp.asarray(waveform)
    if not jnp.issubdtype(waveform.dtype, jnp.floating):
        raise ValueError(f"waveform.dtype={waveform.dtype}: not in [-1, 1]; allowed: floating dtypes")
    check_finite("waveform", waveform)
    x = jnp.clip(waveform, -1, 1)
    companded = jnp.sign(x) * jnp.log1p(mu * jnp.abs(x)) / jnp.log1p(jnp.float32(mu))
    return jnp.floor((companded + 1) / 2 * mu + 0.5).astype(jnp.int32)


def mu_law_decode(codes: jax.Array, levels: int = 256) -> jax.Array:
    """Turn mu-law codes to a waveform.

    Args:
      codes: [...] int in [0, levels).
      levels: number of codes, at least 2.

    Returns:
      [...] float32 in [-1, 1].
    """
    mu = _mu(levels)
    codes = jnp.asarray(codes)
    check_indices("codes", codes, levels, "levels")
    y = 2 * codes.astype(jnp.float32) / mu - 1
    return jnp.sign(y) * jnp.expm1(jnp.abs(y) * jnp.log1p(jnp.float32(mu))) / mu


def _mu(levels: int) -> int:
    check_whole_number("levels", levels, 2)
    return levels - 1
