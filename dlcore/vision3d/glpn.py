"""GLPN: depth from a pyramid transformer, whose coarse maps a decoder enlarges and weighs against the finer ones.

Kim et al., "Global-local path networks for monocular depth estimation with vertical CutDepth" (2022),
arXiv:2201.07436.

    x_4 = up(l_4),   x_k = up(l_k a_1 + x_{k+1} a_2),   l_k = conv1x1 map_k,   a = sigmoid(convs [l_k, x_{k+1}])
    depth = D sigmoid(conv3x3(relu(conv3x3 up(x_1))))

a is one weight a place for the local and one for the global map. The encoder is SegFormer's, `dlcore.models.mit`; the
loss the square root of `scale_invariant_depth_loss` with λ = 1/2. Weights are those of transformers'
GLPNForDepthEstimation (`vinvino02/glpn-nyu`).
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.mit import ENCODER_NAMES, ENCODER_OLD_NAMES
from dlcore.nn import BatchNorm, Conv
from dlcore.nn.precision import compute_dtype
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA
from dlcore.ops.resize import resize

__all__ = ["GLPN", "SelectiveFusion"]


def double(x: jax.Array) -> jax.Array:
    """Double the sides of a map, bilinearly."""
    return resize(x, (2 * x.shape[1], 2 * x.shape[2]))


class SelectiveFusion(nn.Module):
    """Add a local and a global map, each with a weight from 0 to 1 at each place.

    Args:
      dtype: dtype of the computation; None means by promotion.
      axis_name: mapped axis over which batch statistics are averaged; None: each device by itself.
    """

    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, local: jax.Array, coarse: jax.Array, train: bool) -> jax.Array:
        """Fuse the maps.

        Args:
          local: [B, h, w, C].
          coarse: [B, h, w, C], of the coarser stages.
          train: whether batch norm uses the batch.

        Returns:
          [B, h, w, C].
        """
        x, width = jnp.concatenate([local, coarse], -1), local.shape[-1]
        for i, features in enumerate((width, width // 2), 1):
            name = f"convolutional_layer{i}"
            x = Conv(features, (3, 3), padding=1, dtype=self.dtype, name=f"{name}_0")(x)
            norm = BatchNorm(not train, dtype=self.dtype, axis_name=self.axis_name, name=f"{name}_1")
            x = nn.relu(norm(x))
        weights = nn.sigmoid(Conv(2, (3, 3), padding=1, dtype=self.dtype, name="convolutional_layer3")(x))
        return local * weights[..., :1] + coarse * weights[..., 1:]


class GLPN(nn.Module):
    """Encoder, decoder and head: [B, H, W, C] -> depth [B, H, W], sides multiples of 32.

    Args:
      backbone: a model with `features` of strides 4, 8, 16 and 32, such as `mit_b4`; its own classifier is not used.
      stages: the maps, the finest first.
      features: channels of the decoder.
      max_depth: D, the most depth in the units of the data.
      dtype: dtype of the computation; None for that of the input.
      axis_name: mapped axis over which batch statistics are averaged; None: each device by itself.
    """

    backbone: nn.Module
    stages: tuple[str, ...] = ("stage1", "stage2", "stage3", "stage4")
    features: Annotated[int, Range(2)] = 64
    max_depth: Annotated[float, Range(1e-6)] = 10.0
    dtype: Any = None
    axis_name: str | None = REPLICA

    TORCH_NAMES = (
        (r"^backbone\.", ""),
        *ENCODER_NAMES,
        (r"^decoder_stages\.", "decoder.stages."),
        (r"^(decoder\.stages\.\d)_", r"\1."),
        (r"^head\.", "head.head."),
    )
    TORCH_OLD_NAMES = ENCODER_OLD_NAMES
    TORCH_OPTIONAL = "(?!)"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Predict depth.

        Args:
          x: [B, H, W, C].
          train: whether batch norm uses the batch, and the backbone drops values, which needs the rng "dropout".

        Returns:
          [B, H, W] from 0 to D, at least float32.
        """
        if x.shape[1] % 32 or x.shape[2] % 32:
            raise ValueError(f"x.shape={x.shape}: cannot be halved five times; allowed: sides that 32 divides")
        dtype, maps = compute_dtype(self.dtype, x, self.variables), self.backbone.features(x, train)
        if missing := [stage for stage in self.stages if stage not in maps]:
            raise ValueError(f"stages={self.stages}: no {missing[0]} in the backbone; allowed: {', '.join(maps)}")
        # Decoder: from the coarsest map to the finest.
        y = None
        for i, stage in enumerate(reversed(self.stages)):
            local = maps[stage]
            if local.shape[-1] != self.features:
                local = Conv(self.features, (1, 1), dtype=dtype, name=f"decoder_stages_{i}_convolution")(local)
            if y is not None:
                local = SelectiveFusion(dtype, self.axis_name, name=f"decoder_stages_{i}_fusion")(local, y, train)
            y = double(local)
        y = nn.relu(Conv(self.features, (3, 3), padding=1, dtype=dtype, name="head_0")(double(y)))
        y = to_acc_dtype(y)
        return self.max_depth * nn.sigmoid(Conv(1, (3, 3), padding=1, dtype=y.dtype, name="head_2")(y)[..., 0])
