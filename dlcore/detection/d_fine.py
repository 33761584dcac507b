"""D-FINE: RT-DETR whose decoder refines distributions over the sides of a box, and teaches its own earlier layers.

Peng et al. 2024, arXiv:2410.13842; the equations are in `dlcore.detection.distribution_refinement`.

    encoder      RT-DETR's (`dlcore.detection.hybrid_encoder`) with the fusions "elan"
    decoder      RT-DETR's layers, where a gate adds what deformable attention reads
    first layer  box b_0 by the sigmoid of a delta, as in RT-DETR
    each layer   z_l = z_{l-1} + MLP(h_l + h_{l-1}), distributions over shifts of the four sides of b_0; the next layer
                 looks at the box b_l of their means
    score        class logits plus a quality, a perceptron of the highest probabilities of the four distributions

Published weights are of transformers (ustc-community). Deviates: the authors join the matchings of all layers for the
losses of the boxes; here each layer has its own, as in transformers and `dlcore.detection.rt_detr`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.detection.denoising import Targets
from dlcore.detection.detr_names import QUERY_NAMES
from dlcore.detection.distribution_refinement import (
    RefinementWeights,
    refinement_losses,
    shift_sides,
    weighting_function,
)
from dlcore.detection.hybrid_encoder import HYBRID_NAMES, HybridEncoder
from dlcore.detection.query_blocks import BoxHead, DeformableDecoderLayer, inverse_sigmoid
from dlcore.detection.query_losses import QueryCosts, QueryWeights, query_learner
from dlcore.detection.resnet_d import RESNET_D_NAMES
from dlcore.detection.rt_detr import RTDETR
from dlcore.learner import Learner, Range, check_arguments
from dlcore.models.hgnet import HGNET_V2_NAMES
from dlcore.ops.precision import acc_dtype_of

__all__ = ["DFINE", "FineOutputs", "learner"]


class FineOutputs(NamedTuple):
    """Predictions of Q queries: of the proposals, of b_0, and of each decoder layer, the last layer last.

    Args:
      logits: [B, 2 + layers, Q, C].
      boxes: [B, 2 + layers, Q, 4], center and size in fractions of the image's sides.
      side_logits: [B, layers, Q, 4, bins + 1], distributions over the shifts of the sides.
      initial_boxes: [B, Q, 4], b_0, whose sides are shifted.
      values: [B, bins + 1], the shifts.
      noisy_logits: [B, 1 + layers, D, C], of the denoising queries; D = 0 outside training.
      noisy_boxes: [B, 1 + layers, D, 4].
      noisy_side_logits: [B, layers, D, 4, bins + 1].
      noisy_initial_boxes: [B, D, 4].
    """

    logits: jax.Array
    boxes: jax.Array
    side_logits: jax.Array
    initial_boxes: jax.Array
    values: jax.Array
    noisy_logits: jax.Array
    noisy_boxes: jax.Array
    noisy_side_logits: jax.Array
    noisy_initial_boxes: jax.Array


class DFINE(RTDETR):
    """Backbone, hybrid encoder, query selection and a decoder of distributions.

    Args:
      num_points: points that each head reads on each level.
      encoder_blocks: blocks of each half of a fusion of the encoder.
      num_bins: N, even; a distribution has N + 1 shifts.
      reg_scale: 1 / c, the flatness of the shifts near 0, at initialization; published weights bring their own.
      up: a, half the largest shift in sides of a box, at initialization; published weights bring their own.
      num_probabilities: highest probabilities of each side that the quality reads.
      quality_features: units of the perceptron of the quality.
      quality_layers: its layers.
    """

    num_points: tuple[int, ...] = (3, 6, 3)
    encoder_blocks: Annotated[int, Range(0)] = 3
    num_bins: Annotated[int, Range(4)] = 32
    reg_scale: Annotated[float, Range(0.01)] = 4.0
    up: Annotated[float, Range(0.01)] = 0.5
    num_probabilities: Annotated[int, Range(1)] = 4
    quality_features: Annotated[int, Range(1)] = 64
    quality_layers: Annotated[int, Range(1)] = 2

    TORCH_NAMES = (
        (r"^(reg_scale|up)$", r"model.decoder.\1"),
        (r"^lqe_layers\.(\d+)\.", r"model.decoder.lqe_layers.\1.reg_conf."),
        (r"^pre_bbox_head\.", "model.decoder.pre_bbox_head."),
        *(rule for rule in RTDETR.TORCH_NAMES if rule not in (*RESNET_D_NAMES, *HYBRID_NAMES, *QUERY_NAMES)),
        *HGNET_V2_NAMES,
        *HYBRID_NAMES,
        *QUERY_NAMES,
        (r"\.mlp\.fc1\.", ".mlp.layers.0."),
        (r"\.mlp\.fc2\.", ".mlp.layers.1."),
    )
    TORCH_OLD_NAMES = (
        *RTDETR.TORCH_OLD_NAMES,
        (r"(\.layers\.\d+)\.(?:mlp\.)?fc1\.", r"\1.mlp.layers.0."),
        (r"(\.layers\.\d+)\.(?:mlp\.)?fc2\.", r"\1.mlp.layers.1."),
    )
    TORCH_OPTIONAL = r"(num_points_scale|num_batches_tracked)$"

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, targets: Targets | None = None
    ) -> tuple[FineOutputs, np.ndarray]:
        """Predict a set of boxes.

        x [B, H, W, C], sides multiples of the coarsest stride; targets, true boxes, of which denoising queries are made
        (None: none) -> (outputs, (W, H, W, H): what turns their boxes into pixels).
        """
        # The shifts are no parameters: nothing trains them, but published weights have them.
        scale, up = (
            self.variable("batch_stats", name, jnp.full, (1,), getattr(self, name)).value[0]
            for name in ("reg_scale", "up")
        )
        values = weighting_function(self.num_bins, jnp.abs(up), 1 / jnp.abs(scale))
        if self.num_probabilities > self.num_bins + 1:
            allowed = f"at most num_bins + 1 = {self.num_bins + 1}"
            raise ValueError(f"num_probabilities={self.num_probabilities}: too many; allowed: {allowed}")
        memory, shapes = self._memory(x, train)  # [B, N, D]
        proposals, queries, reference, mask = self._queries(memory, shapes, targets if train else None)
        # Decoder: each layer adds to the distributions.
        query_pos_head, side_heads = self._position_head(), self._side_heads()
        side_logits, previous, states, distributions = 0.0, 0.0, [], []
        initial = reference
        for i in range(self.decoder_layers):
            layer = self._decoder_layer(i)
            position = jnp.clip(query_pos_head(reference.astype(queries.dtype)), -10, 10)
            queries = layer(queries, position, reference[:, :, None], memory, shapes, mask=mask, train=train)
            acc_dtype = acc_dtype_of(queries.dtype)
            logits = self._class_head(f"class_embed_{i}")(queries).astype(acc_dtype)
            if i == 0:
                delta = BoxHead(self.features, dtype=self.dtype, name="pre_bbox_head")(queries).astype(acc_dtype)
                boxes = nn.sigmoid(delta + inverse_sigmoid(reference.astype(acc_dtype)))
                states.append((logits, boxes))
                initial = jax.lax.stop_gradient(boxes)
            shifts = side_heads[i](queries + previous).astype(acc_dtype)
            side_logits = shifts.reshape(*shifts.shape[:2], 4, -1) + side_logits  # [B, Q, 4, N + 1]
            boxes = shift_sides(initial, side_logits, values)
            states.append((logits + self._quality(side_logits, f"lqe_layers_{i}"), boxes))
            distributions.append(side_logits)
            reference, previous = jax.lax.stop_gradient((boxes, queries))
        logits, boxes = (jnp.stack(parts, 1) for parts in zip(*states, strict=True))
        side_logits = jnp.stack(distributions, 1)
        count = boxes.shape[2] - self.num_queries  # denoising queries
        sides = np.tile(np.array(x.shape[2:0:-1], np.float32), 2)
        outputs = FineOutputs(
            jnp.concatenate([proposals.logits[:, None], logits[:, :, count:]], 1),
            jnp.concatenate([proposals.boxes[:, None], boxes[:, :, count:]], 1),
            side_logits[:, :, count:],
            initial[:, count:],
            jnp.broadcast_to(values, (x.shape[0], self.num_bins + 1)),
            logits[:, :, :count],
            boxes[:, :, :count],
            side_logits[:, :, :count],
            initial[:, :count],
        )
        return outputs, sides

    def _encoder(self, **fields: Any) -> HybridEncoder:
        return super()._encoder(**{"fusion": "elan", "num_blocks": self.encoder_blocks} | fields)

    def _decoder_layer(self, i: int, **fields: Any) -> DeformableDecoderLayer:
        return super()._decoder_layer(i, **{"gated": True} | fields)

    def _position_head(self) -> BoxHead:
        return BoxHead(2 * self.features, self.features, 2, dtype=self.dtype, name="query_pos_head")

    def _side_heads(self) -> list[BoxHead]:
        outputs = 4 * (self.num_bins + 1)
        names = [f"bbox_embed_{i}" for i in range(self.decoder_layers)]
        return [BoxHead(self.features, outputs, dtype=self.dtype, name=name) for name in names]

    def _levels(self, maps: Sequence[jax.Array], norm: Any) -> list[jax.Array]:
        """Maps of the encoder as they are, where the decoder has as many features."""
        if self.num_levels != len(maps):
            raise ValueError(f"num_levels={self.num_levels}: not the encoder's; allowed: {len(maps)}")
        return list(maps) if self.features == self.encoder_features else super()._levels(maps, norm)

    def _quality(self, side_logits: jax.Array, name: str) -> jax.Array:
        """Logit of the quality of a box, [B, Q, 4, N + 1] -> [B, Q, 1]: narrow distributions are sure."""
        best, _ = jax.lax.top_k(nn.softmax(side_logits), self.num_probabilities)
        statistics = jnp.concatenate([best, best.mean(-1, keepdims=True)], -1)
        statistics = statistics.reshape(*statistics.shape[:2], -1)
        return BoxHead(self.quality_features, 1, self.quality_layers, dtype=self.dtype, name=name)(statistics)


@check_arguments
def learner(
    *,
    model: DFINE,
    optimizer: optax.GradientTransformation,
    preprocess: Any = lambda image: image,
    augment: Any = None,
    costs: QueryCosts = QueryCosts(),
    weights: QueryWeights = QueryWeights(),
    refinement: RefinementWeights = RefinementWeights(),
    classification: Literal["focal", "varifocal"] = "varifocal",
    auxiliary: bool = True,
    score_thresh: Annotated[float, Range(0, 1)] = 0.05,
    detections_per_img: Annotated[int, Range(1)] = 100,
) -> Learner:
    """Train D-FINE on the batches of `dlcore.detection.dense.detector_learner`.

    Args:
      model: a `DFINE`.
      optimizer: any optax transformation; the paper clips the gradient's norm to 0.1.
      costs: weights of the matching.
      weights: weights of the losses of classes and boxes.
      refinement: weights of the losses of the distributions.
      classification: loss of the classes, focal or varifocal.
      auxiliary: take the loss of the proposals and of every decoder layer, not of the last alone.
      score_thresh: least score of a detection.
      detections_per_img: K, detections of an image at most.
    """
    return query_learner(
        model=model,
        optimizer=optimizer,
        preprocess=preprocess,
        augment=augment,
        costs=costs,
        weights=weights,
        classification=classification,
        auxiliary=auxiliary,
        score_thresh=score_thresh,
        detections_per_img=detections_per_img,
        more_losses=partial(refinement_losses, weights=refinement),
    )
