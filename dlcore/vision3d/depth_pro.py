"""Depth Pro: sharp metric depth of one image in a single pass, from patches of three scales, and its focal length.

Bochkovskii, Delaunoy, Germain, Santos, Zhou, Richter & Koltun, "Depth Pro: sharp monocular metric depth in less than a
second" (2024), arXiv:2410.02073.

    patches    the image at 1/4, 1/2 and 1 of its size, cut into overlapping squares that one DINOv2 reads
    maps       the squares' features, joined without their overlaps; of the finest also two inner blocks
    image      the whole image at a square's size, read by a second DINOv2, joined with the coarsest map
    fuse       x = conv1x1(double(R(x + R(map_k)))),   R(y) = y + conv(relu(conv(relu y)))
    output     relu(conv1x1(relu(conv3x3(double(conv3x3 x))))),   the inverse of depth for a focal length of the width
    view       a third DINOv2 and the coarsest map -> the field of view in degrees

Weights are those of transformers' DepthProForDepthEstimation (`apple/DepthPro-hf`).
"""

import functools
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models import dinov2
from dlcore.models.dinov2 import DINOv2
from dlcore.models.fields import CheckedFields
from dlcore.models.torch_weights import fill_from_torch
from dlcore.nn import Conv, ConvTranspose, Dense
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.resize import resize
from dlcore.vision3d.dpt import ResidualUnit

__all__ = ["MODELS", "DepthPro", "TokensAndMaps", "cut_squares", "example_inputs", "from_torch_names", "join_squares"]


class TokensAndMaps(DINOv2):
    """A DINOv2 that gives its normalized tokens and the maps of its blocks.

    All fields of `DINOv2`.
    """

    @nn.compact
    def encode(self, x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Read images: [B, H, W, C] -> ([B, 1 + N, width] after the last norm, {block: [B, h, w, width]})."""
        return self._stages(x, False)


def cut_squares(images: jax.Array, side: int, overlap: float) -> jax.Array:
    """Cut images into squares that overlap.

    Args:
      images: [B, S, S, C].
      side: side of a square.
      overlap: share of a side that two neighbors have in common.

    Returns:
      [k k, B, side, side, C], in row order; k = (S - side) / stride + 1.
    """
    check_shapes(images=(images, "B S S C"))
    if images.shape[1:3] == (side, side):
        return images[None]
    stride = int(side * (1 - overlap))
    begins = range(0, images.shape[1] - side + 1, stride)
    return jnp.stack([images[:, y : y + side, x : x + side] for y in begins for x in begins])


def join_squares(squares: jax.Array, margin: int) -> jax.Array:
    """Join the maps of overlapping squares, without the margins at their inner borders.

    Args:
      squares: [k k, B, s, s, C], in row order.
      margin: rows and columns that are dropped, at most a quarter of a side.

    Returns:
      [B, S, S, C].
    """
    count, size = math.isqrt(len(squares)), squares.shape[2]
    margin = min(size // 4, margin)

    def inner(i: int) -> slice:
        return slice(margin if i else 0, size - (margin if i < count - 1 else 0))

    rows = [
        jnp.concatenate([squares[count * i + j][:, inner(i), inner(j)] for j in range(count)], 2) for i in range(count)
    ]
    return jnp.concatenate(rows, 1)


class Upsample(nn.Module):
    """A convolution of size 1 and doublings by transposed convolutions, [B, h, w, C] -> [B, 2^n h, 2^n w, features].

    Args:
      features: channels of the doublings.
      doublings: n.
      projected: channels of the convolution; None leaves it out, and then the doublings have biases.
    """

    features: int
    doublings: int = 1
    projected: int | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Enlarge a map."""
        first = self.projected is not None
        if self.projected is not None:
            x = Conv(self.projected, (1, 1), use_bias=False, name="layers_0")(x)
        for i in range(self.doublings):
            up = ConvTranspose(self.features, (2, 2), 2, padding=0, use_bias=not first, name=f"layers_{first + i}")
            x = up(x)
        return x


class FieldOfView(nn.Module):
    """Estimate the field of view: (images, the coarsest map) -> [B] degrees.

    Args:
      encoder: reads the whole image.
      features: channels of the coarsest map.
      layers: convolutions of stride 2 of the head.
    """

    encoder: DINOv2
    features: int
    layers: int

    @nn.compact
    def __call__(self, image: jax.Array, coarsest: jax.Array, size: tuple[int, int]) -> jax.Array:
        """Estimate it; `size` is that of the map that the encoder's patches become."""
        tokens = self.encoder.tokens(image)
        grid = image.shape[1] // self.encoder.patch_size
        y = Dense(self.features // 2, name="fov_encoder_neck")(tokens)[:, -grid * grid :]
        y = resize(y.reshape(-1, grid, grid, y.shape[-1]), size)
        y = y + nn.relu(Conv(self.features // 2, (3, 3), 2, padding=1, name="conv")(coarsest))
        y = resize(y, (grid, grid))
        for i in range(self.layers):
            width = math.ceil(self.features / 2 ** (i + 2))
            y = nn.relu(Conv(width, (3, 3), 2, padding=1, name=f"head_layers_{2 * i}")(y))
        last = int((grid - 1) / 2**self.layers + 1)
        return Conv(1, (last, last), padding=0, name=f"head_layers_{2 * self.layers}")(y).reshape(len(y))


class DepthPro(CheckedFields):
    """Depth of images: [B, S, S, C] -> {"predicted_depth": [B, S', S'], perhaps "field_of_view": [B] degrees}.

    Args:
      image_encoder: reads the whole image, at its own image_size.
      patch_encoder: reads the squares, whose side is its image_size.
      view_encoder: reads the image for the field of view; None estimates none.
      features: channels of the fused maps.
      blocks: inner blocks of the patch encoder whose maps are fused too, the coarser first.
      block_features: channels of their maps.
      ratios: sizes of the image from which squares are cut, the coarsest first.
      overlaps: shares of a square's side that two have in common, at each size.
      ratio_features: channels of these maps.
      margin: patches that are dropped where two squares of the coarsest size meet; in proportion at the others.
      view_layers: convolutions of stride 2 of the field of view's head.
      depth_head: whether maps are fused to depth; otherwise a call gives the maps.
    """

    image_encoder: TokensAndMaps
    patch_encoder: TokensAndMaps
    view_encoder: TokensAndMaps | None = None
    features: Annotated[int, Range(2)] = 256
    blocks: tuple[int, ...] = (12, 6)
    block_features: tuple[int, ...] = (256, 256)
    ratios: tuple[float, ...] = (0.25, 0.5, 1.0)
    overlaps: tuple[float, ...] = (0.0, 0.5, 0.25)
    ratio_features: tuple[int, ...] = (1024, 1024, 512)
    margin: Annotated[int, Range(0)] = 3
    view_layers: Annotated[int, Range(0)] = 2
    depth_head: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, Any]:
        """Estimate depth.

        Args:
          x: [B, S, S, C].
          train: has no effect.

        Returns:
          {"predicted_depth": [B, S', S'] inverse depth, "field_of_view": [B]} with a head; otherwise
          {"last_hidden_state": [B, 1 + N, D] of the whole image, "features": maps, the coarsest first}.
        """
        side = self.patch_encoder.image_size
        if x.shape[1] != x.shape[2] or min(self.ratios) * x.shape[1] < side:
            least = math.ceil(side / min(self.ratios))
            raise ValueError(f"x.shape={x.shape}: too small or no square; allowed: [B, S, S, C] with S >= {least}")
        grid = side // self.patch_encoder.patch_size
        base = x.shape[1] // 2 ** int(math.log2(x.shape[2] / grid))
        whole = resize(x, (self.image_encoder.image_size,) * 2)
        tokens, _ = self.image_encoder.encode(whole)
        maps = self._maps(x, grid, base)
        image = resize(tokens[:, -grid * grid :].reshape(len(x), grid, grid, -1), (base, base))
        projected = self._neck(image, maps)
        if not self.depth_head:
            return {"last_hidden_state": tokens, "features": projected}
        y = self._fused(projected)
        y = Conv(self.features // 2, (3, 3), padding=1, name="head_layers_0")(y)
        y = ConvTranspose(self.features // 2, (2, 2), 2, padding=0, name="head_layers_1")(y)
        y = nn.relu(Conv(32, (3, 3), padding=1, name="head_layers_2")(y))
        depth = nn.relu(Conv(1, (1, 1), name="head_layers_4")(y))[..., 0]
        outputs = {"predicted_depth": to_acc_dtype(depth)}
        if self.view_encoder is not None:
            view = FieldOfView(self.view_encoder, self.features, self.view_layers, name="fov_model")
            image = resize(x, (self.view_encoder.image_size,) * 2)
            outputs["field_of_view"] = view(image, jax.lax.stop_gradient(projected[0]), (base, base))
        return outputs

    @nn.nowrap
    def _maps(self, x: jax.Array, grid: int, base: int) -> list[jax.Array]:
        """Return the maps of the squares of each size, the coarsest first, and those of inner blocks of the finest."""
        squares = [
            cut_squares(resize(x, scale=ratio), self.patch_encoder.image_size, overlap)
            for ratio, overlap in zip(self.ratios, self.overlaps, strict=True)
        ]
        counts = [len(part) for part in squares]
        stacked = jnp.concatenate(squares)  # [K, B, side, side, C]
        tokens, blocks = self.patch_encoder.encode(stacked.reshape(-1, *stacked.shape[2:]))
        last = tokens[:, -grid * grid :].reshape(*stacked.shape[:2], grid, grid, -1)

        def joined(y: jax.Array, level: int) -> jax.Array:
            margin = int(self.margin / self.ratios[level])
            return resize(join_squares(y, margin), (base * 2**level,) * 2)

        begins = [sum(counts[:i]) for i in range(len(counts))]
        maps = [joined(last[begin : begin + n], i) for i, (begin, n) in enumerate(zip(begins, counts, strict=True))]
        finest = len(counts) - 1
        for block in self.blocks:
            y = blocks[f"block{block}"].reshape(*stacked.shape[:2], grid, grid, -1)
            maps.append(joined(y[begins[finest] :], finest))
        return maps

    @nn.nowrap
    def _neck(self, image: jax.Array, maps: list[jax.Array]) -> list[jax.Array]:
        """Enlarge the maps, join the whole image's with the coarsest, and project all to the same channels."""
        name = "neck_feature_upsample"
        image = Upsample(self.ratio_features[0], name=f"{name}_image_block")(image)
        maps = list(maps)
        for i, features in enumerate(self.ratio_features):
            maps[i] = Upsample(features, 1, features, name=f"{name}_scaled_images_{i}")(maps[i])
        for i, features in enumerate(self.block_features):
            first = features if i else self.features
            block = Upsample(features, 2 + i, first, name=f"{name}_intermediate_{i}")
            maps[len(self.ratios) + i] = block(maps[len(self.ratios) + i])
        fuse = Conv(self.ratio_features[0], (1, 1), name="neck_fuse_image_with_low_res")
        maps[0] = fuse(jnp.concatenate([maps[0], image], -1))
        for i, y in enumerate(maps):
            if i < len(maps) - 1 or y.shape[-1] != self.features:
                name = f"neck_feature_projection_projections_{i}"
                maps[i] = Conv(self.features, (3, 3), padding=1, use_bias=False, name=name)(y)
        return maps

    @nn.nowrap
    def _fused(self, maps: list[jax.Array]) -> jax.Array:
        """Fuse the maps, the coarsest first; each but the last doubles the sides."""
        y = jnp.zeros(())
        for i, residual in enumerate(maps):
            last = i == len(maps) - 1
            name = "fusion_stage_final" if last else f"fusion_stage_intermediate_{i}"
            y = y + ResidualUnit(name=f"{name}_residual_layer1")(residual) if i else residual
            y = ResidualUnit(name=f"{name}_residual_layer2")(y)
            if not last:
                y = ConvTranspose(self.features, (2, 2), 2, padding=0, use_bias=False, name=f"{name}_deconv")(y)
            y = Conv(self.features, (1, 1), name=f"{name}_projection")(y)
        return y


def _encoder_names(prefix: str, target: str) -> tuple:
    """Pair that renames the parameters of a DINOv2 below a prefix."""

    def named(match: Any) -> str:
        name = match[1]
        for pattern, replacement in dinov2.TORCH_NAMES:
            name = re.sub(pattern, replacement, name)
        return " + ".join(f"{target}{part}" for part in name.split(" + "))

    return (rf"^{prefix}\.(.*)$", named)


TORCH_NAMES = (
    _encoder_names("image_encoder", "depth_pro.encoder.image_encoder.model."),
    _encoder_names("patch_encoder", "depth_pro.encoder.patch_encoder.model."),
    _encoder_names("view_encoder", "fov_model.fov_encoder.model."),
    (r"^fov_model\.fov_encoder_neck\.", "fov_model.fov_encoder.neck."),
    (r"^fov_model\.head_", "fov_model.head."),
    (r"^neck_feature_(upsample|projection)_", r"depth_pro.neck.feature_\1."),
    (r"^neck_", "depth_pro.neck."),
    (r"^(depth_pro\.neck\.feature_upsample\.\w+)_layers", r"\1.layers"),
    (r"^fusion_stage_(final|intermediate\.\d+)_", r"fusion_stage.\1."),
    (r"^head_layers", "head.layers"),
)

_LARGE = {"image_size": 384, "patch_size": 16, "depth": 24, "width": 1024, "num_heads": 16, "mlp_features": 4096}
MODELS = {
    "depth_pro": functools.partial(
        DepthPro,
        image_encoder=TokensAndMaps(**_LARGE),
        patch_encoder=TokensAndMaps(**_LARGE),
        view_encoder=TokensAndMaps(**_LARGE),
    )
}


def example_inputs(model: DepthPro) -> tuple[jax.Array]:
    """Build inputs that initialize a network.

    Args:
      model: model of `MODELS`.

    Returns:
      (an image [1, S, S, 3],).
    """
    side = math.ceil(model.patch_encoder.image_size / min(model.ratios))
    return (jnp.zeros((1, side, side, 3)),)


def from_torch_names(model: DepthPro, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of transformers to the variables of a network.

    Args:
      model: model of `MODELS`.
      state_dict: {name: array}.

    Returns:
      {"params": ...}.
    """
    # Layers that compute nothing: what the first fused map would be joined with, masked patches, an absent view.
    optional = r"^fusion_stage\.intermediate\.0\.residual_layer1\.|\.mask_token$"
    optional += "" if model.view_encoder is not None else r"|^fov_model\."
    return fill_from_torch(
        jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model))),
        state_dict,
        TORCH_NAMES,
        what="DepthPro",
        older=((r"^(encoder|neck)\.", r"depth_pro.\1."),),
        optional=optional,
    )
