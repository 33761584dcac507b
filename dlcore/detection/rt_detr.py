"""RT-DETR: a real-time detection transformer whose queries are the encoder's best proposals.

Zhao et al. 2023, arXiv:2304.08069; version 2, Lv et al. 2024, arXiv:2407.17140.

    encoder      `dlcore.detection.hybrid_encoder` on three maps of a backbone
    selection    each location proposes a box and classes; the Q locations with the highest class are the queries
    decoder      deformable attention around the box of each query, which each layer refines
    outputs      of the proposals and of each layer: C logits, one a class (no "no object"), and a box
    training     matching and varifocal loss (`dlcore.detection.query_losses`), with denoising queries
                 (`dlcore.detection.denoising`)

Version 2 reads points by rounding instead of interpolation where its `method` is discrete, and scales the offsets by a
field. Published weights are of transformers (PekingU). Deviates: denoising queries of padding are hidden.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.detection.denoising import NoisyQueries, Targets, noise_boxes
from dlcore.detection.dense import named_maps
from dlcore.detection.detr_names import QUERY_NAMES, QUERY_OLD_NAMES
from dlcore.detection.hybrid_encoder import HYBRID_NAMES, HybridEncoder
from dlcore.detection.query_blocks import BoxHead, DeformableDecoderLayer, inverse_sigmoid
from dlcore.detection.query_losses import QueryCosts, QueryWeights, query_learner
from dlcore.detection.resnet_d import RESNET_D_NAMES
from dlcore.learner import Learner, Range, check_arguments
from dlcore.nn import BatchNorm, Conv, Dense, LayerNorm
from dlcore.nn.deformable_encoder import flatten_maps, grid_centers
from dlcore.ops.precision import acc_dtype_of

__all__ = ["RTDETR", "Proposals", "QueryOutputs", "learner", "select_queries"]


class QueryOutputs(NamedTuple):
    """Predictions of Q queries by the proposals and after each decoder layer, the last layer last.

    Args:
      logits: [B, 1 + layers, Q, C].
      boxes: [B, 1 + layers, Q, 4], center and size in fractions of the image's sides.
      noisy_logits: [B, layers, D, C], of the denoising queries; D = 0 outside training.
      noisy_boxes: [B, layers, D, 4].
    """

    logits: jax.Array
    boxes: jax.Array
    noisy_logits: jax.Array
    noisy_boxes: jax.Array


class Proposals(NamedTuple):
    """The best proposals of an encoder.

    Args:
      logits: [B, Q, C].
      boxes: [B, Q, 4], center and size.
      memory: [B, Q, D], what the heads read.
    """

    logits: jax.Array
    boxes: jax.Array
    memory: jax.Array


def select_queries(
    memory: jax.Array,
    shapes: tuple[tuple[int, int], ...],
    num_queries: int,
    num_classes: int,
    class_bias: float,
    dtype: Any,
    last_init: Any = nn.initializers.zeros,
    anchors: np.ndarray | None = None,
    heads: tuple[nn.Module, nn.Module] | None = None,
) -> Proposals:
    """Select the locations with the highest class; call in a compact module.

    Args:
      memory: [B, N, D], maps row by row, one level after the other.
      shapes: (rows, columns) of each level.
      num_queries: Q.
      num_classes: C.
      class_bias: initial bias of the classes.
      last_init: initializer of the last kernel of the boxes.
      anchors: [N, K] between 0 and 1, what the boxes of K numbers start from; None for centers and sizes.
      heads: of the classes and of the boxes, where others use them too; None for new ones.

    Returns:
      The proposals, best first.
    """
    if memory.shape[1] < num_queries:
        raise ValueError(f"num_queries={num_queries}: too many; allowed: at most the {memory.shape[1]} locations")
    features = memory.shape[-1]
    if anchors is None:
        level = np.repeat(np.arange(len(shapes)), [rows * columns for rows, columns in shapes])
        size = np.repeat(0.05 * 2.0 ** level[:, None], 2, 1)
        anchors = np.concatenate([grid_centers(shapes), size.astype(np.float32)], -1)  # [N, 4]
    valid = ((anchors > 0.01) & (anchors < 0.99)).all(-1, keepdims=True)
    logits = np.where(valid, np.log(anchors / (1 - anchors)), 1e4)
    y = Dense(features, dtype=dtype, name="enc_output_0")(jnp.where(valid, memory, 0))
    y = LayerNorm(dtype=dtype, name="enc_output_1")(y)
    bias = nn.initializers.constant(class_bias)
    xavier = nn.initializers.xavier_uniform()
    acc_dtype = acc_dtype_of(y.dtype)
    class_head, box_head = heads or (
        Dense(num_classes, dtype=dtype, kernel_init=xavier, bias_init=bias, name="enc_score_head"),
        BoxHead(features, anchors.shape[-1], last_init=last_init, dtype=dtype, name="enc_bbox_head"),
    )
    classes = class_head(y)
    boxes = box_head(y).astype(acc_dtype) + logits
    _, best = jax.lax.top_k(classes.max(-1), num_queries)  # [B, Q]
    classes, boxes, y = (jnp.take_along_axis(part, best[..., None], 1) for part in (classes, boxes, y))
    return Proposals(classes.astype(acc_dtype), nn.sigmoid(boxes), y)


class RTDETR(nn.Module):
    """Backbone, hybrid encoder, query selection and decoder.

    Args:
      num_classes: C.
      stages: stages of the backbone that the encoder reads, finest first, each of half the size of the one before.
      num_queries: Q, at least the objects of an image.
      features: features of the decoder.
      num_heads: heads of the decoder's attentions.
      hidden_features: units of the decoder's perceptrons.
      decoder_layers: layers on the queries.
      num_levels: levels that the decoder reads; those beyond the encoder's are made from the coarsest.
      num_points: points that each head reads on each level.
      encoder_features: channels of the encoder.
      encoder_heads: heads of the encoder's attention.
      encoder_hidden_features: units of the encoder's perceptrons.
      encoder_layers: layers of attention on the coarsest map.
      encoder_levels: indices of the maps with attention.
      expansion: channels inside a fusion, in those of the encoder.
      learned_queries: queries start as learned vectors, not as the features of their locations.
      num_denoising: denoising queries, at most; 0 for none.
      label_noise: see `dlcore.detection.denoising`.
      box_noise: see `dlcore.detection.denoising`.
      offset_scale: fraction of a box's sides that an offset reaches.
      method: how points are read, see `dlcore.ops.deformable_attention`.
      dropout_rate: dropout rate in training.
    """

    backbone: nn.Module
    num_classes: int
    stages: tuple[str, ...] = ("layer2", "layer3", "layer4")
    num_queries: Annotated[int, Range(1)] = 300
    features: Annotated[int, Range(4)] = 256
    num_heads: Annotated[int, Range(1)] = 8
    hidden_features: Annotated[int, Range(1)] = 1024
    decoder_layers: Annotated[int, Range(1)] = 6
    num_levels: Annotated[int, Range(1)] = 3
    num_points: Annotated[int, Range(1)] = 4
    encoder_features: Annotated[int, Range(4)] = 256
    encoder_heads: Annotated[int, Range(1)] = 8
    encoder_hidden_features: Annotated[int, Range(1)] = 1024
    encoder_layers: Annotated[int, Range(0)] = 1
    encoder_levels: tuple[int, ...] = (2,)
    expansion: float = 1.0
    learned_queries: bool = False
    num_denoising: Annotated[int, Range(0)] = 100
    label_noise: Annotated[float, Range(0, 1)] = 0.5
    box_noise: Annotated[float, Range(0)] = 1.0
    offset_scale: float = 0.5
    method: Literal["bilinear", "discrete"] = "bilinear"
    dropout_rate: Annotated[float, Range(0, 1)] = 0.0
    dtype: Any = None

    TORCH_NAMES = (
        (r"^backbone\.", "model.backbone.model."),
        (r"^(encoder|encoder_input_proj|decoder_input_proj|enc_output|enc_score_head|enc_bbox_head)\.", r"model.\1."),
        (r"^decoder\.", "model.decoder."),
        (r"^(query_pos_head|class_embed|bbox_embed)\.", r"model.decoder.\1."),
        (r"^denoising_class_embed$", "model.denoising_class_embed.weight"),
        (r"^weight_embedding$", "model.weight_embedding.weight"),
        *RESNET_D_NAMES,
        *HYBRID_NAMES,
        *QUERY_NAMES,
    )
    TORCH_OLD_NAMES = (
        (r"^(class|bbox)_embed\.", r"model.decoder.\1_embed."),
        (r"^(?!model\.)", "model."),
        (r"^model\.encoder\.encoder\.", "model.encoder.aifi."),
        *QUERY_OLD_NAMES[-2:],
    )
    TORCH_OPTIONAL = r"(n_points_scale|num_batches_tracked)$"

    EXAMPLE_SIDE = 256
    """Side of an image with enough locations for the queries, which initializes a model."""

    takes_targets = True
    """Whether the call takes true boxes in training, as `dlcore.detection.dense.predict_locations` asks."""

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, targets: Targets | None = None
    ) -> tuple[QueryOutputs, np.ndarray]:
        """Predict a set of boxes.

        x [B, H, W, C], sides multiples of the coarsest stride; targets, true boxes, of which denoising queries are made
        (None: none) -> (outputs, (W, H, W, H): what turns their boxes into pixels).
        """
        memory, shapes = self._memory(x, train)  # [B, N, D]
        proposals, queries, reference, mask = self._queries(memory, shapes, targets if train else None)
        # Decoder: each layer refines the boxes.
        query_pos_head = BoxHead(2 * self.features, self.features, 2, dtype=self.dtype, name="query_pos_head")
        states = []
        for i in range(self.decoder_layers):
            layer = self._decoder_layer(i)
            position = query_pos_head(reference.astype(queries.dtype))
            queries = layer(queries, position, reference[:, :, None], memory, shapes, mask=mask, train=train)
            acc_dtype = acc_dtype_of(queries.dtype)
            delta = BoxHead(self.features, dtype=self.dtype, name=f"bbox_embed_{i}")(queries).astype(acc_dtype)
            boxes = nn.sigmoid(delta + inverse_sigmoid(reference.astype(acc_dtype)))
            states.append((self._class_head(f"class_embed_{i}")(queries).astype(acc_dtype), boxes))
            reference = jax.lax.stop_gradient(boxes)
        logits, boxes = (jnp.stack(parts, 1) for parts in zip(*states, strict=True))
        count = boxes.shape[2] - self.num_queries  # denoising queries
        logits, noisy_logits = logits[:, :, count:], logits[:, :, :count]
        boxes, noisy_boxes = boxes[:, :, count:], boxes[:, :, :count]
        logits = jnp.concatenate([proposals.logits[:, None], logits], 1)
        boxes = jnp.concatenate([proposals.boxes[:, None], boxes], 1)
        sides = np.tile(np.array(x.shape[2:0:-1], np.float32), 2)
        return QueryOutputs(logits, boxes, noisy_logits, noisy_boxes), sides

    def _memory(self, x: jax.Array, train: bool) -> tuple[jax.Array, tuple[tuple[int, int], ...]]:
        """Maps of the hybrid encoder in the decoder's features, [B, N, D], and (rows, columns) of each level."""
        maps, norm = self._encoded(named_maps(self.backbone.features(x, train=train), self.stages), train)
        return flatten_maps(self._levels(maps, norm))

    def _encoded(self, maps: list[jax.Array], train: bool) -> tuple[list[jax.Array], Any]:
        """(Maps of the hybrid encoder, the norm of its inputs)."""
        norm = partial(BatchNorm, not train, dtype=self.dtype)
        for i, y in enumerate(maps):
            conv = Conv(
                self.encoder_features, (1, 1), use_bias=False, dtype=self.dtype, name=f"encoder_input_proj_{i}_0"
            )
            maps[i] = norm(name=f"encoder_input_proj_{i}_1")(conv(y))
        return self._encoder()(maps, train), norm

    def _encoder(self, **fields: Any) -> HybridEncoder:
        return HybridEncoder(
            self.encoder_levels,
            self.encoder_layers,
            self.encoder_heads,
            self.encoder_hidden_features,
            self.expansion,
            dropout_rate=self.dropout_rate,
            dtype=self.dtype,
            name="encoder",
            **fields,
        )

    def _levels(self, maps: Sequence[jax.Array], norm: Any) -> list[jax.Array]:
        """Levels of the decoder: maps of the encoder, and coarser ones."""
        levels = []
        for i in range(self.num_levels):
            conv = partial(Conv, self.features, use_bias=False, dtype=self.dtype, name=f"decoder_input_proj_{i}_0")
            y = conv((1, 1))(maps[i]) if i < len(maps) else conv((3, 3), 2, padding=1)(maps[-1])
            levels.append(norm(name=f"decoder_input_proj_{i}_1")(y))
        return levels

    def _queries(
        self, memory: jax.Array, shapes: tuple[tuple[int, int], ...], targets: Targets | None
    ) -> tuple[Proposals, jax.Array, jax.Array, jax.Array | None]:
        """(The best proposals, queries, their boxes, who attends to whom); denoising queries come first."""
        class_bias = float(-np.log(self.num_classes))
        proposals = select_queries(memory, shapes, self.num_queries, self.num_classes, class_bias, self.dtype)
        queries, reference = (jax.lax.stop_gradient(part) for part in (proposals.memory, proposals.boxes))
        if self.learned_queries:
            init = nn.initializers.xavier_uniform()
            table = self.param("weight_embedding", init, (self.num_queries, self.features)).astype(memory.dtype)
            queries = jnp.broadcast_to(table, queries.shape)
        noisy = self._noisy_queries(targets)
        if noisy is None:
            return proposals, queries, reference, None
        extra, table = noisy
        queries = jnp.concatenate([jnp.asarray(table)[extra.labels].astype(queries.dtype), queries], 1)
        reference = jnp.concatenate([extra.boxes.astype(reference.dtype), reference], 1)
        return proposals, queries, reference, extra.mask

    def _decoder_layer(self, i: int, **fields: Any) -> DeformableDecoderLayer:
        return DeformableDecoderLayer(
            self.num_heads,
            self.hidden_features,
            self.num_points,
            self.offset_scale,
            self.method,
            self.dropout_rate,
            self.dtype,
            name=f"decoder_{i}",
            **fields,
        )

    def _class_head(self, name: str) -> Dense:
        bias, xavier = nn.initializers.constant(float(-np.log(self.num_classes))), nn.initializers.xavier_uniform()
        return Dense(self.num_classes, dtype=self.dtype, kernel_init=xavier, bias_init=bias, name=name)

    def _noisy_queries(self, targets: Targets | None) -> tuple[NoisyQueries, jax.Array] | None:
        """(Denoising queries, embeddings of the labels [C + 1, D]); None where there are none."""
        if not self.num_denoising:
            return None
        init = nn.initializers.xavier_uniform()
        table = self.param("denoising_class_embed", init, (self.num_classes + 1, self.features))
        if targets is None:
            return None
        extra = noise_boxes(
            self.make_rng("dropout"),
            targets,
            self.num_classes,
            self.num_queries,
            self.num_denoising,
            self.label_noise,
            self.box_noise,
        )
        return extra, table.at[-1].set(0)


@check_arguments
def learner(
    *,
    model: RTDETR,
    optimizer: optax.GradientTransformation,
    preprocess: Any = lambda image: image,
    augment: Any = None,
    costs: QueryCosts = QueryCosts(),
    weights: QueryWeights = QueryWeights(),
    classification: Literal["focal", "varifocal"] = "varifocal",
    auxiliary: bool = True,
    score_thresh: Annotated[float, Range(0, 1)] = 0.05,
    detections_per_img: Annotated[int, Range(1)] = 100,
) -> Learner:
    """Train RT-DETR on the batches of `dlcore.detection.dense.detector_learner`.

    Args:
      model: a `RTDETR`.
      optimizer: any optax transformation; the paper clips the gradient's norm to 0.1.
      costs: weights of the matching.
      weights: weights of the loss.
      classification: loss of the classes, focal or varifocal.
      auxiliary: take the loss of the proposals and of every decoder layer, not of the last alone.
      score_thresh: least score of a detection.
      detections_per_img: K, detections of an image at most.
    """
    return query_learner(**locals())
