"""LW-DETR and RF-DETR: a windowed ViT, a projector in place of an encoder, and a shallow deformable decoder.

Chen et al. 2024, arXiv:2406.03459; Robinson et al. 2025, arXiv:2511.09554.

    projector   of each scale: maps of several blocks, resized and joined, through a cross-stage-partial layer (C2F)
    proposals   each location proposes a box; the best Q, refined by learned offsets, are the boxes of all layers
    box         of (dx, dy, dw, dh) on a reference (x, y, w, h): (x + w dx, y + h dy, w exp(dw), h exp(dh))
    groups      in training G groups of Q queries each, which do not see each other (Group DETR, arXiv:2207.13085)

LW-DETR's backbone is a plain ViT and its projector has batch norms; RF-DETR's is a DINOv2, with layer norms.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.detection.dense import named_maps
from dlcore.detection.detr import Outputs
from dlcore.detection.detr_names import QUERY_NAMES
from dlcore.detection.padding import pixel_mask
from dlcore.detection.query_blocks import BoxHead, DeformableDecoderLayer
from dlcore.detection.windowed_vit import WINDOWED_NAMES, WINDOWED_OLD_NAMES
from dlcore.learner import Range
from dlcore.nn import BatchNorm, Conv, ConvTranspose, Dense, LayerNorm
from dlcore.nn.deformable_encoder import flatten_maps, grid_centers
from dlcore.nn.position import sinusoidal_encoding
from dlcore.ops.precision import to_acc_dtype

__all__ = ["LWDETR", "ScaleProjector", "refine_boxes"]

PRIOR = float(-np.log(99))
"""Bias of the classes' logits at first: a chance of 0.01."""


def refine_boxes(reference: jax.Array, delta: jax.Array) -> jax.Array:
    """Move and scale boxes in units of their sides.

    Args:
      reference: [..., 4], center and size.
      delta: [..., 4], of the center in sides, and the logarithm of the factor of each side.

    Returns:
      [..., 4].
    """
    reference, delta = to_acc_dtype(reference), to_acc_dtype(delta)
    size = reference[..., 2:]
    return jnp.concatenate([reference[..., :2] + delta[..., :2] * size, jnp.exp(delta[..., 2:]) * size], -1)


class _ConvNorm(nn.Module):
    """Convolution without a bias, a norm, and an activation: [B, H, W, C] -> [B, H', W', features]."""

    features: int
    side: int = 1
    stride: int = 1
    norm_epsilon: float | None = None
    activation: Any = nn.silu
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        sides, padding = (self.side, self.side), self.side // 2
        x = Conv(self.features, sides, self.stride, padding=padding, use_bias=False, dtype=self.dtype, name="conv")(x)
        if self.norm_epsilon is None:
            return self.activation(BatchNorm(not train, dtype=self.dtype, name="norm")(x))
        return self.activation(LayerNorm(self.norm_epsilon, dtype=self.dtype, name="norm")(x))


class ScaleProjector(nn.Module):
    """Project maps of several blocks to one map of another scale: L x [B, h, w, C] -> [B, s h, s w, features].

    Args:
      features: D.
      scale: s, 2, 1 or 0.5.
      hidden_features: channels of each half of the cross-stage-partial layer.
      num_blocks: pairs of convolutions on the second half.
      norm_epsilon: epsilon of layer norms behind convolutions; None for batch norms.
    """

    features: int
    scale: float = 1.0
    hidden_features: int = 128
    num_blocks: int = 3
    norm_epsilon: float | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array], train: bool = False) -> jax.Array:
        """Project the maps.

        Args:
          maps: [B, h, w, C] each, of the backbone's blocks.
          train: use the batch's statistics in batch norms.

        Returns:
          [B, scale h, scale w, features].
        """
        conv = partial(_ConvNorm, norm_epsilon=self.norm_epsilon, dtype=self.dtype)

        def resample(x: jax.Array, name: str) -> jax.Array:
            width = x.shape[-1]
            if self.scale == 0.5:
                return conv(width, 3, 2, activation=nn.relu, name=f"{name}_layers_0")(x, train)
            if self.scale == 1:
                return x
            is_wide = width > 512
            if is_wide:
                x = conv(width // 2, activation=nn.relu, name=f"{name}_layers_0")(x, train)
            up = partial(ConvTranspose, x.shape[-1] // 2, (2, 2), 2, 0, dtype=self.dtype)
            return up(name=f"{name}_layers_{int(is_wide)}")(x)

        x = jnp.concatenate([resample(x, f"sampling_layers_{i}") for i, x in enumerate(maps)], -1)
        # C2F: every block's output is kept.
        parts = jnp.split(conv(2 * self.hidden_features, name="projector_layer_conv1")(x, train), 2, axis=-1)
        for i in range(self.num_blocks):
            y = parts[-1]
            for layer in ("conv1", "conv2"):
                y = conv(self.hidden_features, 3, name=f"projector_layer_bottlenecks_{i}_{layer}")(y, train)
            parts.append(y)
        x = conv(self.features, name="projector_layer_conv2")(jnp.concatenate(parts, -1), train)
        return LayerNorm(1e-6, dtype=self.dtype, name="layer_norm")(x)


class LWDETR(nn.Module):
    """Backbone, projector, decoder, and the heads that all queries share.

    Args:
      num_classes: C.
      stages: maps of the backbone that the projector reads.
      scales: scale of each level over the backbone's maps: 2, 1 or 0.5.
      num_queries: Q, at least the objects of an image.
      num_groups: G, groups of queries in training.
      features: number of features of tokens and queries, a multiple of 4.
      num_heads: number of heads of each self-attention.
      cross_heads: number of heads of each deformable attention.
      hidden_features: width of each perceptron of the decoder.
      decoder_layers: layers on the queries.
      num_points: points that each head reads on each level.
      expansion: ratio of the projector's hidden channels to `features`.
      projector_blocks: blocks of each scale's projector.
      norm_epsilon: epsilon of the projector's layer norms (RF-DETR); None for batch norms.
      dropout_rate: dropout rate in training.
    """

    backbone: nn.Module
    num_classes: int
    stages: tuple[str, ...] = ("block2", "block4", "block5", "block9")
    scales: tuple[float, ...] = (1.0,)
    num_queries: Annotated[int, Range(1)] = 300
    num_groups: Annotated[int, Range(1)] = 13
    features: Annotated[int, Range(4)] = 256
    num_heads: Annotated[int, Range(1)] = 8
    cross_heads: Annotated[int, Range(1)] = 16
    hidden_features: Annotated[int, Range(1)] = 2048
    decoder_layers: Annotated[int, Range(1)] = 3
    num_points: Annotated[int, Range(1)] = 4
    expansion: float = 0.5
    projector_blocks: Annotated[int, Range(0)] = 3
    norm_epsilon: float | None = None
    dropout_rate: Annotated[float, Range(0, 1)] = 0.0
    dtype: Any = None

    TORCH_NAMES = (
        (r"^(enc_out\w*|decoder|query_feat|reference_point_embed|projector)(?=[._])", r"model.\1"),
        (r"^model\.(query_feat|reference_point_embed)_weight$", r"model.\1.weight"),
        (r"^model\.projector\.", "model.backbone.projector.scale_layers."),
        (r"\.projector_layer_", ".projector_layer."),
        (r"\.(bottlenecks\.\d+|sampling_layers\.\d+)_", r".\1."),
        (r"^model\.decoder_(\w+)\.", r"model.decoder.\1."),
        *QUERY_NAMES,
        (r"\.(encoder_attn)(?=[._])", ".cross_attn"),
        (r"(decoder\.layers\.\d+)\.final_layer_norm\.", r"\1.layer_norm."),
        *((pattern.replace("^", r"^backbone\."), f"backbone.{new}") for pattern, new in WINDOWED_NAMES[:4]),
        (r"^backbone\.", "model.backbone.backbone."),
        *WINDOWED_NAMES[4:],
    )
    TORCH_OLD_NAMES = (
        *WINDOWED_OLD_NAMES,
        (r"^(model\.backbone\.projector)\.(?=projector_layer\.|layer_norm\.)", r"\1.scale_layers.0."),
    )
    TORCH_OPTIONAL = r"mask_token$"

    @property
    def EXAMPLE_SIDE(self) -> int:  # noqa: N802
        """Side in pixels of an image that has as many locations as there are queries."""
        size = self.backbone.image_size
        return size * math.ceil(self.num_queries**0.5 * self.backbone.patch_size / size / max(self.scales))

    takes_image_size = True
    """Whether the call takes the sizes of padded images, as `dlcore.detection.dense.predict_locations` asks."""

    def __call__(
        self, x: jax.Array, image_size: jax.Array | None = None, train: bool = False
    ) -> tuple[Outputs, np.ndarray | jax.Array]:
        """Predict a set of boxes.

        x [B, H, W, C]; image_size [B, 2], height and width of images padded to H by W (None: images without padding) ->
        (outputs, of the proposals first, then of each layer, their logits without "no object", in training of G Q
        queries; (W, H, W, H): what turns their boxes into pixels; [B, 4] of padded images).
        """
        outputs, _, _ = self.predict(x, image_size, train)
        if image_size is None:
            return outputs, np.tile(np.array(x.shape[2:0:-1], np.float32), 2)
        return outputs, jnp.tile(image_size[:, ::-1], 2).astype(jnp.float32)

    @nn.compact
    def predict(
        self, x: jax.Array, image_size: jax.Array | None = None, train: bool = False
    ) -> tuple[Outputs, jax.Array, jax.Array]:
        """Predict a set of boxes, and return what a head of masks reads.

        x, image_size as `__call__` -> (outputs, queries after each decoder layer [B, layers, Q, D], the first level's
        map [B, h, w, D]).
        """
        maps = named_maps(self.backbone.features(x, train=train), self.stages)
        hidden = int(self.features * self.expansion)
        project = partial(ScaleProjector, self.features, hidden_features=hidden, num_blocks=self.projector_blocks)
        project = partial(project, norm_epsilon=self.norm_epsilon, dtype=self.dtype)
        levels = [project(scale=s, name=f"projector_{i}")(maps, train) for i, s in enumerate(self.scales)]
        memory, shapes = flatten_maps(levels)  # [B, N, D]
        mask, ratio = None, jnp.ones((1, len(shapes), 2))
        if image_size is not None:
            masks = [pixel_mask(image_size, s, (x.shape[1] // s[0], x.shape[2] // s[1])) for s in shapes]
            counts = [jnp.stack([m[:, 0].mean(1), m[:, :, 0].mean(1)], -1) for m in masks]
            mask, ratio = jnp.concatenate([m.reshape(len(m), -1) for m in masks], 1), jnp.stack(counts, 1)
        # Anchors: a box around each location, larger on coarser levels.
        level = np.repeat(np.arange(len(shapes)), [rows * columns for rows, columns in shapes])
        centers = jnp.asarray(grid_centers(shapes)) / ratio[:, level]
        centers = jnp.broadcast_to(centers, (len(x), *centers.shape[1:]))
        size = jnp.broadcast_to(jnp.asarray(0.05 * 2.0**level, jnp.float32)[:, None], centers.shape)
        anchors = jnp.concatenate([centers, size], -1)  # [B, N, 4]
        valid = ((anchors > 0.01) & (anchors < 0.99)).all(-1, keepdims=True)
        valid = valid if mask is None else valid & mask[..., None]
        anchors, tokens = jnp.where(valid, anchors, 0), jnp.where(valid, memory, 0)
        # Proposals: the best Q of each group; outside training the first group's.
        groups = self.num_groups if train else 1
        prior = nn.initializers.constant(PRIOR)
        classes = partial(Dense, self.num_classes, dtype=self.dtype, bias_init=prior)
        box_head = partial(BoxHead, self.features, dtype=self.dtype)
        proposals = []
        for i in range(self.num_groups if train or self.is_initializing() else 1):
            y = Dense(self.features, dtype=self.dtype, name=f"enc_output_{i}")(tokens)
            y = LayerNorm(dtype=self.dtype, name=f"enc_output_norm_{i}")(y)
            logits = classes(name=f"enc_out_class_embed_{i}")(y).astype(jnp.float32)
            boxes = refine_boxes(anchors, box_head(name=f"enc_out_bbox_embed_{i}")(y).astype(jnp.float32))
            _, best = jax.lax.top_k(jnp.where(valid, logits, -jnp.inf).max(-1), self.num_queries)  # [B, Q]
            proposals.append(tuple(jnp.take_along_axis(a, best[..., None], 1) for a in (logits, boxes)))
        logits, boxes = (jnp.concatenate(parts, 1) for parts in zip(*proposals[:groups], strict=True))
        # Queries: learned contents, and proposals moved by learned offsets.
        count, total = groups * self.num_queries, self.num_groups * self.num_queries
        offsets = self.param("reference_point_embed_weight", nn.initializers.zeros, (total, 4))[:count]
        reference = refine_boxes(jax.lax.stop_gradient(boxes), offsets)  # [B, G Q, 4]
        contents = self.param("query_feat_weight", nn.initializers.normal(1.0), (total, self.features))[:count]
        queries = jnp.broadcast_to(contents, (len(x), *contents.shape)).astype(memory.dtype)
        group = np.arange(count) // self.num_queries
        group_mask = None if groups == 1 else jnp.asarray(group[:, None] == group)
        references = reference[:, :, None] * jnp.tile(ratio, 2)[:, None]  # [B, G Q, levels, 4]
        yxwh = references[:, :, 0, jnp.array([1, 0, 2, 3])]
        sines = sinusoidal_encoding(2 * np.pi * yxwh, self.features // 2).reshape(*queries.shape[:2], -1)
        init = nn.initializers.xavier_uniform()
        point_head = BoxHead(self.features, self.features, 2, init, self.dtype, name="decoder_ref_point_head")
        query_pos = point_head(sines.astype(memory.dtype))
        norm, states = LayerNorm(dtype=self.dtype, name="decoder_layernorm"), []
        for i in range(self.decoder_layers):
            layer = DeformableDecoderLayer(
                self.num_heads,
                self.hidden_features,
                self.num_points,
                dropout_rate=self.dropout_rate,
                dtype=self.dtype,
                cross_heads=self.cross_heads,
                name=f"decoder_{i}",
            )
            queries = layer(queries, query_pos, references, memory, shapes, mask, group_mask, train)
            states.append(norm(queries))
        hs = jnp.stack(states, 1)  # [B, layers, G Q, D]
        delta = box_head(name="bbox_embed")(hs).astype(jnp.float32)
        logits = jnp.concatenate([logits[:, None], classes(name="class_embed")(hs).astype(jnp.float32)], 1)
        boxes = jnp.concatenate([boxes[:, None], refine_boxes(reference[:, None], delta)], 1)
        return Outputs(logits, boxes), hs, levels[0]
