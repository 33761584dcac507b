"""Segment Anything (SAM): masks of what points, boxes or a rough mask point at.

Kirillov et al., "Segment anything" (2023), arXiv:2304.02643.

    image     z = neck(ViTDet(x)),    conv1x1 -> LN -> conv3x3 -> LN;    computed once for all prompts
    prompts   (sin 2 pi G c, cos 2 pi G c) + e,   c in [-1, 1]^2 a point or a corner,  G random,  e tells its kind
    decoder   tokens [IoU; masks; prompts] and pixels z + mask prompt attend to each other in turn
    mask_m    MLP_m(token_m) . upscale(pixels),   IoU = MLP(token of the IoU)

One prompt may mean a part or the whole, so there are three masks with a predicted IoU each, and one more for prompts
that are plain. Weights are those of transformers' SamModel (`facebook/sam-vit-base`).
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.vitdet import ViTDet
from dlcore.nn import Conv, LayerNorm, gelu
from dlcore.ops.checks import check_boxes, check_shapes
from dlcore.ops.precision import product, to_acc_dtype
from dlcore.segmentation.mask_decoder import MaskDecoder

__all__ = ["CORNERS", "HIDDEN", "SAM", "PromptEncoder", "fourier_positions"]

KINDS = 4
"""Learned vectors of prompts, by label: background, foreground, upper left corner, lower right corner."""

CORNERS = (2, 3)
"""Labels of points that are the upper left and the lower right corner of a box."""

HIDDEN = -2
"""Label of a point that is padding: nothing attends to its token."""


def fourier_positions(coordinates: jax.Array, frequencies: jax.Array) -> jax.Array:
    """Describe places by sines and cosines of random frequencies.

    Args:
      coordinates: [..., 2], x and y in shares of the image's sides.
      frequencies: [2, F], G.

    Returns:
      [..., 2 F].
    """
    check_shapes(coordinates=(coordinates, "... 2"), frequencies=(frequencies, "2 F"))
    turns = product(2 * to_acc_dtype(coordinates) - 1, frequencies)
    angles = 2 * math.pi * (turns - jnp.round(turns))  # of many whole turns a sine loses its digits
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)


class Neck(nn.Module):
    """Two convolutions without biases, each with a layer norm.

    Args:
      features: output channels.
    """

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Project a map: [B, h, w, C] -> [B, h, w, features]."""
        for i, size in enumerate((1, 3), 1):
            conv = Conv(
                self.features, (size, size), padding=size // 2, use_bias=False, dtype=self.dtype, name=f"conv{i}"
            )
            x = LayerNorm(1e-6, dtype=self.dtype, name=f"layer_norm{i}")(conv(x))
        return x


class MaskEmbedding(nn.Module):
    """Convolutions from a mask prompt to the size of the image's map.

    Args:
      features: output channels.
      channels: channels before the last convolution.
    """

    features: int
    channels: int = 16
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Describe a mask: [B, 4 h, 4 w, 1], logits -> [B, h, w, features]."""
        for i, width in enumerate((self.channels // 4, self.channels), 1):
            x = Conv(width, (2, 2), (2, 2), "VALID", dtype=self.dtype, name=f"conv{i}")(x)
            x = gelu(LayerNorm(1e-6, dtype=self.dtype, name=f"layer_norm{i}")(x))
        return Conv(self.features, (1, 1), dtype=self.dtype, name="conv3")(x)


class PromptEncoder(nn.Module):
    """Vectors of points and corners, and a map of a mask.

    Args:
      features: D.
      image_size: side in pixels of the image that coordinates are of.
      mask_channels: channels inside the convolutions on a mask.
      ends_boxes: whether a token of no point follows the two of a box (SAM 2).
    """

    features: int
    image_size: int
    mask_channels: int = 16
    dtype: Any = None
    ends_boxes: Annotated[bool, "if changed"] = False

    @nn.compact
    def __call__(
        self,
        frequencies: jax.Array,
        points: jax.Array | None,
        labels: jax.Array | None,
        boxes: jax.Array | None,
        masks: jax.Array | None,
        has_mask: jax.Array | None = None,
    ) -> tuple[jax.Array | None, jax.Array | None, jax.Array]:
        """Describe prompts.

        Args:
          frequencies: [2, D / 2], of `fourier_positions`.
          points: [B, P, N, 2], x and y in pixels; None for none.
          labels: [B, P, N] int, 1 for foreground, 0 for background, CORNERS for corners of a box, -1 for no point, -10
            for a vector of zeros, HIDDEN for padding.
          boxes: [B, P, 4], corners in pixels; None for none.
          masks: [B, 4 h, 4 w, 1], logits of an earlier mask; None for none.
          has_mask: [B] bool, False where there is no earlier mask, and `masks` is padding; None: all have one.

        Returns:
          (tokens [B, P, T, D], None without points and boxes; [B, P, T] bool, False for padding, None without points;
          [B, h, w, D] or [1, 1, 1, D], added to the image's map).
        """
        init = nn.initializers.normal(1.0)
        kinds = self.param("point_embed", init, (KINDS, self.features))
        no_point = self.param("not_a_point_embed", init, (1, self.features))
        no_mask = self.param("no_mask_embed", init, (1, self.features))
        tokens, valid = [], None
        # Points: a position and the kind; one more stands for the end where there is no box.
        if points is not None and labels is not None:
            points, valid = points + 0.5, labels != HIDDEN
            if boxes is None:
                has_box = (labels == CORNERS[0]).any(-1, keepdims=True)
                points = jnp.pad(points, ((0, 0), (0, 0), (0, 1), (0, 0)))
                labels = jnp.pad(labels, ((0, 0), (0, 0), (0, 1)), constant_values=-1)
                valid = jnp.concatenate([valid, ~has_box], -1)
            labels = labels[..., None]
            x = fourier_positions(points / self.image_size, frequencies)
            x = jnp.where(labels == -1, no_point, jnp.where(labels == -10, 0, x))
            tokens.append(x + sum(jnp.where(labels == kind, kinds[kind], 0) for kind in range(KINDS)))
        # Boxes: two corners.
        if boxes is not None:
            corners = (boxes + 0.5).reshape(*boxes.shape[:2], 2, 2)
            tokens.append(fourier_positions(corners / self.image_size, frequencies) + kinds[2:])
            if self.ends_boxes:
                tokens.append(jnp.broadcast_to(no_point, (*boxes.shape[:2], 1, self.features)))
            added = 3 if self.ends_boxes else 2
            valid = None if valid is None else jnp.pad(valid, ((0, 0), (0, 0), (0, added)), constant_values=True)
        dense = no_mask[None, None]
        if masks is not None:
            embedded = MaskEmbedding(self.features, self.mask_channels, self.dtype, name="mask_embed")(masks)
            dense = embedded if has_mask is None else jnp.where(has_mask[:, None, None, None], embedded, dense)
        return jnp.concatenate(tokens, 2) if tokens else None, valid, dense


class SAM(nn.Module):
    """Image encoder, prompt encoder and mask decoder.

    Args:
      encoder: a ViTDet without a head, for square images of `encoder.image_size` pixels.
      features: D, channels of the image's map and of tokens, a multiple of 8.
      num_masks: M, masks of a prompt, beside the single one.
      decoder_depth: two-way blocks.
      num_heads: attention heads of the decoder.
      hidden: hidden units of a two-way block's MLP.
      iou_hidden: hidden units of the MLP that predicts the IoU.
      iou_depth: layers of that MLP.
      mask_channels: channels inside the convolutions on a mask prompt.
    """

    encoder: ViTDet
    features: Annotated[int, Range(8)] = 256
    num_masks: Annotated[int, Range(1)] = 3
    decoder_depth: Annotated[int, Range(0)] = 2
    num_heads: Annotated[int, Range(1)] = 8
    hidden: Annotated[int, Range(1)] = 2048
    iou_hidden: Annotated[int, Range(1)] = 256
    iou_depth: Annotated[int, Range(2)] = 3
    mask_channels: Annotated[int, Range(4)] = 16
    dtype: Any = None

    TORCH_NAMES = (
        (r"^positional_embedding$", "shared_image_embedding.positional_embedding"),
        (r"^neck\.", "vision_encoder.neck."),
        (r"^encoder\.", "vision_encoder."),
        (r"\.patch_embed\.", ".patch_embed.projection."),
        (r"\.pos_embed\.weight$", ".pos_embed"),
        (r"^vision_encoder\.blocks\.", "vision_encoder.layers."),
        (r"^(vision_encoder\.layers\.\d+)\.norm", r"\1.layer_norm"),
        (r"\.rel_pos\.rows$", ".rel_pos_h"),
        (r"\.rel_pos\.columns$", ".rel_pos_w"),
        (r"\.mlp\.fc(\d)\.", r".mlp.lin\1."),
        (r"\.(no_mask_embed|not_a_point_embed|iou_token|mask_tokens)$", r".\1.weight"),
        (r"^(.*)\.point_embed$", " + ".join(rf"\1.point_embed.{i}.weight" for i in range(KINDS))),
        (r"^mask_decoder\.transformer_", "mask_decoder.transformer."),
        (r"^(mask_decoder.*attn.*)\.(q|k|v)(?:uery|ey|alue)\.", r"\1.\2_proj."),
        (r"^(mask_decoder.*attn.*)\.proj\.", r"\1.out_proj."),
    )
    TORCH_OLD_NAMES = ()
    TORCH_OPTIONAL = "(?!)"

    def setup(self) -> None:
        """Create the frequencies, the neck, the prompt encoder and the decoder."""
        self.positional_embedding = self.param(
            "positional_embedding", nn.initializers.normal(1.0), (2, self.features // 2)
        )
        self.neck = Neck(self.features, self.dtype)
        self.prompt_encoder = PromptEncoder(self.features, self.encoder.image_size, self.mask_channels, self.dtype)
        self.mask_decoder = MaskDecoder(
            self.num_masks, self.decoder_depth, self.num_heads, self.hidden, self.iou_hidden, self.iou_depth, self.dtype
        )

    def __call__(
        self,
        x: jax.Array,
        points: jax.Array | None = None,
        labels: jax.Array | None = None,
        boxes: jax.Array | None = None,
        masks: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Segment what the prompts point at.

        Args:
          x: [B, S, S, 3], S the encoder's image size.
          points: [B, P, N, 2], x and y in pixels of N points of each of P objects.
          labels: [B, P, N] int, 1 for points on the object, 0 for points beside it, CORNERS for the two corners of a
            box, HIDDEN for padding; None: all are on it.
          boxes: [B, P, 4], x1, y1, x2, y2 in pixels, one of each object.
          masks: [B, S / 4, S / 4, 1], logits of an earlier mask, for patches of 16 pixels; 4 rows a patch.

        Returns:
          (logits [B, P, 1 + M, S / 4, S / 4], the single mask first; their predicted IoU [B, P, 1 + M]).
        """
        self._check(points, boxes, masks)
        return self.decode(self.encode(x), points, labels, boxes, masks)

    def encode(self, x: jax.Array) -> jax.Array:
        """Compute an image's map, once for all prompts: [B, S, S, 3], S the encoder's image size -> [B, h, w, D]."""
        return self.neck(self.encoder.features(x)[f"block{self.encoder.depth}"])

    def decode(
        self,
        image: jax.Array,
        points: jax.Array | None = None,
        labels: jax.Array | None = None,
        boxes: jax.Array | None = None,
        masks: jax.Array | None = None,
        has_mask: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Segment what the prompts point at in images whose maps are known.

        image [B, h, w, D], of `encode`; points as of a call; labels as of a call; boxes as of a call; masks as of a
        call; has_mask [B] bool, False where there is no earlier mask, and `masks` is padding (None: all have one) -> as
        a call.
        """
        logits, iou = self._decode(image, self.positional_embedding, points, labels, boxes, masks, has_mask)
        return logits, iou

    def _decode(
        self,
        image: jax.Array,
        prompt_frequencies: jax.Array,
        points: jax.Array | None,
        labels: jax.Array | None,
        boxes: jax.Array | None,
        masks: jax.Array | None,
        has_mask: jax.Array | None,
        fine_maps: Sequence[jax.Array] = (),
        detail: jax.Array | None = None,
    ) -> tuple[jax.Array, ...]:
        """Return what the mask decoder gives, [B, P, ...]."""
        self._check(points, boxes, masks)
        dtype = image.dtype
        if points is not None and labels is None:
            labels = jnp.ones(points.shape[:-1], jnp.int32)
        tokens, valid, dense = self.prompt_encoder(prompt_frequencies, points, labels, boxes, masks, has_mask)
        image = image + dense.astype(dtype)  # [B, h, w, D]
        height, width = image.shape[1:3]
        rows, columns = jnp.meshgrid(
            (jnp.arange(height) + 0.5) / height, (jnp.arange(width) + 0.5) / width, indexing="ij"
        )
        grid = jnp.stack([columns, rows], -1)
        image_positions = fourier_positions(grid, self.positional_embedding).reshape(-1, self.features)
        if tokens is None:
            tokens = jnp.zeros((len(image), 1, 0, self.features), dtype)
        batch, prompts, length, _ = tokens.shape
        tokens = tokens.reshape(batch * prompts, length, self.features).astype(dtype)
        valid = None if valid is None else valid.reshape(batch * prompts, length)
        image, *fine_maps = (jnp.repeat(x, prompts, 0) for x in (image, *fine_maps))
        detail = None if detail is None else jnp.repeat(detail, prompts, 0)
        outputs = self.mask_decoder(image, image_positions.astype(dtype), tokens, valid, fine_maps, detail)
        return tuple(to_acc_dtype(y.reshape(batch, prompts, *y.shape[1:])) for y in outputs)

    def _check(self, points: jax.Array | None, boxes: jax.Array | None, masks: jax.Array | None) -> None:
        if points is None and boxes is None and masks is None:
            raise ValueError("points=None: there is no prompt; allowed: points, boxes or masks")
        if points is not None and boxes is not None and points.shape[1] != boxes.shape[1]:
            raise ValueError(
                f"boxes.shape={boxes.shape}: other objects than points.shape={points.shape}; allowed: as many objects, "
                "the second axis"
            )
        if boxes is not None:
            check_boxes("boxes", boxes)
        side = 4 * (self.encoder.image_size // self.encoder.patch_size)
        if masks is not None and masks.shape[1:] != (side, side, 1):
            raise ValueError(f"masks.shape={masks.shape}: no mask prompt; allowed: [B, {side}, {side}, 1]")
