"""Deformable DETR: queries attend to a few points of a pyramid around a reference, in place of to all locations.

Zhu et al. 2020, arXiv:2010.04159.

    tokens       locations of several maps of a backbone, and of one more of half the size; with sines of row and column
                 and an embedding of the level
    encoder      each token attends to points around itself on all levels
    decoder      Q queries with learned positions; the reference of a query is a point, p = sigmoid(W q)
    outputs      of each layer: C logits, one a class (no "no object"), and a box sigmoid(MLP(z) + logit(reference))
    refinement   with `box_refine`, the box of a layer is the reference of the next
    two stages   with `two_stage`, each token proposes a box, and the best Q proposals are the queries' references

Published weights are of transformers (SenseTime). The loss is a focal loss in place of DETR's entropy
(`dlcore.detection.query_losses`).
"""

from functools import partial
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.detection.dense import named_maps
from dlcore.detection.detr import Outputs
from dlcore.detection.detr_names import QUERY_NAMES, QUERY_OLD_NAMES
from dlcore.detection.query_blocks import BoxHead, DeformableDecoderLayer, inverse_sigmoid
from dlcore.detection.query_losses import QueryCosts, QueryWeights, query_learner
from dlcore.learner import Learner, Range, check_arguments
from dlcore.models.resnet import transformers_names
from dlcore.nn import Conv, Dense, GroupNorm, LayerNorm
from dlcore.nn.deformable_encoder import DeformableEncoderLayer, flatten_maps, grid_centers
from dlcore.nn.position import sinusoidal_encoding, sinusoidal_encoding_2d
from dlcore.ops.precision import acc_dtype_of

__all__ = ["DeformableDETR", "learner"]

PRIOR = float(-np.log(99))
"""Bias of the classes' logits at first: a chance of 0.01."""


class DeformableDETR(nn.Module):
    """Backbone, deformable transformer, and heads.

    Args:
      num_classes: C.
      stages: stages of the backbone whose locations are tokens, finest first.
      num_levels: levels of the pyramid; those beyond the stages have half the size of the one before.
      num_queries: Q, at least the objects of an image.
      features: number of features of tokens and queries, a multiple of 32.
      num_heads: number of heads of each attention.
      hidden_features: width of each perceptron.
      encoder_layers: layers on the tokens.
      decoder_layers: layers on the queries.
      num_points: points that each head reads on each level.
      box_refine: the box of a layer is the reference of the next; each layer has heads of its own.
      two_stage: the queries' references are proposals of the tokens; needs `box_refine`.
      dropout_rate: dropout rate in training.
    """

    backbone: nn.Module
    num_classes: int
    stages: tuple[str, ...] = ("layer2", "layer3", "layer4")
    num_levels: Annotated[int, Range(1)] = 4
    num_queries: Annotated[int, Range(1)] = 300
    features: Annotated[int, Range(4)] = 256
    num_heads: Annotated[int, Range(1)] = 8
    hidden_features: Annotated[int, Range(1)] = 1024
    encoder_layers: Annotated[int, Range(0)] = 6
    decoder_layers: Annotated[int, Range(1)] = 6
    num_points: Annotated[int, Range(1)] = 4
    box_refine: bool = False
    two_stage: bool = False
    dropout_rate: Annotated[float, Range(0, 1)] = 0.1
    dtype: Any = None

    TORCH_NAMES = (
        (r"^backbone\.", "model.backbone.model."),
        *transformers_names("model.backbone.model."),
        (r"^query_positions$", "query_position_embeddings.weight"),
        (
            r"^(input_proj|level_embed|query_position_embeddings|reference_points|enc_output|enc_output_norm|pos_trans"
            r"|pos_trans_norm|encoder|decoder)(?=\.|$)",
            r"model.\1",
        ),
        *QUERY_NAMES,
    )
    TORCH_OLD_NAMES = (*QUERY_OLD_NAMES, (r"^model\.decoder\.(bbox|class)_embed\.", r"\1_embed."))
    TORCH_OPTIONAL = r"^(bbox|class)_embed\.[1-9]"
    """The copies of the heads that all layers share."""

    takes_image_size = True
    """Whether the call takes the sizes of padded images, as `dlcore.detection.dense.predict_locations` asks."""

    def __call__(
        self, x: jax.Array, image_size: jax.Array | None = None, train: bool = False
    ) -> tuple[Outputs, np.ndarray | jax.Array]:
        """Predict a set of boxes.

        x [B, H, W, C]; image_size [B, 2], height and width of images padded to H by W (None: images without padding) ->
        (outputs, their logits without "no object"; (W, H, W, H): what turns their boxes into pixels; [B, 4] of padded
        images).
        """
        (logits, boxes), _ = self._forward(x, image_size, train, True)
        if image_size is None:
            return Outputs(logits, boxes), np.tile(np.array(x.shape[2:0:-1], np.float32), 2)
        return Outputs(logits, boxes), jnp.tile(image_size[:, ::-1], 2).astype(jnp.float32)

    def hidden_states(
        self, x: jax.Array, image_size: jax.Array | None = None, train: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """Run the transformer without refinement; nothing of the heads is computed.

        x, image_size as `__call__` -> (queries after each decoder layer [B, layers, Q, D], the encoder's tokens [B, N,
        D]).
        """
        (states,), memory = self._forward(x, image_size, train, False)
        return states, memory

    @nn.compact
    def _forward(
        self, x: jax.Array, image_size: jax.Array | None, train: bool, heads: bool
    ) -> tuple[tuple[jax.Array, ...], jax.Array]:
        """((logits, boxes) of each layer, or (queries,) without heads; the encoder's tokens)."""
        if self.two_stage and not heads:
            raise ValueError("two_stage=True: its queries come of a head; allowed: with heads")
        if self.two_stage and not self.box_refine:
            raise ValueError("two_stage=True: needs the heads of refinement; allowed: with box_refine=True")
        maps = named_maps(self.backbone.features(x, train=train), self.stages)
        levels = []
        for i in range(self.num_levels):
            conv = partial(Conv, self.features, dtype=self.dtype, kernel_init=nn.initializers.xavier_uniform())
            if i < len(maps):
                y = conv((1, 1), name=f"input_proj_{i}_0")(maps[i])
            else:
                y = conv((3, 3), 2, padding=1, name=f"input_proj_{i}_0")(maps[-1] if i == len(maps) else levels[-1])
            levels.append(GroupNorm(32, dtype=self.dtype, name=f"input_proj_{i}_1")(y))
        memory, shapes = flatten_maps(levels)  # [B, N, D]
        level_embed = self.param("level_embed", nn.initializers.normal(1.0), (self.num_levels, self.features))
        masks, ratios, positions = [], [], []
        for (rows, columns), embedding in zip(shapes, level_embed, strict=True):
            counts = {}
            if image_size is not None:
                mask = _level_mask(image_size, (rows, columns), x.shape[1:3])  # [B, h, w]
                counts = {"num_rows": mask[:, :, 0].sum(1), "num_columns": mask[:, 0].sum(1)}
                masks.append(mask.reshape(len(mask), -1))
                ratios.append(jnp.stack([counts["num_columns"] / columns, counts["num_rows"] / rows], -1))
            sines = sinusoidal_encoding_2d(rows, columns, self.features, shift=0.5, **counts)
            positions.append(sines.reshape(*sines.shape[:-3], -1, self.features) + embedding)
        position = jnp.concatenate(positions, -2).astype(memory.dtype)
        mask = jnp.concatenate(masks, 1) if masks else None  # [B, N]
        ratio = jnp.stack(ratios, 1) if ratios else jnp.ones((1, self.num_levels, 2))  # [B or 1, levels, 2]
        # Encoder: each location attends to points around itself.
        level = np.repeat(np.arange(self.num_levels), [rows * columns for rows, columns in shapes])
        centers = jnp.asarray(grid_centers(shapes)) / ratio[:, level]  # [B or 1, N, 2] in fractions of the image
        for i in range(self.encoder_layers):
            layer = DeformableEncoderLayer(
                self.num_heads,
                self.hidden_features,
                self.num_points,
                self.dropout_rate,
                self.dtype,
                name=f"encoder_{i}",
            )
            memory = layer(memory, position, centers[:, :, None] * ratio[:, None], shapes, mask, train)
        # Heads, one for all layers, or one a layer, and one for the proposals.
        count = self.decoder_layers + self.two_stage if self.box_refine else 1
        prior = nn.initializers.constant(PRIOR)
        classes = [
            Dense(self.num_classes, dtype=self.dtype, bias_init=prior, name=f"class_embed_{i}") for i in range(count)
        ]
        boxes = [BoxHead(self.features, dtype=self.dtype, name=f"bbox_embed_{i}") for i in range(count)]
        if self.two_stage:
            queries, query_pos, reference = self._propose(memory, centers, level, mask, classes[-1], boxes[-1])
        else:
            init = nn.initializers.normal(1.0)
            table = self.param("query_positions", init, (self.num_queries, 2 * self.features)).astype(memory.dtype)
            query_pos, queries = (jnp.broadcast_to(t, (len(x), *t.shape)) for t in jnp.split(table, 2, axis=-1))
            reference = nn.sigmoid(Dense(2, dtype=self.dtype, name="reference_points")(query_pos).astype(jnp.float32))
        states = []
        for i in range(self.decoder_layers):
            layer = DeformableDecoderLayer(
                self.num_heads,
                self.hidden_features,
                self.num_points,
                dropout_rate=self.dropout_rate,
                dtype=self.dtype,
                name=f"decoder_{i}",
            )
            sides = jnp.tile(ratio, reference.shape[-1] // 2)[:, None]  # [B or 1, 1, levels, 2 or 4]
            queries = layer(
                queries, query_pos, reference[:, :, None] * sides, memory, shapes, memory_mask=mask, train=train
            )
            if not heads:
                states.append((queries,))
                continue
            at = i if self.box_refine else 0
            acc_dtype = acc_dtype_of(queries.dtype)
            delta, logit = boxes[at](queries).astype(acc_dtype), inverse_sigmoid(reference.astype(acc_dtype))
            box = nn.sigmoid(delta + jnp.pad(logit, ((0, 0), (0, 0), (0, 4 - logit.shape[-1]))))
            states.append((classes[at](queries).astype(acc_dtype), box))
            if self.box_refine:
                reference = jax.lax.stop_gradient(box)
        return tuple(jnp.stack(parts, 1) for parts in zip(*states, strict=True)), memory  # [B, layers, Q, ...]

    def _propose(
        self, memory: jax.Array, centers: jax.Array, level: np.ndarray, mask: jax.Array | None, classes: Any, boxes: Any
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """(queries, their positions, references): the best proposals of the tokens."""
        centers = jnp.broadcast_to(centers, (len(memory), *centers.shape[1:]))
        size = jnp.broadcast_to(jnp.asarray(0.05 * 2.0**level)[:, None], centers.shape)
        anchors = jnp.concatenate([centers, size], -1)  # [B, N, 4]
        valid = ((anchors > 0.01) & (anchors < 0.99)).all(-1, keepdims=True)
        if mask is not None:
            valid = valid & mask[..., None]
        y = Dense(self.features, dtype=self.dtype, name="enc_output")(jnp.where(valid, memory, 0))
        y = LayerNorm(dtype=self.dtype, name="enc_output_norm")(y)
        logits = jnp.where(valid, jnp.log(anchors / (1 - anchors)), jnp.inf)
        logits = boxes(y).astype(jnp.float32) + logits  # [B, N, 4]
        _, best = jax.lax.top_k(classes(y)[..., 0], self.num_queries)  # [B, Q]
        reference = jax.lax.stop_gradient(nn.sigmoid(jnp.take_along_axis(logits, best[..., None], 1)))
        sines = sinusoidal_encoding(2 * np.pi * reference, self.features // 2)
        y = Dense(2 * self.features, dtype=self.dtype, name="pos_trans")(sines.reshape(*best.shape, -1))
        query_pos, queries = jnp.split(LayerNorm(dtype=self.dtype, name="pos_trans_norm")(y), 2, axis=-1)
        return queries, query_pos, reference


def _level_mask(image_size: jax.Array, shape: tuple[int, int], canvas: tuple[int, int]) -> jax.Array:
    """[B, h, w] bool, the locations whose upper left pixel lies in the image."""
    rows, columns = (np.arange(shape[k]) * canvas[k] // shape[k] < image_size[:, k, None] for k in (0, 1))
    return rows[:, :, None] & columns[:, None]


@check_arguments
def learner(
    *,
    model: DeformableDETR,
    optimizer: optax.GradientTransformation,
    preprocess: Any = lambda image: image,
    augment: Any = None,
    costs: QueryCosts = QueryCosts(),
    weights: QueryWeights = QueryWeights(class_weight=2.0),
    classification: Literal["focal", "varifocal"] = "focal",
    auxiliary: bool = True,
    score_thresh: Annotated[float, Range(0, 1)] = 0.05,
    detections_per_img: Annotated[int, Range(1)] = 100,
) -> Learner:
    """Train Deformable DETR on the batches of `dlcore.detection.dense.detector_learner`.

    Args:
      model: a `DeformableDETR`.
      optimizer: any optax transformation; the paper clips the gradient's norm to 0.1.
      costs: weights of the matching.
      weights: weights of the loss.
      classification: loss of the classes, focal or varifocal.
      auxiliary: take the loss of the proposals and of every decoder layer, not of the last alone.
      score_thresh: least score of a detection.
      detections_per_img: K, detections of an image at most.
    """
    return query_learner(**locals())
