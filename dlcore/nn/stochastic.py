"""Layers that are noisy in training and their own average in use: y = f(x, z), and at test time E_z f(x, z).

    dropout, vanilla:   train  m x            test  p x      m ~ Bernoulli(p), p the probability to keep
    dropout, inverted:  train  m x / p        test  x
    DropConnect:        train  (M / p * W) x  test  W x      a mask on the weights, one an example
    stochastic depth:   train  x + b f(x)     test  x + p f(x)        b ~ Bernoulli(p), one an example or a batch
                        inverted: train  x + b f(x) / p, test  x + f(x)

Hinton et al. 2012, arXiv:1207.0580, and Srivastava et al. 2014 (dropout: an ensemble of 2^N networks that share their
weights); Wan et al. 2013 (DropConnect, whose test by a Gaussian approximation is the mean weight here); Huang et al.
2016, arXiv:1603.09382 (stochastic depth). The average is exact where what follows is linear; behind two ReLU layers it
is an approximation.

Probabilities are given as `keep` or as `rate` = 1 - keep, by name, because the field uses p for both. Some lectures
multiply by the drop rate at test time, or scale in training and at test: both lose the mean.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

__all__ = [
    "DropConnect", "Dropout", "StochasticDepth", "VanillaDropout", "drop_connect", "inverted_dropout",
    "stochastic_depth", "survival_probabilities", "vanilla_dropout",
]  # fmt: skip

Dropout = nn.Dropout


def vanilla_dropout(
    key: jax.Array | None, x: jax.Array, *, keep: float | jax.Array | None = None, rate: float | jax.Array | None = None
) -> jax.Array:
    """`x: [...]` with each value kept or zeroed under `key`; without a key (at test time) all of x times keep.

    Raises: ValueError unless exactly one of keep and rate is given, in [0, 1].
    """
    keep, x = _keep(keep, rate), _floating(x)
    if key is None:
        return x * jnp.asarray(keep, x.dtype)
    return jnp.where(jax.random.bernoulli(key, keep, x.shape), x, 0)


def inverted_dropout(
    key: jax.Array | None, x: jax.Array, *, keep: float | jax.Array | None = None, rate: float | jax.Array | None = None
) -> jax.Array:
    """`x: [...]` with each value zeroed or divided by keep under `key`; without a key (at test time) x as it is.

    With keep = 0 everything is zero. Raises: ValueError unless exactly one of keep and rate is given, in [0, 1].
    """
    keep, x = _keep(keep, rate), _floating(x)
    if key is None:
        return x
    return jnp.where(jax.random.bernoulli(key, keep, x.shape), x / _divisor(keep, x), 0)


def drop_connect(
    key: jax.Array | None,
    kernel: jax.Array,
    *,
    keep: float | jax.Array | None = None,
    rate: float | jax.Array | None = None,
) -> jax.Array:
    """Weights of any shape, each zeroed or divided by keep under `key`; without a key the weights as they are."""
    return inverted_dropout(key, kernel, keep=keep, rate=rate)


def stochastic_depth(
    key: jax.Array | None,
    branch: jax.Array,
    *,
    survival: float | jax.Array,
    inverted: bool = False,
    mode: Literal["row", "batch"] = "row",
) -> jax.Array:
    """What a residual block adds to its input, `branch: [B, ...]`, kept or dropped as a whole.

    Under `key` each example's branch is kept with the probability `survival` ("batch": all of them or none); without a
    key it is scaled by it. inverted: divide by survival in training instead, as torch and timm do.

    Raises: ValueError for a survival outside [0, 1], another mode, or a branch without axes.
    """
    survival = _keep(survival, None, "survival")
    if mode not in ("row", "batch"):
        raise ValueError(f"mode is {mode!r}; it must be 'row' or 'batch'")
    if branch.ndim < 1:
        raise ValueError(f"branch has shape {branch.shape}; [B, ...] is needed")
    if key is None:
        return branch if inverted else branch * jnp.asarray(survival, branch.dtype)
    rows = branch.shape[0] if mode == "row" else 1
    alive = jax.random.bernoulli(key, survival, (rows,) + (1,) * (branch.ndim - 1))
    return jnp.where(alive, branch / _divisor(survival, branch) if inverted else branch, 0)


def survival_probabilities(blocks: int, last: float = 0.5) -> tuple[float, ...]:
    """The linear decay of Huang et al.: p_l = 1 - l / L (1 - last) for l = 1 ... L; early blocks survive longer.

    Raises: ValueError for fewer than one block or a `last` outside [0, 1].
    """
    if blocks < 1:
        raise ValueError(f"blocks is {blocks}; it must be at least 1")
    last = _keep(last, None, "last")
    return tuple(1 - block / blocks * (1 - last) for block in range(1, blocks + 1))


class VanillaDropout(nn.Module):
    """Dropout whose test time is scaled: m x in training, keep x in use. Needs the "dropout" rng in training.

    `Dropout` (flax's, given a drop *rate*) is the inverted form that everybody uses.
    """

    keep: float = 0.5
    deterministic: bool | None = None

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool | None = None) -> jax.Array:
        """x: [...]. Raises ValueError where `deterministic` is given twice or never."""
        still = nn.merge_param("deterministic", self.deterministic, deterministic)
        return vanilla_dropout(None if still else self.make_rng("dropout"), x, keep=self.keep)


class DropConnect(nn.Module):
    """A dense layer whose weights are dropped in training, each example under a mask of its own.

    per_example: False draws one mask for the batch, which costs no memory; True holds B masked kernels.
    """

    features: int
    rate: float = 0.5
    use_bias: bool = True
    per_example: bool = True
    deterministic: bool | None = None
    dtype: Any = None
    kernel_init: Any = nn.initializers.lecun_normal()
    bias_init: Any = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool | None = None) -> jax.Array:
        """[B, D] -> [B, features]. Raises ValueError where `deterministic` is given twice or never."""
        still = nn.merge_param("deterministic", self.deterministic, deterministic)
        if x.ndim != 2:
            raise ValueError(f"x has shape {x.shape}; [B, D] is needed")
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", self.bias_init, (self.features,)) if self.use_bias else None
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        if still:
            y = x @ kernel
        elif self.per_example:
            keys = jax.random.split(self.make_rng("dropout"), x.shape[0])
            y = jax.vmap(lambda key, row: row @ drop_connect(key, kernel, rate=self.rate))(keys, x)
        else:
            y = x @ drop_connect(self.make_rng("dropout"), kernel, rate=self.rate)
        return y if bias is None else y + bias


class StochasticDepth(nn.Module):
    """`x + StochasticDepth(p)(f(x), deterministic=not train)` is a residual block that is sometimes skipped."""

    survival: float = 1.0
    inverted: bool = False
    mode: Literal["row", "batch"] = "row"
    deterministic: bool | None = None

    @nn.compact
    def __call__(self, branch: jax.Array, deterministic: bool | None = None) -> jax.Array:
        """branch: [B, ...]. Raises ValueError where `deterministic` is given twice or never."""
        still = nn.merge_param("deterministic", self.deterministic, deterministic)
        key = None if still else self.make_rng("dropout")
        return stochastic_depth(key, branch, survival=self.survival, inverted=self.inverted, mode=self.mode)


def _keep(keep: Any, rate: Any, name: str = "keep") -> Any:
    if (keep is None) == (rate is None):
        raise ValueError(f"keep is {keep} and rate is {rate}; give exactly one of them, in [0, 1]")
    given, name = (keep, name) if rate is None else (rate, "rate")
    if isinstance(given, int | float) and not 0 <= given <= 1:
        raise ValueError(f"{name} is {given}; it must be in [0, 1]")
    return given if rate is None else 1 - rate


def _floating(x: jax.Array) -> jax.Array:
    """Integers as the default float."""
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.result_type(float))


def _divisor(keep: Any, x: jax.Array) -> jax.Array:
    """keep, or 1 where nothing is kept."""
    return jnp.where(jnp.asarray(keep) > 0, keep, 1).astype(x.dtype)
