"""DETR for panoptic segmentation: a mask for each query, from its attention to the image and a pyramid of maps.

Carion et al., "End-to-end object detection with transformers" (2020), arXiv:2005.12872, section 4.4.

    A_q = softmax over heads and locations of Q q . K memory / sqrt(d)
    y = conv [tokens' map, A_q],   then three times   y = conv(enlarge(y) + conv1x1 map_k),   mask_q = conv y

Weights are those of transformers' DetrForSegmentation (`facebook/detr-resnet-50-panoptic`).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.detection.detr import DETR
from dlcore.detection.detr_names import DETR_NAMES, DETR_OLD_NAMES
from dlcore.detection.padding import token_positions
from dlcore.nn import Conv, Dense, GroupNorm
from dlcore.ops.resize import resize

__all__ = ["DETRSegmenter", "QueryMasks"]


class QueryMasks(NamedTuple):
    """Predictions of Q queries.

    Args:
      logits: [B, Q, C + 1], "no object" last.
      boxes: [B, Q, 4], center and size in shares of the image.
      masks: [B, h, w, Q], logits.
    """

    logits: jax.Array
    boxes: jax.Array
    masks: jax.Array


class DETRSegmenter(nn.Module):
    """A DETR and a head of masks.

    Args:
      detr: the detector, which reads the last stage of a backbone.
      stages: maps of the backbone that the masks read, the coarsest first.
    """

    detr: DETR
    stages: tuple[str, ...] = ("layer3", "layer2", "layer1")

    TORCH_NAMES = (
        (r"^detr\.", ""),
        (r"^mask_head_fpn_stages\.(\d)_", r"mask_head.fpn_stages.\1."),
        (r"\.refine_", ".refine."),
        (r"^mask_head_(conv\d)_", r"mask_head.\1."),
        (r"^(mask_head|bbox_attention)_", r"\1."),
        *DETR_NAMES,
    )
    TORCH_OLD_NAMES = (
        (r"^detr\.", ""),
        *DETR_OLD_NAMES,
        (r"^bbox_attention\.([qk])_linear\.", r"bbox_attention.\1_proj."),
        (r"^mask_head\.lay([12])\.", r"mask_head.conv\1.conv."),
        (r"^mask_head\.gn([12])\.", r"mask_head.conv\1.norm."),
        (r"^mask_head\.adapter(\d)\.", lambda m: f"mask_head.fpn_stages.{int(m[1]) - 1}.fpn_adapter."),
        (r"^mask_head\.lay(\d)\.", lambda m: f"mask_head.fpn_stages.{int(m[1]) - 3}.refine.conv."),
        (r"^mask_head\.gn(\d)\.", lambda m: f"mask_head.fpn_stages.{int(m[1]) - 3}.refine.norm."),
        (r"^mask_head\.out_lay\.", "mask_head.output_conv."),
    )
    TORCH_OPTIONAL = "(?!)"

    @nn.compact
    def __call__(self, x: jax.Array, image_size: jax.Array | None = None, train: bool = False) -> QueryMasks:
        """Predict classes, boxes and masks.

        Args:
          x: [B, H, W, C], images.
          image_size: [B, 2], height and width of images padded to H by W; None: images without padding.
          train: training mode of the backbone.

        Returns:
          Classes, boxes and masks of the queries.
        """
        states, memory, _, maps = self.detr.hidden_states(x, image_size, train)
        outputs, queries, dtype = self.detr.heads(states), states[:, -1], self.detr.dtype
        (batch, count, width), heads = queries.shape, self.detr.num_heads
        y = maps["input_projection"]  # [B, h, w, D]
        sides = y.shape[1:3]
        # Attention of each query to the image, of which the mask head reads the weights.
        q = Dense(width, dtype=dtype, name="bbox_attention_q_proj")(queries).reshape(batch, count, heads, -1)
        k = Dense(width, dtype=dtype, name="bbox_attention_k_proj")(memory).reshape(batch, memory.shape[1], heads, -1)
        scores = jnp.einsum("bqhd,bnhd->bqnh", q, k) * q.shape[-1] ** -0.5  # [B, Q, N, heads]
        _, mask, _ = token_positions(sides, x.shape[1:3], width, image_size)
        if mask is not None:
            scores = jnp.where(mask[:, 0, 0, None, :, None], scores, -jnp.inf)
        weights = nn.softmax(scores.reshape(batch, count, -1)).reshape(batch, count, *sides, heads)
        # Masks: one image a query, enlarged by the backbone's maps.
        y = jnp.broadcast_to(y[:, None], (batch, count, *y.shape[1:]))
        y = jnp.concatenate([y, weights.astype(y.dtype)], -1).reshape(batch * count, *sides, -1)
        y = self._convolve(self._convolve(y, y.shape[-1], "mask_head_conv1"), width // 2, "mask_head_conv2")
        for i, stage in enumerate(self.stages):
            name = f"mask_head_fpn_stages_{i}"
            added = Conv(y.shape[-1], (1, 1), dtype=dtype, name=f"{name}_fpn_adapter")(maps[stage])
            y = resize(y, added.shape[1:3], "nearest") + jnp.repeat(added, count, 0)
            y = self._convolve(y, width // 2 ** (i + 2), f"{name}_refine")
        y = Conv(1, (3, 3), padding=1, dtype=dtype, name="mask_head_output_conv")(y)
        masks = jnp.moveaxis(y.reshape(batch, count, *y.shape[1:3]), 1, -1)
        return QueryMasks(outputs.logits[:, -1], outputs.boxes[:, -1], masks)

    def _convolve(self, y: jax.Array, features: int, name: str) -> Any:
        """3x3 convolution, group norm and rectifier."""
        y = Conv(features, (3, 3), padding=1, dtype=self.detr.dtype, name=f"{name}_conv")(y)
        return nn.relu(GroupNorm(min(8, features), dtype=self.detr.dtype, name=f"{name}_norm")(y))
