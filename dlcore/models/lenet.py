"""LeNet-5.

LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 86 (1998).

    32x32 -> conv 5x5, 6 -> pool 2 -> conv 5x5, 16 -> pool 2 -> 120 -> 84 -> C            61,706 parameters (1 channel)

In today's form: every map of the second convolution sees all six maps, pooling has no weights, the tanh is not scaled
and the output is linear, not radial. The head starts at zero, so that the initial loss is log C.
"""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.models.backbone import Backbone
from dlcore.models.inputs import check_images
from dlcore.nn import Conv, Dense
from dlcore.nn.precision import compute_dtype
from dlcore.ops import avg_pool, max_pool
from dlcore.ops.precision import to_acc_dtype

__all__ = ["MODELS", "LeNet5"]

ACTIVATIONS = {"tanh": nn.tanh, "relu": nn.relu}
POOLINGS = {"avg": avg_pool, "max": max_pool}


class LeNet5(Backbone):
    """LeNet-5 on [B, H, W, C] with sides of 8 to 32. Stages stage1 [B, 14, 14, 6] and stage2 [B, 5, 5, 16].

    Every image becomes 32x32, the paper's size, so that the weights are the same: sides of 28 to 31 are padded with
    zeros as evenly as possible (MNIST by 2), smaller ones are resized bilinearly.

    Args:
      activation: nonlinearity of every layer but the head.
      pooling: average or maximum over each 2x2.
    """

    num_classes: int = 10
    activation: Literal["tanh", "relu"] = "tanh"
    pooling: Literal["avg", "max"] = "avg"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(The last map, that after each pooling)."""
        self._check(x)
        activation, pool = ACTIVATIONS[self.activation], POOLINGS[self.pooling]
        dtype = compute_dtype(self.dtype, x, self.variables)
        init = self._kernel_init()
        x = _to_32(x)
        stages = {}
        for i, size in enumerate((6, 16), 1):
            x = activation(Conv(size, (5, 5), padding="VALID", dtype=dtype, kernel_init=init, name=f"conv{i}")(x))
            x = stages[f"stage{i}"] = self.perturb(f"stage{i}", pool(x, (2, 2), (2, 2)))
        return x, stages

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        activation, init = ACTIVATIONS[self.activation], self._kernel_init()
        x = x.reshape(x.shape[0], -1)
        for i, size in enumerate((120, 84), 1):
            x = activation(Dense(size, dtype=x.dtype, kernel_init=init, name=f"dense{i}")(x))
        return self._linear(to_acc_dtype(x))

    def _kernel_init(self) -> Any:
        return nn.initializers.glorot_uniform() if self.activation == "tanh" else nn.initializers.he_normal()

    def _check(self, x: jax.Array) -> None:
        check_choice("activation", self.activation, ACTIVATIONS)
        check_choice("pooling", self.pooling, POOLINGS)
        check_images(self, x, "conv1", smallest=8, largest=32)


def _to_32(x: jax.Array) -> jax.Array:
    sides = x.shape[1:3]
    if sides == (32, 32):
        return x
    if min(sides) < 28:
        return jax.image.resize(x, (x.shape[0], 32, 32, x.shape[3]), "bilinear")
    return jnp.pad(x, ((0, 0), *(((32 - n) // 2, 32 - n - (32 - n) // 2) for n in sides), (0, 0)))


MODELS = {"lenet5": functools.partial(LeNet5)}
INPUT_SHAPES = dict.fromkeys(MODELS, (32, 32, 1))
