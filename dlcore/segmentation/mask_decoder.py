"""SAM's mask decoder: tokens of masks and prompts, and the pixels of an image, attend to each other in turn.

Kirillov et al., "Segment anything" (2023), arXiv:2304.02643; the equation stands in `dlcore.segmentation.sam`.
"""

import functools
from collections.abc import Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.nn import Conv, ConvTranspose, Dense, FeedForward, LayerNorm, MultiHeadAttention, gelu

__all__ = ["MaskDecoder", "TwoWayBlock"]


class TwoWayBlock(nn.Module):
    """Tokens attend to each other and to pixels, and pixels to tokens.

    Args:
      num_heads: attention heads.
      hidden: hidden units of the MLP.
      is_first: whether the tokens are their own positions, which are not added to them in their self-attention.
      epsilon: of the layer norms.
    """

    num_heads: int
    hidden: int
    is_first: bool = False
    dtype: Any = None
    epsilon: Annotated[float, "if changed"] = 1e-6

    @nn.compact
    def __call__(
        self,
        tokens: jax.Array,
        pixels: jax.Array,
        positions: jax.Array,
        pixel_positions: jax.Array,
        mask: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Apply the block.

        tokens [B, T, D]; pixels [B, h w, D]; positions [B, T, D], added to tokens in queries and keys; pixel_positions
        [h w, D], added to pixels in queries and keys; mask [B, 1, 1, T] bool, False for tokens that nothing attends to
        (None: there are none) -> (tokens, pixels).
        """
        width = tokens.shape[-1]
        attention = functools.partial(MultiHeadAttention, self.num_heads, width, dtype=self.dtype)
        norm = functools.partial(LayerNorm, self.epsilon, dtype=self.dtype)
        # Tokens to tokens.
        if self.is_first:
            tokens = attention(name="self_attn")(tokens, tokens, tokens, mask=mask)
        else:
            query = tokens + positions
            tokens = tokens + attention(name="self_attn")(query, query, tokens, mask=mask)
        tokens = norm(name="layer_norm1")(tokens)
        # Tokens to pixels.
        cross = attention(qkv_features=width // 2, name="cross_attn_token_to_image")
        tokens = norm(name="layer_norm2")(tokens + cross(tokens + positions, pixels + pixel_positions, pixels))
        mlp = FeedForward(self.hidden, nn.relu, dtype=self.dtype, name="mlp")
        tokens = norm(name="layer_norm3")(tokens + mlp(tokens))
        # Pixels to tokens.
        cross = attention(qkv_features=width // 2, name="cross_attn_image_to_token")
        pixels = norm(name="layer_norm4")(
            pixels + cross(pixels + pixel_positions, tokens + positions, tokens, mask=mask)
        )
        return tokens, pixels


class Perceptron(nn.Module):
    """Dense layers with rectifiers between.

    Args:
      features: outputs.
      hidden: units of the hidden layers.
      depth: number of layers.
    """

    features: int
    hidden: int
    depth: int = 3
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the layers: [..., D] -> [..., features]."""
        x = nn.relu(Dense(self.hidden, dtype=self.dtype, name="proj_in")(x))
        for i in range(self.depth - 2):
            x = nn.relu(Dense(self.hidden, dtype=self.dtype, name=f"layers_{i}")(x))
        return Dense(self.features, dtype=self.dtype, name="proj_out")(x)


class MaskDecoder(nn.Module):
    """From the image's map and prompts to masks and their predicted IoU.

    Args:
      num_masks: M, masks of a prompt, beside the single one.
      depth: two-way blocks.
      num_heads: attention heads.
      hidden: hidden units of a block's MLP.
      iou_hidden: hidden units of the MLP that predicts the IoU.
      iou_depth: layers of that MLP.
      occlusion: whether another token says if the object is in the image, and the IoU is between 0 and 1 (SAM 2).
      epsilon: of the two-way blocks' layer norms.
    """

    num_masks: int = 3
    depth: int = 2
    num_heads: int = 8
    hidden: int = 2048
    iou_hidden: int = 256
    iou_depth: int = 3
    dtype: Any = None
    occlusion: Annotated[bool, "if changed"] = False
    epsilon: Annotated[float, "if changed"] = 1e-6

    @nn.compact
    def __call__(
        self,
        image: jax.Array,
        image_positions: jax.Array,
        prompts: jax.Array,
        valid: jax.Array | None = None,
        fine_maps: Sequence[jax.Array] = (),
        detail: jax.Array | None = None,
    ) -> tuple[jax.Array, ...]:
        """Decode masks.

        image [B, h, w, D], with the mask prompt; image_positions [h w, D]; prompts [B, T, D]; valid [B, T] bool, False
        for padding, to which nothing attends (None: there is none); fine_maps [B, 4 h, 4 w, D / 8] and [B, 2 h, 2 w,
        D / 4], added to the pixels where they have that size; detail [B, 4 h, 4 w, D / 8], with which one more token
        makes a mask (SAM-HQ; None: there is no such token) -> (logits [B, 1 + M, 4 h, 4 w], the single mask first; IoU
        [B, 1 + M]), and with `occlusion` (logit [B, 1] that the object is there; the masks' tokens [B, 1 + M, D]),
        with `detail` (logits [B, 1, 4 h, 4 w]).
        """
        batch, features, init = len(image), image.shape[-1], nn.initializers.normal(1.0)
        iou_token = self.param("iou_token", init, (1, features))
        mask_tokens = self.param("mask_tokens", init, (1 + self.num_masks, features))
        outputs = [iou_token, mask_tokens]
        if self.occlusion:
            outputs = [self.param("obj_score_token", init, (1, features)), *outputs]
        if detail is not None:
            outputs = [*outputs, self.param("hq_token", init, (1, features))]
        outputs = jnp.concatenate(outputs).astype(prompts.dtype)
        tokens = positions = jnp.concatenate(
            [jnp.broadcast_to(outputs, (batch, *outputs.shape)), prompts], 1
        )  # [B, 2 + M + T, D]
        pixels = image.reshape(batch, -1, features)  # [B, h w, D]
        mask = None
        if valid is not None:
            mask = jnp.pad(valid, ((0, 0), (len(outputs), 0)), constant_values=True)[:, None, None]
        # Two-way transformer.
        for i in range(self.depth):
            settings = {"epsilon": self.epsilon, "name": f"transformer_layers_{i}"}
            block = TwoWayBlock(self.num_heads, self.hidden, i == 0, self.dtype, **settings)
            tokens, pixels = block(tokens, pixels, positions, image_positions, mask)
        final = MultiHeadAttention(
            self.num_heads,
            features,
            qkv_features=features // 2,
            dtype=self.dtype,
            name="transformer_final_attn_token_to_image",
        )
        tokens = tokens + final(tokens + positions, pixels + image_positions, pixels)
        tokens = LayerNorm(1e-5, dtype=self.dtype, name="transformer_layer_norm_final_attn")(tokens)
        if self.occlusion:
            presence, tokens = tokens[:, 0], tokens[:, 1:]
        # Upscale the pixels fourfold.
        up = functools.partial(ConvTranspose, kernel_size=(2, 2), strides=2, padding=0, dtype=self.dtype)
        x = up(features // 4, name="upscale_conv1")(pixels.reshape(image.shape))
        x = x + fine_maps[1] if fine_maps else x
        x = gelu(LayerNorm(1e-6, dtype=self.dtype, name="upscale_layer_norm")(x))
        x = up(features // 8, name="upscale_conv2")(x)
        x = gelu(x + fine_maps[0] if fine_maps else x)  # [B, 4 h, 4 w, D / 8]
        # Each mask's token becomes the weights of its linear classifier of pixels.
        weights = [
            Perceptron(features // 8, features, dtype=self.dtype, name=f"output_hypernetworks_mlps_{i}")(
                tokens[:, 1 + i]
            )
            for i in range(1 + self.num_masks)
        ]
        logits = jnp.einsum("bmd,byxd->bmyx", jnp.stack(weights, 1), x)
        head = Perceptron(
            1 + self.num_masks, self.iou_hidden, self.iou_depth, dtype=self.dtype, name="iou_prediction_head"
        )
        iou = head(tokens[:, 0])
        if detail is not None:
            conv = functools.partial(Conv, kernel_size=(3, 3), padding=1, dtype=self.dtype)
            x = LayerNorm(1e-6, dtype=self.dtype, name="mask_norm")(conv(features // 4, name="mask_conv1")(x))
            x = conv(features // 8, name="mask_conv2")(gelu(x)) + detail
            weights = Perceptron(features // 8, features, dtype=self.dtype, name="hq_mask_mlp")
            return logits, iou, jnp.einsum("bd,byxd->byx", weights(tokens[:, 2 + self.num_masks]), x)[:, None]
        if not self.occlusion:
            return logits, iou
        score = Perceptron(1, features, dtype=self.dtype, name="pred_obj_score_head")(presence)
        return logits, nn.sigmoid(iou), score, tokens[:, 1 : 2 + self.num_masks]
