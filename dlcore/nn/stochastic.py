"""Layers that are random in training and use their mean in evaluation: y = f(x, z), and E_z f(x, z).

    dropout, vanilla:   train  m x            test  p x      m ~ Bernoulli(p), p the probability to keep
    dropout, inverted:  train  m x / p        test  x
    DropConnect:        train  (M / p * W) x  test  W x      a mask on the weights for each example
    stochastic depth:   train  x + b f(x)     test  x + p f(x)        b ~ Bernoulli(p) for each example or batch
                        inverted: train  x + b f(x) / p, test  x + f(x)

Hinton et al. 2012, arXiv:1207.0580, and Srivastava et al. 2014 (dropout: an ensemble of 2^N networks that share their
weights); Wan et al. 2013 (DropConnect, whose test by a Gaussian approximation is the mean weight here); Huang et al.
2016, arXiv:1603.09382 (stochastic depth). The mean is exact if all that follows is linear; behind two ReLU layers it
is an approximation.

Probabilities are passed by name, as `keep_prob` or as `rate` = 1 - keep_prob, because the literature uses p for both.
Some lectures multiply by the drop rate at test time, or scale in training and at test: neither has the right mean.
"""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import is_whole_number
from dlcore.learner import Range
from dlcore.nn._checked import CheckedModule, Count
from dlcore.ops.checks import check_shapes

__all__ = [
    "DropConnect",
    "Dropout",
    "StochasticDepth",
    "VanillaDropout",
    "drop_connect",
    "inverted_dropout",
    "stochastic_depth",
    "survival_probabilities",
    "vanilla_dropout",
]


class Dropout(nn.Dropout):
    """flax's dropout layer, whose `rate` is a probability."""

    def __post_init__(self) -> None:
        check_shapes(rate=(self.rate, "0 to 1"))
        super().__post_init__()


def vanilla_dropout(
    key: jax.Array | None,
    x: jax.Array,
    *,
    keep_prob: float | jax.Array | None = None,
    rate: float | jax.Array | None = None,
) -> jax.Array:
    """Vanilla dropout: zero values in training, scale all values by the keep probability at test time.

    Args:
      key: PRNG key; None at test time.
      x: [...]; integers become the default float.
      keep_prob: probability to keep a value, in [0, 1]; None where `rate` is given.
      rate: probability to zero a value, in place of `keep_prob`.

    Returns:
      [...].
    """
    keep_prob, x = _keep_prob(keep_prob, rate), _floating(x)
    if key is None:
        return x * jnp.asarray(keep_prob, x.dtype)
    return jnp.where(jax.random.bernoulli(key, keep_prob, x.shape), x, 0)


def inverted_dropout(
    key: jax.Array | None,
    x: jax.Array,
    *,
    keep_prob: float | jax.Array | None = None,
    rate: float | jax.Array | None = None,
) -> jax.Array:
    """Inverted dropout: zero values in training and divide the others by keep_prob; the identity at test time.

    Args:
      key: PRNG key; None at test time.
      x: [...]; integers become the default float.
      keep_prob: probability to keep a value, in [0, 1]; at 0 all values are zero. None where `rate` is given.
      rate: probability to zero a value, in place of `keep_prob`.

    Returns:
      [...].
    """
    keep_prob, x = _keep_prob(keep_prob, rate), _floating(x)
    if key is None:
        return x
    return jnp.where(jax.random.bernoulli(key, keep_prob, x.shape), x / _divisor(keep_prob, x), 0)


def drop_connect(
    key: jax.Array | None,
    kernel: jax.Array,
    *,
    keep_prob: float | jax.Array | None = None,
    rate: float | jax.Array | None = None,
) -> jax.Array:
    """DropConnect: inverted dropout of weights.

    Args:
      key: PRNG key; None at test time.
      kernel: weights of any shape.
      keep_prob: probability to keep a weight, in [0, 1]; None where `rate` is given.
      rate: probability to zero a weight, in place of `keep_prob`.

    Returns:
      The shape of `kernel`.
    """
    return inverted_dropout(key, kernel, keep_prob=keep_prob, rate=rate)


def stochastic_depth(
    key: jax.Array | None,
    branch: jax.Array,
    *,
    survival_probability: float | jax.Array,
    inverted: bool = False,
    mode: Literal["row", "batch"] = "row",
) -> jax.Array:
    """Stochastic depth: keep or drop a residual branch as a whole, before it is added to the block's input.

    Args:
      key: PRNG key; None at test time.
      branch: [B, ...], output of the residual branch.
      survival_probability: probability to keep the branch, in [0, 1].
      inverted: divide by the survival probability in training instead of multiplying at test time, as torch and timm
        do.
      mode: "row" draws for each example, "batch" once for all.

    Returns:
      [B, ...].
    """
    survival_probability = _keep_prob(survival_probability, None, "survival_probability")
    if mode not in ("row", "batch"):
        raise ValueError(f"mode={mode!r}: unknown; allowed: row or batch")
    if branch.ndim < 1:
        raise ValueError(f"branch.shape={branch.shape}: no batch axis; allowed: [B, ...]")
    branch = _floating(branch)
    if key is None:
        return branch if inverted else branch * jnp.asarray(survival_probability, branch.dtype)
    rows = branch.shape[0] if mode == "row" else 1
    survives = jax.random.bernoulli(key, survival_probability, (rows,) + (1,) * (branch.ndim - 1))
    return jnp.where(survives, branch / _divisor(survival_probability, branch) if inverted else branch, 0)


def survival_probabilities(num_blocks: int, last: float = 0.5) -> tuple[float, ...]:
    """Survival probabilities that decay linearly with depth (Huang et al.): p_l = 1 - l / L (1 - last) for l = 1 ... L.

    Args:
      num_blocks: L.
      last: probability of the last block.

    Returns:
      L probabilities, the first block first.
    """
    if not is_whole_number(num_blocks) or num_blocks < 1:
        raise ValueError(f"num_blocks={num_blocks}: too few; allowed: whole numbers of at least 1")
    last = _keep_prob(last, None, "last")
    return tuple(1 - block / num_blocks * (1 - last) for block in range(1, num_blocks + 1))


class VanillaDropout(CheckedModule):
    """Vanilla dropout: m x in training, keep_prob x in evaluation. `Dropout` (flax's) is the usual inverted form.

    Args:
      keep_prob: probability to keep a value, in [0, 1].
      deterministic: True in evaluation, False in training; None leaves it to the call.
    """

    keep_prob: Annotated[float, Range(0, 1)] = 0.5
    deterministic: bool | None = None

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool | None = None) -> jax.Array:
        """Apply dropout, in training with the "dropout" rng.

        Args:
          x: [...].
          deterministic: True in evaluation, False in training; None leaves it to the field.

        Returns:
          [...].
        """
        deterministic = nn.merge_param("deterministic", self.deterministic, deterministic)
        return vanilla_dropout(None if deterministic else self.make_rng("dropout"), x, keep_prob=self.keep_prob)


class DropConnect(CheckedModule):
    """Dense layer whose weights are dropped in training (DropConnect): [B, D] -> [B, features].

    Args:
      features: outputs.
      rate: probability to zero a weight.
      use_bias: add a bias, which is never dropped.
      per_example: draw a mask for each example, which holds B masked kernels; otherwise one for the batch.
      deterministic: True in evaluation, False in training; None leaves it to the call.
    """

    features: Count
    rate: Annotated[float, Range(0, 1)] = 0.5
    use_bias: bool = True
    per_example: bool = True
    deterministic: bool | None = None
    dtype: Any = None
    kernel_init: Any = nn.initializers.lecun_normal()
    bias_init: Any = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool | None = None) -> jax.Array:
        """Multiply by the weights, in training by masked ones under the "dropout" rng.

        Args:
          x: [B, D].
          deterministic: True in evaluation, False in training; None leaves it to the field.

        Returns:
          [B, features].
        """
        deterministic = nn.merge_param("deterministic", self.deterministic, deterministic)
        if x.ndim != 2:
            raise ValueError(f"x.shape={x.shape}: wrong rank; allowed: [B, D]")
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", self.bias_init, (self.features,)) if self.use_bias else None
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        if deterministic:
            y = x @ kernel
        elif self.per_example:
            keys = jax.random.split(self.make_rng("dropout"), x.shape[0])
            y = jax.vmap(lambda key, row: row @ drop_connect(key, kernel, rate=self.rate))(keys, x)
        else:
            y = x @ drop_connect(self.make_rng("dropout"), kernel, rate=self.rate)
        return y if bias is None else y + bias


class StochasticDepth(CheckedModule):
    """Stochastic depth: keep or drop a residual branch as a whole in training.

    A residual block is `x + StochasticDepth(p)(f(x), deterministic=not train)`.

    Args:
      survival_probability: probability to keep the branch, in [0, 1].
      inverted: divide by the survival probability in training instead of multiplying in evaluation.
      mode: "row" draws for each example, "batch" once for all.
      deterministic: True in evaluation, False in training; None leaves it to the call.
    """

    survival_probability: Annotated[float, Range(0, 1)] = 1.0
    inverted: bool = False
    mode: Literal["row", "batch"] = "row"
    deterministic: bool | None = None

    @nn.compact
    def __call__(self, branch: jax.Array, deterministic: bool | None = None) -> jax.Array:
        """Keep or drop the branch, in training with the "dropout" rng.

        Args:
          branch: [B, ...], output of the residual branch.
          deterministic: True in evaluation, False in training; None leaves it to the field.

        Returns:
          [B, ...].
        """
        deterministic = nn.merge_param("deterministic", self.deterministic, deterministic)
        key = None if deterministic else self.make_rng("dropout")
        return stochastic_depth(
            key, branch, survival_probability=self.survival_probability, inverted=self.inverted, mode=self.mode
        )


def _keep_prob(keep_prob: Any, rate: Any, name: str = "keep_prob") -> Any:
    if (keep_prob is None) == (rate is None):
        raise ValueError(f"keep_prob={keep_prob} and rate={rate}: ambiguous; allowed: exactly one of them, in [0, 1]")
    value, name = (keep_prob, name) if rate is None else (rate, "rate")
    check_shapes(**{name: (value, "... 0 to 1")})
    return value if rate is None else 1 - rate


def _floating(x: jax.Array) -> jax.Array:
    """Convert integers to the default float."""
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.result_type(float))


def _divisor(keep_prob: Any, x: jax.Array) -> jax.Array:
    """keep_prob, or 1 where it is 0."""
    return jnp.where(jnp.asarray(keep_prob) > 0, keep_prob, 1).astype(x.dtype)
