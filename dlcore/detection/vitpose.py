"""ViTPose: heat maps of keypoints from a plain ViT, one person an image; and sub-pixel places of their maxima (DARK).

Xu et al., "ViTPose: simple vision transformer baselines for human pose estimation" (2022), arXiv:2204.12484; head of
Xiao, Wu & Wei, "Simple baselines for human pose estimation" (2018), arXiv:1804.06208; Zhang et al., "Distribution-aware
coordinate representation of keypoints" (2019), arXiv:1910.06278.

    maps = conv3x3(enlarge(relu(ViT(x))))                      simple decoder
    maps = conv1x1(up(up(ViT(x)))),   up = relu(BN(transposed conv 4x4 of stride 2))          classic decoder
    MLP(x) = [W_2 h; V_d h],   h = gelu(W_1 x)                 ViTPose++ (arXiv:2212.04246): V_d of dataset d
    place = m - H^-1 g,   g and H the gradient and Hessian of log map at its maximum m

The last line is exact for a map that is a Gaussian: its logarithm is a parabola. Weights are those of transformers'
VitPoseForPoseEstimation (`usyd-community/vitpose-base-simple`, `usyd-community/vitpose-plus-base`); position 0 of the
table is added to all patches, which overlap the image's border by two pixels.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.inputs import check_images
from dlcore.models.vit import TRANSFORMERS
from dlcore.nn import BatchNorm, Conv, ConvTranspose, Dense, LayerNorm, TransformerEncoderBlock, gelu
from dlcore.nn.precision import compute_dtype
from dlcore.nn.transformer import TransformerBlock
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA
from dlcore.ops.resize import resize

__all__ = ["ViTPose", "dark_keypoints"]

INIT = nn.initializers.truncated_normal(0.02)
LEAST = 1e-3
"""Least value of a map before its logarithm."""


class ExpertBlock(TransformerBlock):
    """Encoder block before whose second shortcut a part of the channels is computed by the expert of a dataset.

    All fields of `TransformerBlock`.

    Args:
      num_experts: number of datasets.
      part_features: channels of an expert; the others are computed for all datasets alike.
    """

    num_experts: int = 1
    part_features: int = 192

    @nn.compact
    def __call__(self, x: jax.Array, dataset: jax.Array) -> jax.Array:
        """Apply the block: x [B, N, D]; dataset [B] int -> [B, N, D]."""
        x = x + self._attention("attn", self.fused_qkv)(self._norm(1)(x))
        return x + ExpertMLP(
            self.hidden_features, self.part_features, self.num_experts, self.dtype, self.kernel_init, name="mlp"
        )(self._norm(2)(x), dataset)


class ExpertMLP(nn.Module):
    """Perceptron whose second layer has a part for each dataset, see `ExpertBlock`."""

    hidden_features: int
    part_features: int
    num_experts: int
    dtype: Any = None
    kernel_init: Any = INIT

    @nn.compact
    def __call__(self, x: jax.Array, dataset: jax.Array) -> jax.Array:
        """Apply the layers: x [B, N, D]; dataset [B] int -> [B, N, D]."""
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=self.kernel_init)
        h = gelu(dense(self.hidden_features, name="fc1")(x))
        shared = dense(x.shape[-1] - self.part_features, name="fc2")(h)
        parts = [dense(self.part_features, name=f"experts_{i}")(h) for i in range(self.num_experts)]
        part = jnp.stack(parts)[dataset, jnp.arange(len(x))]  # [B, N, part_features]
        return jnp.concatenate([shared, part], -1)


class ViTPose(nn.Module):
    """A ViT without a class token, and a decoder to one map a keypoint.

    Args:
      num_keypoints: K; COCO has 17.
      image_size: (H, W) in pixels of the crop around a person.
      patch_size: P, side in pixels of a patch.
      depth: number of blocks.
      width: channels of a token.
      num_heads: attention heads of each block.
      mlp_features: hidden units of a block's MLP.
      scale: size of the maps as a multiple of the patches' grid, in the simple decoder; the classic one has 4.
      simple: enlarge and convolve once; otherwise two transposed convolutions.
      decoder_features: channels of the transposed convolutions.
      epsilon: added to variances by the layer norms.
      num_experts: datasets that ViTPose++ tells apart, each with an expert in every MLP; 1: no experts.
      part_features: channels of a token that the expert computes.
    """

    num_keypoints: int = 17
    image_size: tuple[int, int] = (256, 192)
    patch_size: Annotated[int, Range(1)] = 16
    depth: Annotated[int, Range(1)] = 12
    width: Annotated[int, Range(1)] = 768
    num_heads: Annotated[int, Range(1)] = 12
    mlp_features: Annotated[int, Range(1)] = 3072
    scale: Annotated[int, Range(1)] = 4
    simple: bool = True
    decoder_features: Annotated[int, Range(1)] = 256
    epsilon: Annotated[float, Range(0)] = 1e-12
    num_experts: Annotated[int, Range(1), "if changed"] = 1
    part_features: Annotated[int, Range(1), "if changed"] = 192
    dtype: Any = None
    axis_name: str | None = REPLICA

    TORCH_NAMES = (
        (r"^position_embeddings$", "embeddings.position_embeddings"),
        *TRANSFORMERS.names,
        (r"^keypoint_head_", "head."),
    )
    TORCH_OLD_NAMES = ((r"^backbone\.", ""), (r"\.experts\.experts\.", ".experts."), *TRANSFORMERS.older)

    @nn.compact
    def features(self, x: jax.Array, train: bool = False, dataset: jax.Array | None = None) -> dict[str, jax.Array]:
        """Describe patches after each block, behind the last norm, which all blocks share.

        x [B, H, W, C], of the field's image size; dataset [B] int, whose expert is taken (None: the first) ->
        {"block1": [B, h, w, width], ...}.
        """
        size = self.patch_size
        check_images(self, x, "patch_embed", smallest=size)
        if tuple(x.shape[1:3]) != tuple(self.image_size):
            raise ValueError(f"x.shape={x.shape}: no positions for it; allowed: images of {self.image_size}")
        dtype = compute_dtype(self.dtype, x, self.variables)
        patches = Conv(self.width, (size, size), (size, size), 2, dtype=dtype, kernel_init=INIT, name="patch_embed")(x)
        grid, z = patches.shape[1:3], patches.reshape(len(x), -1, self.width)
        table = self.param("position_embeddings", INIT, (1, 1 + grid[0] * grid[1], self.width)).astype(dtype)
        z = z + table[:, 1:] + table[:, :1]
        # Vision transformer.
        norm, maps = LayerNorm(self.epsilon, dtype=dtype, name="norm"), {}
        fields: dict[str, Any] = {"pre_norm": True, "activation": gelu, "epsilon": self.epsilon, "dtype": dtype}
        fields |= {"kernel_init": INIT}
        if self.num_experts > 1:
            fields |= {"num_experts": self.num_experts, "part_features": self.part_features}
        expert = jnp.zeros(len(x), jnp.int32) if dataset is None else dataset
        for i in range(self.depth):
            if self.num_experts > 1:
                z = ExpertBlock(self.num_heads, self.mlp_features, **fields, name=f"blocks_{i}")(z, expert)
            else:
                z = TransformerEncoderBlock(self.num_heads, self.mlp_features, **fields, name=f"blocks_{i}")(z, train)
            maps[f"block{i + 1}"] = norm(z).reshape(patches.shape)
        return maps

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, dataset: jax.Array | None = None) -> jax.Array:
        """Predict heat maps.

        x [B, H, W, C], of the field's image size; train, whether the classic decoder's batch norm uses the batch;
        dataset, see `features` -> [B, h, w, K], at least float32.
        """
        y = self.features(x, train, dataset)[f"block{self.depth}"]
        grid, dtype = y.shape[1:3], compute_dtype(self.dtype, x, self.variables)
        # Decoder.
        if self.simple:
            y = resize(nn.relu(y), (self.scale * grid[0], self.scale * grid[1]))
        else:
            for i in (1, 2):
                up = ConvTranspose(
                    self.decoder_features,
                    (4, 4),
                    2,
                    padding=1,
                    use_bias=False,
                    dtype=dtype,
                    name=f"keypoint_head_deconv{i}",
                )
                norm = BatchNorm(not train, dtype=dtype, axis_name=self.axis_name, name=f"keypoint_head_batchnorm{i}")
                y = nn.relu(norm(up(y)))
        y, side = to_acc_dtype(y), 3 if self.simple else 1
        return Conv(self.num_keypoints, (side, side), padding=side // 2, dtype=y.dtype, name="keypoint_head_conv")(y)


def dark_keypoints(heat_maps: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Find the sub-pixel maxima of heat maps by a parabola through the logarithm around the largest pixel.

    Args:
      heat_maps: [B, h, w, K], smooth; values below 0.001 count as 0.001.

    Returns:
      (points [B, K, 2], x and y in pixels of the map, where pixel centers are integers; values at the largest pixels
      [B, K]). At the border, or where the parabola has no maximum within a pixel, the pixel itself.
    """
    check_shapes(heat_maps=(heat_maps, "B h w K"))
    maps = jnp.moveaxis(heat_maps, -1, 1)  # [B, K, h, w]
    (batch, count, height, width), flat = maps.shape, maps.reshape(*maps.shape[:2], -1)
    index, scores = flat.argmax(-1), flat.max(-1)
    column, row = index % width, index // width
    logs = jnp.log(jnp.maximum(maps, LEAST))
    at = jnp.arange(batch)[:, None], jnp.arange(count)

    def log_at(down: int, right: int) -> jax.Array:
        return logs[(*at, (row + down).clip(0, height - 1), (column + right).clip(0, width - 1))]

    middle, left, right, up, down = log_at(0, 0), log_at(0, -1), log_at(0, 1), log_at(-1, 0), log_at(1, 0)
    gradient = jnp.stack([(right - left) / 2, (down - up) / 2], -1)  # [B, K, 2]
    hxx, hyy = right - 2 * middle + left, down - 2 * middle + up
    hxy = (log_at(1, 1) - log_at(-1, 1) - log_at(1, -1) + log_at(-1, -1)) / 4
    determinant = hxx * hyy - hxy**2
    is_inside = (column > 0) & (column < width - 1) & (row > 0) & (row < height - 1)
    is_peak = is_inside & (determinant > 0) & (hxx < 0)
    safe = jnp.where(is_peak, determinant, 1)
    gx, gy = gradient[..., 0], gradient[..., 1]
    offset = -jnp.stack([hyy * gx - hxy * gy, hxx * gy - hxy * gx], -1) / safe[..., None]
    is_near = is_peak & (jnp.abs(offset) <= 1).all(-1)
    points = jnp.stack([column, row], -1) + jnp.where(is_near[..., None], offset, 0)
    return points, scores
