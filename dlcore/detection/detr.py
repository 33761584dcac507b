"""DETR: a transformer turns learned queries into a set of boxes, and each true box is matched to one of them.

Carion et al. 2020, arXiv:2005.12872.

    tokens    locations of a backbone's map; encoder: self-attention with sines of row and column on queries and keys
    decoder   Q queries, all zero at first, with learned positions: self-attention, attention to the tokens, perceptron
    outputs   of each query and each decoder layer: C classes and "no object", and a box (cx, cy, w, h) in image sides
    match     distinct queries q_m with least sum_m [ -p(c_m) + 5 |b - b_m|_1 - 2 GIoU(b, b_m) ]
    L         sum_q w_q CE_q / sum_q w_q + 1/N sum_m [ 5 |b - b_m|_1 + 2 (1 - GIoU(b, b_m)) ],   w = 0.1 for no object

The loss is taken at every decoder layer, each with a matching of its own (auxiliary losses); N is the number of boxes
of the whole batch, over all devices. There is no suppression: the self-attention of the decoder keeps two queries from
the same object. Attention maps are in the collection "intermediates", as `cross_attn/weights` of each decoder layer.
"""

from functools import partial
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.detection.anchors import check_targets
from dlcore.detection.dense import best_detections, check_postprocess, detector_learner, named_maps
from dlcore.detection.detr_names import DETR_NAMES, DETR_OLD_NAMES
from dlcore.detection.padding import ImageSize, token_positions
from dlcore.learner import Learner, Range, check_arguments
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.losses.detection import generalized_iou_loss
from dlcore.metrics.detection import cardinality_error
from dlcore.nn import Conv, Dense, LayerNorm, TransformerDecoderBlock, TransformerEncoderBlock
from dlcore.ops.assignment import assign
from dlcore.ops.boxes import box_convert, clip_boxes, generalized_box_iou
from dlcore.ops.checks import check_class_ids, check_shapes
from dlcore.ops.precision import acc_dtype_of

__all__ = ["DETR", "LossWeights", "MatchingCosts", "Outputs", "image_losses", "learner", "match", "postprocess"]


class Outputs(NamedTuple):
    """Predictions of Q queries after each decoder layer, the last layer last.

    Args:
      logits: [B, layers, Q, C + 1], "no object" last.
      boxes: [B, layers, Q, 4], center and size in shares of the image.
    """

    logits: jax.Array
    boxes: jax.Array


class DETR(nn.Module):
    """Backbone, transformer, and the heads that all queries share.

    Args:
      num_classes: C.
      stage: stage of the backbone whose locations are the tokens.
      num_queries: Q, at least the objects of an image.
      features: number of features of tokens and queries, a multiple of 4 and of the heads.
      num_heads: number of heads of each attention.
      hidden_features: width of each perceptron.
      encoder_layers: blocks on the tokens.
      decoder_layers: blocks on the queries.
      pre_norm: normalize the input of each branch instead of the sum after it.
      dropout_rate: dropout rate in training, of the attentions' weights and outputs and of the perceptrons.
    """

    map_fields: ClassVar[tuple[str, ...]] = ("stage",)

    backbone: nn.Module
    num_classes: int
    stage: str = "layer4"
    num_queries: Annotated[int, Range(1)] = 100
    features: Annotated[int, Range(4)] = 256
    num_heads: Annotated[int, Range(1)] = 8
    hidden_features: Annotated[int, Range(1)] = 2048
    encoder_layers: Annotated[int, Range(0)] = 6
    decoder_layers: Annotated[int, Range(1)] = 6
    pre_norm: bool = False
    dropout_rate: Annotated[float, Range(0, 1)] = 0.1
    dtype: Any = None

    TORCH_NAMES = DETR_NAMES
    TORCH_OLD_NAMES = DETR_OLD_NAMES

    takes_image_size = True
    """Whether the call takes the sizes of padded images, as `dlcore.detection.dense.predict_locations` asks."""

    @nn.compact
    def __call__(
        self, x: jax.Array, image_size: jax.Array | None = None, train: bool = False
    ) -> tuple[Outputs, np.ndarray | jax.Array]:
        """Predict a set of boxes.

        Args:
          x: [B, H, W, C].
          image_size: [B, 2], height and width of images padded to H by W: no token attends to the padding, and the
            sines of rows and columns count the image's alone. None for images without padding.

        Returns:
          (outputs, (W, H, W, H): what turns their boxes into pixels; [B, 4] of padded images, by their own sides).
        """
        hs, _, sides, _ = self.hidden_states(x, image_size, train)
        return self.heads(hs), sides

    @nn.compact
    def heads(self, hs: jax.Array) -> Outputs:
        """Predict classes and boxes.

        Args:
          hs: [B, layers, Q, D], queries after each decoder layer.

        Returns:
          Predictions of each layer.
        """
        dense = partial(Dense, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform())
        # Class and box heads, shared by all decoder layers.
        logits = dense(self.num_classes + 1, name="class_labels_classifier")(hs)  # [B, layers, Q, C + 1]
        box_hidden = hs
        for i in range(2):
            box_hidden = nn.relu(dense(self.features, name=f"bbox_predictor_layers_{i}")(box_hidden))
        acc_dtype = acc_dtype_of(logits.dtype)
        boxes = nn.sigmoid(dense(4, name="bbox_predictor_layers_2")(box_hidden).astype(acc_dtype))  # [B, layers, Q, 4]
        return Outputs(logits.astype(acc_dtype), boxes)

    @nn.compact
    def hidden_states(
        self, x: jax.Array, image_size: jax.Array | None = None, train: bool = False
    ) -> tuple[jax.Array, jax.Array, np.ndarray | jax.Array, dict[str, jax.Array]]:
        """Run the transformer; nothing of the heads is computed.

        Args:
          As `__call__`.

        Returns:
          (queries after each decoder layer [B, layers, Q, D], the encoder's tokens [B, h w, D], sides as `__call__`,
          {stage: map} of the backbone and "input_projection", the map [B, h, w, D] whose locations are the tokens).
        """
        # Backbone features as a sequence of tokens.
        maps = self.backbone.features(x, train=train)
        (y,) = named_maps(maps, (self.stage,))  # [B, h, w, C]
        y = Conv(self.features, (1, 1), dtype=self.dtype, name="input_projection")(y)
        position, mask, sides = token_positions(y.shape[1:3], x.shape[1:3], self.features, image_size)
        position = position.astype(y.dtype)  # [h w, D] or [B, h w, D]
        memory = y.reshape(y.shape[0], -1, self.features)  # [B, h w, D]
        block = {"pre_norm": self.pre_norm, "fused_qkv": False, "dtype": self.dtype}
        block |= {"dropout_rate": self.dropout_rate, "attention_dropout_rate": self.dropout_rate}
        # Transformer encoder over the image tokens.
        for i in range(self.encoder_layers):
            layer = TransformerEncoderBlock(self.num_heads, self.hidden_features, name=f"encoder_{i}", **block)
            memory = layer(memory, train, mask, position=position)
        if self.pre_norm:
            memory = LayerNorm(dtype=self.dtype, name="encoder_norm")(memory)
        # Transformer decoder: object queries start at zero and carry learned position embeddings.
        query_pos = self.param("query_positions", nn.initializers.normal(1.0), (self.num_queries, self.features))
        query_pos = query_pos.astype(memory.dtype)  # [Q, D]
        queries = jnp.zeros((x.shape[0], self.num_queries, self.features), memory.dtype)
        norm, states = LayerNorm(dtype=self.dtype, name="decoder_norm"), []
        for i in range(self.decoder_layers):
            layer = TransformerDecoderBlock(self.num_heads, self.hidden_features, name=f"decoder_{i}", **block)
            queries = layer(queries, memory, train, memory_mask=mask, position=query_pos, memory_position=position)
            states.append(norm(queries))
        return jnp.stack(states, 1), memory, sides, {**maps, "input_projection": y}


class MatchingCosts(NamedTuple):
    """Weights of the cost of a query for a true box.

    Args:
      class_cost: weight of minus the probability of the class.
      bbox_cost: weight of the sum of absolute differences.
      giou_cost: weight of minus the generalized IoU.
    """

    class_cost: Annotated[float, Range(0)] = 1.0
    bbox_cost: Annotated[float, Range(0)] = 5.0
    giou_cost: Annotated[float, Range(0)] = 2.0


class LossWeights(NamedTuple):
    """Weights of the parts of the loss.

    Args:
      eos_coefficient: weight of queries without an object in the entropy.
      bbox_weight: weight of the sum of absolute differences.
      giou_weight: weight of the generalized IoU's loss.
    """

    eos_coefficient: Annotated[float, Range(0, 1)] = 0.1
    bbox_weight: Annotated[float, Range(0)] = 5.0
    giou_weight: Annotated[float, Range(0)] = 2.0


def match(
    logits: jax.Array, boxes: jax.Array, true: jax.Array, labels: jax.Array, valid: jax.Array, costs: MatchingCosts
) -> jax.Array:
    """Match each true box of an image to a query of its own, at the least total cost.

    Args:
      logits: [Q, C + 1].
      boxes: [Q, 4], center and size.
      true: [M, 4], center and size.
      labels: [M] int.
      valid: [M] bool, False for padding.
      costs: weights of the cost.

    Returns:
      [M] int32, index of a query; -1 for padding.
    """
    check_shapes(logits=(logits, "Q C"), boxes=(boxes, "Q 4"))
    check_shapes(true=(true, "M 4"), labels=(labels, "int M"), valid=(valid, "mask M"))
    check_shapes(**{f"costs.{name}": (cost, ">= 0") for name, cost in costs._asdict().items()})
    check_class_ids("labels", labels, logits.shape[-1] - 1, valid=valid)
    probs = jax.nn.softmax(logits)[:, labels]  # [Q, M]
    cost_bbox = jnp.abs(boxes[:, None] - true).sum(-1)  # [Q, M]
    cost_giou = generalized_box_iou(*(box_convert(b, "cxcywh", "xyxy") for b in (boxes, true)))  # [Q, M]
    # Hungarian matching.
    return assign(costs.bbox_cost * cost_bbox - costs.class_cost * probs - costs.giou_cost * cost_giou, valid)


@check_arguments
def image_losses(
    outputs: Outputs,
    sides: jax.Array,
    boxes: jax.Array,
    labels: jax.Array,
    valid: jax.Array,
    *,
    costs: MatchingCosts = MatchingCosts(),
    weights: LossWeights = LossWeights(),
    auxiliary: bool = True,
) -> dict[str, Any]:
    """Sum the losses over the queries of one image.

    Args:
      sides: [4], (width, height, width, height) of the image in pixels.
      boxes: [M, 4] pixels, corners.
      costs: costs in `match`.
      weights: weights of the losses.
      auxiliary: take the losses of the earlier decoder layers, too.
      As `match`.

    Returns:
      {"classification": (sum, sum of weights), "box", "giou": sums, the same with "auxiliary_" in front: over all
      earlier layers, "num_foreground": number of true boxes}.
    """
    check_shapes(sides=(sides, "4"))
    check_shapes(sides=(sides, "... > 0"))
    check_targets(boxes, valid, labels, outputs.logits.shape[-1] - 1)
    target_boxes = box_convert(boxes / sides, "xyxy", "cxcywh")  # [M, 4]

    def of_layer(logits, pred_boxes):
        # One query for each target box; the other queries predict "no object".
        query_idx = match(logits, pred_boxes, target_boxes, labels, valid, costs)  # [M]
        pairs = query_idx[:, None] == jnp.arange(len(pred_boxes))  # [M, Q]
        is_matched, has_query = pairs.any(0), (query_idx >= 0)  # [Q], [M]
        label = jnp.where(is_matched, labels[pairs.argmax(0)], logits.shape[-1] - 1)  # [Q]
        weight = jnp.where(is_matched, 1.0, weights.eos_coefficient)  # [Q]
        # Class loss over all queries, box losses over matched pairs alone.
        entropy = softmax_cross_entropy_loss(logits, label)  # [Q]
        matched_boxes = jnp.where(has_query[:, None], pred_boxes[query_idx], 0.5)  # [M, 4]
        target = jnp.where(has_query[:, None], target_boxes, 0.5)  # [M, 4]
        giou_loss = generalized_iou_loss(*(box_convert(b, "cxcywh", "xyxy") for b in (matched_boxes, target)))  # [M]
        return {
            "classification": ((weight * entropy).sum(), weight.sum()),
            "box": weights.bbox_weight * jnp.abs(matched_boxes - target).sum(),
            "giou": weights.giou_weight * jnp.where(has_query, giou_loss, 0).sum(),
        }

    # Losses of every decoder layer, each with a matching of its own.
    layers = jax.vmap(of_layer)(*outputs)
    sums = jax.tree.map(lambda values: values[-1], layers)
    # Auxiliary losses of the earlier layers.
    if auxiliary and len(outputs.logits) > 1:
        earlier = jax.tree.map(lambda values: values[:-1].sum(0), layers)
        entropy, weight = earlier["classification"]  # each layer is divided by its own weight, which all share
        earlier["classification"] = entropy, weight / (len(outputs.logits) - 1)
        sums |= {f"auxiliary_{name}": value for name, value in earlier.items()}
    return {**sums, "num_foreground": valid.sum(dtype=jnp.int32)}


def postprocess(
    outputs: Outputs, sides: jax.Array, size: ImageSize, *, score_thresh: float = 0.05, detections_per_img: int
) -> dict[str, jax.Array]:
    """Detect the objects of one image: the likeliest class of each query, without suppression.

    Args:
      sides: [4], (width, height, width, height) of the image in pixels.
      size: (height, width) that boxes are clipped to.
      score_thresh: detections score more than this.
      detections_per_img: K.

    Returns:
      As `dlcore.detection.dense.select`.
    """
    check_postprocess(sides, score_thresh, detections_per_img)
    # The "no object" class is left out of the scores.
    probs = jax.nn.softmax(outputs.logits[-1])[:, :-1]  # [Q, C]
    scores, labels = probs.max(-1), probs.argmax(-1)  # [Q], [Q]
    boxes = clip_boxes(box_convert(outputs.boxes[-1], "cxcywh", "xyxy") * sides, size)  # [Q, 4]
    return best_detections(boxes, scores, labels, scores > score_thresh, detections_per_img)


@check_arguments
def learner(
    *,
    model: DETR,
    optimizer: optax.GradientTransformation,
    preprocess: Any = lambda image: image,
    augment: Any = None,
    costs: MatchingCosts = MatchingCosts(),
    weights: LossWeights = LossWeights(),
    auxiliary: bool = True,
    score_thresh: Annotated[float, Range(0, 1)] = 0.05,
    detections_per_img: Annotated[int, Range(1)] = 100,
) -> Learner:
    """Train DETR on the batches of `dlcore.detection.dense.detector_learner`.

    Args:
      model: a `DETR`.
      optimizer: any optax transformation; the paper clips the gradient's norm to 0.1.
      costs: weights of the matching.
      weights: weights of the loss.
      auxiliary: take the loss after every decoder layer, not the last alone.
      score_thresh: least score of a detection.
      detections_per_img: K, detections of an image at most.

    Returns:
      The learner, as `detector_learner` describes it; it also measures `cardinality_error`, the mean difference between
      the queries that claim an object and the objects.
    """

    def measures(outputs, sides, boxes, labels, valid) -> dict[str, tuple[jax.Array, jax.Array]]:
        return {"cardinality_error": (cardinality_error(outputs.logits[-1], valid), jnp.int32(1))}

    return detector_learner(
        model=model,
        optimizer=optimizer,
        preprocess=preprocess,
        augment=augment,
        losses=partial(image_losses, costs=costs, weights=weights, auxiliary=auxiliary),
        measures=measures,
        postprocess=partial(postprocess, score_thresh=score_thresh, detections_per_img=detections_per_img),
    )
