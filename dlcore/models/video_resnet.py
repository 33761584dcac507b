"""Residual networks of clips: r3d_18, mc3_18 and r2plus1d_18, with torchvision's names of weights.

    r3d       all kernels 3 x 3 x 3
    mc3       3 x 3 x 3 in the first stage, 1 x 3 x 3 behind: time is joined early
    r2plus1d  1 x 3 x 3, batch norm, relu, 3 x 1 x 1 in place of 3 x 3 x 3, with as many weights

Tran et al. 2018, "A closer look at spatiotemporal convolutions for action recognition", arXiv:1711.11248. Names are
torchvision's with an underscore for a dot: `layer1_0_conv1_0` is its `layer1.0.conv1.0`. Torchvision lays clips out as
[B, C, T, H, W], here they are [B, T, H, W, C].
"""

import functools
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_clips
from dlcore.models.torch_weights import fill_from_torch
from dlcore.nn import BatchNorm, Conv, Dense
from dlcore.nn.precision import compute_dtype
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "VIDEO_MODELS", "VideoResNet", "example_inputs", "from_torch_names", "video_state_dict_names"]

Kind = Literal["r3d", "mc3", "r2plus1d"]


class VideoResNet(CheckedFields):
    """An 18-layer residual network of clips: a stem and four stages of two blocks.

    Args:
      num_classes: number of classes; 400 of Kinetics in the published weights.
      kind: "r3d", "mc3" or "r2plus1d".
      width: channels of the first stage; each further one doubles them.
    """

    num_classes: int = 400
    kind: Kind = "r3d"
    width: int = 64
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify clips.

        Args:
          x: [B, T, H, W, 3].
          train: use the batch's statistics.

        Returns:
          logits, [B, num_classes].
        """
        check_choice("kind", self.kind, Kind)
        check_clips(self, x, "stem_0", smallest=(1, 1))
        dtype = compute_dtype(self.dtype, x, self.variables)
        norm = functools.partial(BatchNorm, use_running_average=not train, dtype=dtype, axis_name=self.axis_name)

        def conv(x, features, kernel, strides, name):
            padding = [((k - 1) // 2,) * 2 for k in kernel]
            return Conv(
                features, kernel, strides=strides, padding=padding, use_bias=False, dtype=dtype, name=name,
                kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
            )(x)  # fmt: skip

        def unit(x, features, middle, stride, stage, name):
            """One convolution of a block, or its two factors."""
            if self.kind == "r2plus1d":
                x = conv(x, middle, (1, 3, 3), (1, stride, stride), f"{name}_0_0")
                x = nn.relu(norm(name=f"{name}_0_1")(x))
                return conv(x, features, (3, 1, 1), (stride, 1, 1), f"{name}_0_3")
            if self.kind == "mc3" and stage > 1:
                return conv(x, features, (1, 3, 3), (1, stride, stride), f"{name}_0")
            return conv(x, features, (3, 3, 3), (stride,) * 3, f"{name}_0")

        x = x.astype(dtype)
        if self.kind == "r2plus1d":
            x = nn.relu(norm(name="stem_1")(conv(x, 45 * self.width // 64, (1, 7, 7), (1, 2, 2), "stem_0")))
            x = nn.relu(norm(name="stem_4")(conv(x, self.width, (3, 1, 1), (1, 1, 1), "stem_3")))
        else:
            x = nn.relu(norm(name="stem_1")(conv(x, self.width, (3, 7, 7), (1, 2, 2), "stem_0")))
        for stage in range(1, 5):
            features = self.width * 2 ** (stage - 1)
            for block in range(2):
                name, inputs = f"layer{stage}_{block}", x.shape[-1]
                stride = 2 if stage > 1 and block == 0 else 1
                middle = inputs * features * 27 // (inputs * 9 + 3 * features)
                y = unit(x, features, middle, stride, stage, f"{name}_conv1")
                y = nn.relu(norm(name=f"{name}_conv1_1")(y))
                y = unit(y, features, middle, 1, stage, f"{name}_conv2")
                y = norm(name=f"{name}_conv2_1")(y)
                if stride != 1 or inputs != features:
                    strides = (1 if self.kind == "mc3" else stride, stride, stride)
                    x = conv(x, features, (1, 1, 1), strides, f"{name}_downsample_0")
                    x = norm(name=f"{name}_downsample_1")(x)
                x = nn.relu(x + y)
        x = x.mean((1, 2, 3))
        x = Dense(self.num_classes, dtype=dtype, name="fc")(x)
        return to_acc_dtype(x)


VIDEO_MODELS = {
    "r3d_18": functools.partial(VideoResNet, kind="r3d"),
    "mc3_18": functools.partial(VideoResNet, kind="mc3"),
    "r2plus1d_18": functools.partial(VideoResNet, kind="r2plus1d"),
}
"""Torchvision's name -> the network."""

MODELS = VIDEO_MODELS
TORCH_NAMES = ((r"_(?!(?:mean|var)$)", "."),)

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def video_state_dict_names(variables: Any) -> dict[str, tuple[str, ...]]:
    """Name torchvision's tensor of each array of a network.

    Args:
      variables: variables of a `VideoResNet`, or their shapes.

    Returns:
      Torchvision's name -> path in the variables.
    """
    names = {}
    for path, _ in jax.tree_util.tree_flatten_with_path(variables)[0]:
        keys = tuple(part.key for part in path)
        names[f"{keys[1].replace('_', '.')}.{LEAVES[keys[2]]}"] = keys
    return names


def example_inputs(model: VideoResNet) -> tuple[jax.Array]:
    """Build (a clip [1, 16, 112, 112, 3],), as published."""
    return (jnp.zeros((1, 16, 112, 112, 3)),)


def from_torch_names(model: VideoResNet, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of torchvision to the variables of a network of clips."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    return fill_from_torch(shapes, state_dict, TORCH_NAMES, what=f"VideoResNet of kind {model.kind}")
