"""EoMT: a plain ViT segments, when queries join its tokens for the last blocks (encoder-only mask transformer).

Kerssies et al. 2025, arXiv:2503.19108.

    blocks       a ViT with registers and layer scale (DINOv2's); Q queries join the tokens before the last L blocks
    masks        MLP(query) . upscaled patches, upscaled by transposed convolutions; C classes and "no object"
    attention    in a block with attn_mask_probs > 0, a query sees the patches of its own mask so far; all other tokens
                 see all

Published weights are of transformers (tue-mps/*_eomt_*). The authors train with masks and turn them off one block after
another; what is left is `attn_mask_probs` of the file, the variable "constants" of that name, one number a block.
"""

from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.dinov3 import center_angles
from dlcore.nn import Conv, ConvTranspose, Dense, LayerNorm, TransformerEncoderBlock
from dlcore.ops.precision import acc_dtype_of
from dlcore.ops.resize import resize
from dlcore.segmentation.mask_queries import MaskOutputs

__all__ = ["EoMT", "MaskHeads"]

gelu = partial(nn.gelu, approximate=False)


class EoMT(nn.Module):
    """A ViT with queries, and the heads of masks and classes.

    Args:
      num_classes: C.
      image_size: side in pixels of the images, which are square.
      patch_size: side in pixels of a patch.
      depth: blocks.
      query_blocks: L, last blocks with queries.
      width: features of a token.
      num_heads: heads of each attention.
      mlp_features: units of the perceptrons.
      num_queries: Q, at least the segments of an image.
      num_registers: learned tokens behind the class token.
      num_upscale: transposed convolutions, each of which doubles the map.
      layer_scale: initial factor of each channel of a block's branches.
      epsilon: epsilon of the norms.
      rotary: DINOv3's blocks, whose attention turns queries and keys by the locations of the patches, in place of
        learned positions; keys have no bias.
    """

    num_classes: int
    image_size: Annotated[int, Range(1)] = 640
    patch_size: Annotated[int, Range(1)] = 16
    depth: Annotated[int, Range(1)] = 24
    query_blocks: Annotated[int, Range(1)] = 4
    width: Annotated[int, Range(1)] = 1024
    num_heads: Annotated[int, Range(1)] = 16
    mlp_features: Annotated[int, Range(1)] = 4096
    num_queries: Annotated[int, Range(1)] = 200
    num_registers: Annotated[int, Range(0)] = 4
    num_upscale: Annotated[int, Range(0)] = 2
    layer_scale: float = 1.0
    epsilon: float = 1e-6
    dtype: Any = None
    rotary: Annotated[bool, "if changed"] = False

    TORCH_NAMES = (
        (r"^patch_embed\.", "embeddings.patch_embeddings.projection."),
        (r"^(cls_token|register_tokens)$", r"embeddings.\1"),
        (r"^pos_embed$", "embeddings.position_embeddings.weight"),
        (r"^query$", "query.weight"),
        (r"^blocks\.", "layers."),
        (r"\.attn\.(q|k|v)(?:uery|ey|alue)\.", r".attention.\1_proj."),
        (r"\.attn\.proj\.", ".attention.out_proj."),
        (r"\.layer_scale(\d)$", r".layer_scale\1.lambda1"),
        (r"^heads\.upscale\.(\d)_", r"upscale_block.block.\1."),
        (r"^heads\.mask_head_fc", "mask_head.fc"),
        (r"^heads\.", ""),
    )
    TORCH_OLD_NAMES = (
        (r"^embeddings\.patch_embeddings\.(?=weight|bias)", "embeddings.patch_embeddings.projection."),
        (r"\.attention\.o_proj\.", ".attention.out_proj."),
        (r"\.mlp\.up_proj\.", ".mlp.fc1."),
        (r"\.mlp\.down_proj\.", ".mlp.fc2."),
    )
    """From the names of EomtDinov3ForUniversalSegmentation to those of EomtForUniversalSegmentation."""
    TORCH_OPTIONAL = r"^criterion\.empty_weight$"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> MaskOutputs:
        """Predict masks and classes.

        [B, image_size, image_size, C] -> the outputs before each block with queries, and at the end.
        """
        if x.shape[1:3] != (self.image_size, self.image_size):
            raise ValueError(f"x.shape={x.shape}: not of image_size; allowed: {self.image_size} x {self.image_size}")
        if self.query_blocks > self.depth:
            raise ValueError(f"query_blocks={self.query_blocks}: too many; allowed: at most depth={self.depth}")
        side, prefix = self.image_size // self.patch_size, 1 + self.num_registers
        angles = center_angles((side, side), self.width // self.num_heads) if self.rotary else None
        y = self._tokens(x)
        count, norm = self.num_queries, LayerNorm(self.epsilon, dtype=self.dtype, name="layernorm")
        predict = MaskHeads(self.num_classes, self.num_upscale, self.dtype, name="heads")
        table = self.param("query", nn.initializers.normal(0.02), (count, self.width)).astype(y.dtype)
        probs = self.variable("constants", "attn_mask_probs", jnp.ones, (self.query_blocks,)).value
        states = []
        for i in range(self.depth):
            mask = None
            if i == self.depth - self.query_blocks:
                y = jnp.concatenate([jnp.broadcast_to(table, (len(x), *table.shape)), y], 1)
            if i >= self.depth - self.query_blocks:
                states.append(predict(norm(y), count, prefix, side))
                inside = resize(jax.lax.stop_gradient(states[-1][1]), (side, side), "bilinear") > 0
                inside = jnp.swapaxes(inside.reshape(len(x), -1, count), 1, 2)  # [B, Q, N]
                inside = inside | (probs[i - self.depth + self.query_blocks] <= 0)
                mask = jnp.ones((len(x), 1, y.shape[1], y.shape[1]), bool)
                mask = mask.at[:, 0, :count, count + prefix :].set(inside)
            y = self._block(i)(y, train, mask, angles=angles)
        states.append(predict(norm(y), count, prefix, side))
        return MaskOutputs(*(jnp.stack(parts, 1) for parts in zip(*states, strict=True)))

    def _tokens(self, x: jax.Array) -> jax.Array:
        """The class token, registers and patches of images: [B, 1 + R + N, width]."""
        patch, side = (self.patch_size, self.patch_size), self.image_size // self.patch_size
        y = Conv(self.width, patch, patch, "VALID", dtype=self.dtype, name="patch_embed")(x)
        init = nn.initializers.normal(0.02)
        y = y.reshape(len(y), -1, self.width)
        if not self.rotary:
            y = y + self.param("pos_embed", init, (side * side, self.width)).astype(y.dtype)
        tokens = [
            self.param("cls_token", init, (1, 1, self.width)),
            self.param("register_tokens", init, (1, self.num_registers, self.width)),
        ]
        tokens = [jnp.broadcast_to(token.astype(y.dtype), (len(x), *token.shape[1:])) for token in tokens]
        return jnp.concatenate([*tokens, y], 1)

    def _block(self, i: int) -> TransformerEncoderBlock:
        return TransformerEncoderBlock(
            self.num_heads,
            self.mlp_features,
            pre_norm=True,
            activation=gelu,
            epsilon=self.epsilon,
            fused_qkv=False,
            qkv_bias="qv" if self.rotary else "qkv",
            layer_scale=self.layer_scale,
            dtype=self.dtype,
            name=f"blocks_{i}",
        )


class MaskHeads(nn.Module):
    """Classes and masks of the queries among the tokens.

    Args:
      num_classes: C.
      num_upscale: transposed convolutions, each of which doubles the map.
    """

    num_classes: int
    num_upscale: int
    dtype: Any = None

    @nn.compact
    def __call__(self, y: jax.Array, count: int, prefix: int, side: int) -> tuple[jax.Array, jax.Array]:
        """Predict classes and masks.

        Args:
          y: [B, Q + prefix + N, width], the queries first.
          count: Q.
          prefix: tokens between the queries and the patches.
          side: rows and columns of patches.

        Returns:
          ([B, Q, C + 1], [B, h, w, Q]), logits.
        """
        width, acc_dtype = y.shape[-1], acc_dtype_of(y.dtype)
        queries, pixels = y[:, :count], y[:, count + prefix :].reshape(len(y), side, side, width)
        classes = Dense(self.num_classes + 1, dtype=self.dtype, name="class_predictor")(queries)
        for i in range(3):
            queries = Dense(width, dtype=self.dtype, name=f"mask_head_fc{i + 1}")(queries)
            queries = gelu(queries) if i < 2 else queries
        for i in range(self.num_upscale):
            pixels = ConvTranspose(width, (2, 2), (2, 2), dtype=self.dtype, name=f"upscale_{i}_conv1")(pixels)
            conv = partial(Conv, feature_group_count=width, use_bias=False, dtype=self.dtype)
            pixels = conv(width, (3, 3), padding=1, name=f"upscale_{i}_conv2")(gelu(pixels))
            pixels = LayerNorm(1e-6, dtype=self.dtype, name=f"upscale_{i}_layernorm2d")(pixels)
        masks = jnp.einsum("bqd,bhwd->bhwq", queries, pixels, preferred_element_type=acc_dtype)
        return classes.astype(acc_dtype), masks
