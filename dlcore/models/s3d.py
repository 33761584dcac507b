"""S3D, a separable 3-D inception network: each 3-D convolution becomes one over space and one over time.

Xie, Sun, Huang, Tu & Murphy, "Rethinking spatiotemporal feature learning: speed-accuracy trade-offs in video
classification" (2017), arXiv:1712.04851.

    separable(k)   conv 1 x k x k -> norm -> relu -> conv k x 1 x 1 -> norm -> relu
    module(x)      [conv1(x), separable(3)(conv1(x)), separable(3)(conv1(x)), conv1(maxpool 3 x 3 x 3(x))]
    separable(7)/2 -> pool -> conv1 -> separable(3) -> pool -> 3b 3c -> pool -> 4b ... 4f -> pool -> 5b 5c -> head
    head           mean over windows of 2 x 7 x 7 -> linear -> mean over the windows

I3D with about two thirds of its weights: a kernel of k x k x k has k^3 C C' weights, its two factors k^2 C C' + k C'^2.
Modules and channels are those of `dlcore.models.googlenet`. Weights are torchvision's, of the network without gates.
Maps smaller than 2 x 7 x 7 are one window. Running statistics move by a tenth of the way in each step, which suits
short trainings; torchvision's move by a thousandth.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.googlenet import MODULES, ConvNorm
from dlcore.models.inputs import check_clips
from dlcore.models.torch_weights import fill_from_torch
from dlcore.nn.initializers import torch_default
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import avg_pool, max_pool
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "S3D", "SeparableConv", "SeparableInception", "example_inputs", "from_torch_names"]

TORCH_NAMES = ((r"\.conv\.", ".0."), (r"\.bn\.", ".1."), (r"^head\.", "classifier.1."))
POOLS = {"4": ((3, 3, 3), 1), "5": ((2, 2, 2), 0)}
"""First letter of a module's name -> (window, padding) of the pooling before the first of them; strides of 2."""


class SeparableConv(CheckedFields):
    """A convolution over space and one over time, each with batch norm and a ReLU.

    Submodules `0` and `1`.

    Args:
      features: output channels of both.
      size: side of the kernel over space, and length of the one over time.
      stride: stride along all axes.
      dtype: dtype of the computation; None: the type that x and the parameters promote to.
    """

    features: int
    size: int = 3
    stride: int = 1
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply both.

        Args:
          x: [B, T, H, W, C].

        Returns:
          [B, T / stride, H / stride, W / stride, features], rounded up.
        """
        conv = functools.partial(_conv, dtype=self.dtype, axis_name=self.axis_name)
        x = conv(self.features, (1, self.size, self.size), (1, self.stride, self.stride), name="0")(x, train)
        return conv(self.features, (self.size, 1, 1), (self.stride, 1, 1), name="1")(x, train)


class SeparableInception(CheckedFields):
    """An inception module of clips: 1 x 1 x 1, two separable convolutions and a pooling, beside each other.

    Args:
      widths: channels of the branches, as in `dlcore.models.googlenet`.
      dtype: dtype of the computation; None: the type that x and the parameters promote to.
    """

    widths: tuple[int, int, int, int, int, int]
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Concatenate the four branches.

        Args:
          x: [B, T, H, W, C].

        Returns:
          [B, T, H, W, sum of the widths of the four branches].
        """
        fields = {"dtype": self.dtype, "axis_name": self.axis_name}
        conv = functools.partial(_conv, **fields)
        one, reduce1, first, reduce2, second, pooled = self.widths
        branches = [
            conv(one, name="branch0")(x, train),
            SeparableConv(first, name="branch1_1", **fields)(conv(reduce1, name="branch1_0")(x, train), train),
            SeparableConv(second, name="branch2_1", **fields)(conv(reduce2, name="branch2_0")(x, train), train),
            conv(pooled, name="branch3_1")(max_pool(x, (3, 3, 3), padding=1), train),
        ]
        return jnp.concatenate(branches, -1)


def _conv(
    features: int, kernel: tuple[int, int, int] = (1, 1, 1), stride: tuple[int, int, int] = (1, 1, 1), **fields: Any
) -> ConvNorm:
    padding = [((length - 1) // 2,) * 2 for length in kernel]
    return ConvNorm(features, kernel, stride, padding, kernel_init=torch_default(), **fields)


def _window_means(x: jax.Array) -> jax.Array:
    """Average windows of 2 x 7 x 7, or of the whole map where it is smaller: [B, T, H, W, C] -> [B, t, h, w, C]."""
    return avg_pool(x, tuple(map(min, x.shape[1:4], (2, 7, 7))))


class S3D(Backbone):
    """S3D on clips [B, T, H, W, C] of at least 5 frames of 17 x 17; maps are [B, t, h, w, channels].

    Args:
      num_classes: number of classes; 400 of Kinetics in the published weights.
      width_mult: multiplier of all channels.
    """

    num_classes: int = 400
    width_mult: Annotated[float, Range(0.01)] = 1.0
    dropout: float = 0.2
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_clips(self, x, "features_0/0/conv", smallest=(5, 17))
        fields = {"dtype": compute_dtype(self.dtype, x, self.variables), "axis_name": self.axis_name}
        pool = functools.partial(max_pool, window_shape=(1, 3, 3), strides=(1, 2, 2), padding=((0, 0), (1, 1), (1, 1)))
        x = SeparableConv(self._scaled(64), 7, 2, name="features_0", **fields)(x, train)
        maps = {"conv1": (x := self.perturb("conv1", x))}
        x = _conv(self._scaled(64), name="features_2", **fields)(pool(x), train)
        x = SeparableConv(self._scaled(192), name="features_3", **fields)(x, train)
        x = maps["conv3"] = self.perturb("conv3", x)
        x, position = pool(x), 5
        module = remat(SeparableInception, self.remat, static_argnums=(2,))
        for last, name in zip(("3a", *MODULES)[:-1], MODULES, strict=True):
            if name[0] != last[0]:
                window, padding = POOLS[name[0]]
                x, position = max_pool(x, window, (2, 2, 2), padding=padding), position + 1
            widths = tuple(map(self._scaled, MODULES[name]))
            x = module(widths, name=f"features_{position}", **fields)(x, train)
            x = maps[f"inception{name}"] = self.perturb(f"inception{name}", x)
            position += 1
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = _window_means(to_acc_dtype(x))
        return self._linear(nn.Dropout(self.dropout, deterministic=not train)(x).mean((1, 2, 3)))

    def _scaled(self, features: int) -> int:
        return max(1, round(self.width_mult * features))


MODELS = {"s3d": functools.partial(S3D)}


def example_inputs(model: S3D) -> tuple[jax.Array]:
    """Build (a clip [1, 16, 224, 224, 3],)."""
    return (jnp.zeros((1, 16, 224, 224, 3)),)


def from_torch_names(model: S3D, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of torchvision to the variables of an S3D."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    return fill_from_torch(shapes, state_dict, TORCH_NAMES, what="S3D")
