"""PP-DocLayoutV4: RT-DETR for the layout of pages, whose objects are quadrilaterals in reading order.

PaddlePaddle's, without a paper; RT-DETR is Zhao et al. 2023, arXiv:2304.08069.

    quad         (x, y, 0.5 + (dx, dy) of four corners), ten numbers; each layer adds to their inverse sigmoids
    look         deformable attention around (x, y, max dx - min dx, max dy - min dy)
    successor    S = q_S(z) k_S(z)^T / sqrt(h), -10^4 on the diagonal: j directly follows i
    relative     R = A - A^T + w (C - C^T),  A = q_R(z) k_R(z)^T / sqrt(h): i is read before j
    closure      C = sum_{k = 1}^{steps} d^(k - 1) P^k,   P = sigmoid(S) off the diagonal, rows over max(1, their sum)

For inference alone, as in transformers: there are no denoising queries.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.detection.detr_names import QUERY_NAMES
from dlcore.detection.hybrid_encoder import HYBRID_NAMES
from dlcore.detection.query_blocks import BoxHead, inverse_sigmoid
from dlcore.detection.resnet_d import RESNET_D_NAMES
from dlcore.detection.rt_detr import RTDETR, select_queries
from dlcore.learner import Range
from dlcore.models.hgnet import HGNET_V2_NAMES
from dlcore.nn import Dense
from dlcore.nn.deformable_encoder import grid_centers
from dlcore.ops.precision import acc_dtype_of

__all__ = ["DocLayout", "LayoutOutputs"]


class LayoutOutputs(NamedTuple):
    """Predictions of Q queries by the proposals and after each decoder layer, the last layer last.

    Args:
      logits: [B, 1 + layers, Q, C].
      boxes: [B, 1 + layers, Q, 4], center and size in fractions of the image's sides.
      quads: [B, 1 + layers, Q, 10], center and, plus 0.5, the offsets of four corners from it.
      successor: [B, Q, Q], logits of "query j directly follows query i".
      relative: [B, Q, Q], logits of "query i is read before query j".
    """

    logits: jax.Array
    boxes: jax.Array
    quads: jax.Array
    successor: jax.Array
    relative: jax.Array


class DocLayout(RTDETR):
    """Backbone, hybrid encoder, query selection, decoder and reading order.

    Args:
      order_features: h, features of the reading order.
      closure_steps: steps of the closure.
      closure_decay: d.
    """

    num_denoising: Annotated[int, Range(0, 0)] = 0
    order_features: Annotated[int, Range(1)] = 64
    closure_steps: Annotated[int, Range(1)] = 3
    closure_decay: float = 0.5

    TORCH_NAMES = (
        (r"^(successor|relative)_(proj\.\d+)\.", r"model.decoder.\1_order_head.\2."),
        (r"^(successor|relative)_(q|k)_proj\.", r"model.decoder.\1_order_head.global_pointer.\2_proj."),
        (r"^closure_weight$", "model.decoder.relative_order_head.s2r_fusion.closure_weight"),
        *(rule for rule in RTDETR.TORCH_NAMES if rule not in (*RESNET_D_NAMES, *HYBRID_NAMES, *QUERY_NAMES)),
        *HGNET_V2_NAMES,
        *HYBRID_NAMES,
        *QUERY_NAMES,
    )
    TORCH_OPTIONAL = rf"order_head\.proj\.\d+\.|^model\.denoising_class_embed|{RTDETR.TORCH_OPTIONAL}"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> tuple[LayoutOutputs, np.ndarray]:
        """Predict a set of quadrilaterals: x [B, H, W, C] -> (outputs, (W, H, W, H): what turns boxes into pixels)."""
        memory, shapes = self._memory(x, train)  # [B, N, D]
        bias, anchors = float(-np.log(self.num_classes)), quad_anchors(shapes)
        proposals = select_queries(
            memory, shapes, self.num_queries, self.num_classes, bias, self.dtype, anchors=anchors
        )
        queries, quads = proposals.memory, proposals.boxes
        states = [(proposals.logits, quads)]
        position_head = BoxHead(2 * self.features, self.features, 2, dtype=self.dtype, name="query_pos_head")
        for i in range(self.decoder_layers):
            position, reference = position_head(quads.astype(queries.dtype)), quad_boxes(quads)[:, :, None]
            queries = self._decoder_layer(i)(queries, position, reference, memory, shapes, train=train)
            delta = BoxHead(self.features, 10, dtype=self.dtype, name=f"bbox_embed_{i}")(queries)
            quads = nn.sigmoid(delta.astype(acc_dtype_of(delta.dtype)) + inverse_sigmoid(quads))
            states.append((self._class_head(f"class_embed_{i}")(queries).astype(quads.dtype), quads))
            quads = jax.lax.stop_gradient(quads)
        logits, quads = (jnp.stack(parts, 1) for parts in zip(*states, strict=True))
        successor = self._pairs(queries, "successor") - 1e4 * jnp.eye(self.num_queries)
        relative = self._pairs(queries, "relative")
        # Reading order: the chains of successors add to the relations of pairs.
        probs = nn.sigmoid(successor) * (1 - jnp.eye(self.num_queries))
        probs = probs / jnp.maximum(probs.sum(-1, keepdims=True), 1)
        closure = power = probs
        for _ in range(self.closure_steps - 1):
            power = self.closure_decay * probs @ power
            closure = closure + power
        weight = self.param("closure_weight", nn.initializers.zeros, (1,))
        relative = relative - relative.mT + weight * (closure - closure.mT)
        sides = np.tile(np.array(x.shape[2:0:-1], np.float32), 2)
        return LayoutOutputs(logits, quad_boxes(quads), quads, successor, relative), sides

    def _pairs(self, queries: jax.Array, name: str) -> jax.Array:
        """Scores of pairs of queries, [B, Q, D] -> [B, Q, Q]."""

        def dense(features: int, what: str, y: jax.Array) -> jax.Array:
            return Dense(features, dtype=self.dtype, name=f"{name}_{what}")(y)

        y = dense(self.features, f"proj_{self.decoder_layers - 1}", queries)
        q, k = (dense(self.order_features, f"{what}_proj", y) for what in "qk")
        return (q @ k.mT).astype(acc_dtype_of(q.dtype)) * self.order_features**-0.5


def quad_anchors(shapes: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Build a square around each location.

    Args:
      shapes: (rows, columns) of each level.

    Returns:
      [N, 10], quads of a side of 0.05 on the first level, and twice as large on each that follows.
    """
    level = np.repeat(np.arange(len(shapes)), [rows * columns for rows, columns in shapes])
    signs = np.array([-1, -1, 1, -1, 1, 1, -1, 1])
    corners = 0.5 + 0.025 * 2.0 ** level[:, None] * signs
    return np.concatenate([grid_centers(shapes), corners.astype(np.float32)], -1)


def quad_boxes(quads: jax.Array) -> jax.Array:
    """Compute boxes around quadrilaterals.

    Args:
      quads: [..., 10].

    Returns:
      [..., 4], the predicted center and the extent of the corners.
    """
    corners = quads[..., 2:].reshape(*quads.shape[:-1], 4, 2)
    return jnp.concatenate([quads[..., :2], corners.max(-2) - corners.min(-2)], -1)
