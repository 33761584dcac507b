"""What segmenters of queries share: a mask and a class of each query, names of published files, and their learner.

Cheng, Schwing & Kirillov 2021, arXiv:2107.06278; Cheng et al. 2021, arXiv:2112.01527.

    class        softmax(W z_q), "no object" last
    mask         sigmoid(MLP(z_q) . pixel features)
    semantic     argmax_c sum_q p_q(c) m_q(pixel), over classes without "no object"
    instances    for a query and a class of things: p_q(c) times the mean of m_q where m_q > 1/2
    panoptic     queries with max_c p_q(c) > 0.8;  a pixel goes to argmax_q max_c p_q(c) m_q(pixel), where m_q >= 1/2;
                 a query that keeps less than 0.8 of the pixels with m_q >= 1/2 has no segment; stuff of a class is one

One learner trains MaskFormer, Mask2Former and EoMT by the losses of `dlcore.segmentation.mask_losses`, which are those
of Mask2Former and EoMT; MaskFormer's authors took the focal loss at all pixels. True segments are the visible parts of
things and each class of stuff; void belongs to no mask. EoMT's authors turn its masked attention off during training;
here it stays on.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.data.augment import augment_examples
from dlcore.learner import Labels, Learner, Metrics, ModelState, Range, check_arguments, example_keys, mask_of
from dlcore.metrics import MeanIoU
from dlcore.metrics.total_loss import normalize_losses
from dlcore.models.swin import TORCH_LAYOUTS
from dlcore.nn import Dense, LayerNorm
from dlcore.nn.apply import apply_model
from dlcore.ops.boxes import masks_to_boxes
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import replica_key
from dlcore.ops.resize import resize
from dlcore.ops.roi import roi_align
from dlcore.optim import apply_gradients, init_model_state
from dlcore.segmentation.mask_losses import MaskLossWeights, PointSampling, image_losses
from dlcore.segmentation.panoptic import target_segments

__all__ = [
    "BACKBONE_NAMES",
    "BACKBONE_OLD_NAMES",
    "MaskOutputs",
    "embed_masks",
    "instance_detections",
    "learner",
    "normed_stages",
    "panoptic_segments",
    "semantic_scores",
    "true_masks",
]

PREFIX = "model.pixel_level_module."
SWIN_NAMES = TORCH_LAYOUTS[0]
BACKBONE_NAMES = (
    (r"^backbone\.", ""),
    *SWIN_NAMES.names,
    (r"(^| \+ )(embeddings|encoder)\.", r"\1" + PREFIX + r"encoder.swin.\2."),
    (r"^stage_norms\.", PREFIX + "encoder.hidden_states_norms.stage"),
)
"""From the names of a Swin transformer with norms behind its stages to transformers'."""
BACKBONE_OLD_NAMES = (
    (re.escape(PREFIX) + r"encoder\.(?:model\.)?(embeddings|encoder|layernorm)\.", PREFIX + r"encoder.swin.\1."),
    (r"hidden_states_norms\.(\d)\.", lambda match: f"hidden_states_norms.stage{int(match[1]) + 1}."),
    *SWIN_NAMES.older[1:],
)
CROP = 28
"""Side of the masks of instances, in the frames of their boxes."""
OPTIONAL = r"\.relative_position_index$|^criterion\.empty_weight$|encoder\.swin\.layernorm\."


class MaskOutputs(NamedTuple):
    """Predictions of Q queries after each layer, the last layer last.

    Args:
      class_logits: [B, layers, Q, C + 1], "no object" last.
      mask_logits: [B, layers, h, w, Q].
    """

    class_logits: jax.Array
    mask_logits: jax.Array


def normed_stages(maps: list[jax.Array], use_norms: bool, dtype: Any = None) -> list[jax.Array]:
    """Normalize the maps of a Swin transformer, each by a layer norm of its own; call in a compact module.

    Args:
      maps: [B, h, w, D] of each stage.
      use_norms: whether there are such norms; a ResNet has none.

    Returns:
      The maps.
    """
    if not use_norms:
        return maps
    return [LayerNorm(dtype=dtype, name=f"stage_norms_{i + 1}")(x) for i, x in enumerate(maps)]


def embed_masks(queries: jax.Array, hidden_features: int, out_features: int, name: str, dtype: Any = None) -> jax.Array:
    """Apply the perceptron of masks, whose layers are {name}_0_0 to {name}_2_0; call in a compact module.

    Args:
      queries: [..., Q, D].
      hidden_features: units of the first two layers.
      out_features: channels of the pixel features.
      name: front of the submodules' names.

    Returns:
      [..., Q, out_features].
    """
    for i, width in enumerate((hidden_features, hidden_features, out_features)):
        queries = Dense(width, dtype=dtype, name=f"{name}_{i}_0")(queries)
        queries = nn.relu(queries) if i < 2 else queries
    return queries


def semantic_scores(class_logits: jax.Array, mask_logits: jax.Array) -> jax.Array:
    """Give each pixel a score of each class: the masks, each weighted by the chance of the class.

    Args:
      class_logits: [..., Q, C + 1], "no object" last.
      mask_logits: [..., h, w, Q].

    Returns:
      [..., h, w, C], not normalized.
    """
    check_shapes(class_logits=(class_logits, "... Q K"), mask_logits=(mask_logits, "... h w Q"))
    class_logits, mask_logits = to_acc_dtype(class_logits), to_acc_dtype(mask_logits)
    probs = jax.nn.softmax(class_logits)[..., :-1]  # [..., Q, C]
    return jnp.einsum("...hwq,...qc->...hwc", nn.sigmoid(mask_logits), probs)


def instance_detections(
    class_logits: jax.Array, mask_logits: jax.Array, num_stuff: int, detections_per_img: int
) -> dict[str, jax.Array]:
    """Read objects off the queries of one image.

    Args:
      class_logits: [Q, C + 1], the stuff first, "no object" last.
      mask_logits: [H, W, Q], of the image's size.
      num_stuff: S, number of stuff classes.
      detections_per_img: K at most.

    Returns:
      {"boxes" [K, 4] in pixels, around the masks; "scores" [K]; "labels" [K] int32, classes among the things; "valid"
      [K] bool; "masks" [K, 28, 28], probabilities in the frames of the boxes}, best first.
    """
    check_shapes(class_logits=(class_logits, "Q K"), mask_logits=(mask_logits, "H W Q"))
    _check_stuff(num_stuff, class_logits.shape[1] - 1)
    check_whole_number("detections_per_img", detections_per_img, 1)
    class_logits, mask_logits = to_acc_dtype(class_logits), to_acc_dtype(mask_logits)
    probs = jax.nn.softmax(class_logits)[:, num_stuff:-1]  # [Q, things]
    count = min(detections_per_img, probs.size)
    best, index = jax.lax.top_k(probs.reshape(-1), count)
    # A query may count as several classes.
    mask_probs = jnp.moveaxis(nn.sigmoid(mask_logits), -1, 0)[index // probs.shape[1]]  # [K, H, W]
    inside = mask_probs > 0.5
    area = inside.sum((1, 2))
    scores = best * jnp.where(inside, mask_probs, 0).sum((1, 2)) / jnp.maximum(area, 1)
    order = jnp.argsort(-scores)
    index, area, scores, mask_probs, inside = (x[order] for x in (index, area, scores, mask_probs, inside))
    boxes = masks_to_boxes(inside)
    crops = jax.vmap(lambda mask, box: roi_align(mask[..., None], box[None], CROP, aligned=True)[0, ..., 0])
    labels = jnp.where(area > 0, index % probs.shape[1], -1).astype(jnp.int32)
    masks = crops(mask_probs, boxes)
    return {"boxes": boxes, "scores": scores, "labels": labels, "valid": area > 0, "masks": masks}


def panoptic_segments(
    class_logits: jax.Array,
    mask_logits: jax.Array,
    num_stuff: int,
    score_thresh: float | jax.Array = 0.8,
    min_visible: float | jax.Array = 0.8,
) -> tuple[jax.Array, jax.Array]:
    """Give each pixel of one image to a query.

    Args:
      score_thresh: queries with a larger probability of their class take part.
      min_visible: smallest fraction of a query's mask that it must keep.
      As `instance_detections`.

    Returns:
      (segments [H, W] int32, -1 for none; classes [Q + S] int32 of the segments, -1 for one that is not used). A thing
      is the segment of its query, stuff s is segment Q + s, as in `dlcore.segmentation.panoptic.merge`.
    """
    check_shapes(class_logits=(class_logits, "Q K"), mask_logits=(mask_logits, "H W Q"))
    _check_stuff(num_stuff, class_logits.shape[1] - 1)
    check_shapes(score_thresh=(score_thresh, "finite"), min_visible=(min_visible, "0 to 1"))
    num_queries, no_object = len(class_logits), class_logits.shape[1] - 1
    probs = jax.nn.softmax(class_logits)
    labels, scores = class_logits.argmax(-1), probs.max(-1)  # [Q]
    takes_part = (labels != no_object) & (scores > score_thresh)
    # Each pixel goes to the surest query, if its mask is there.
    mask_probs = nn.sigmoid(mask_logits)
    owner = jnp.where(takes_part, scores * mask_probs, -1.0).argmax(-1)  # [H, W]
    inside = (mask_probs >= 0.5) & takes_part
    is_visible = inside & (owner[..., None] == jnp.arange(num_queries))  # [H, W, Q]
    # Drop queries of which others hide too much.
    area, visible = inside.sum((0, 1)), is_visible.sum((0, 1))
    keep_mask = (visible > 0) & (visible >= min_visible * area)
    # Stuff of one class is one segment.
    is_stuff = labels < num_stuff
    segment = jnp.where(is_stuff, num_queries + labels, jnp.arange(num_queries))
    segments = jnp.where((is_visible & keep_mask).any(-1), segment[owner], -1).astype(jnp.int32)
    things = jnp.where(keep_mask & ~is_stuff, labels, -1)
    stuff = jnp.arange(num_stuff)
    has_stuff = ((labels == stuff[:, None]) & keep_mask).any(-1)
    return segments, jnp.concatenate([things, jnp.where(has_stuff, stuff, -1)]).astype(jnp.int32)


def true_masks(example: dict[str, jax.Array], num_stuff: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Give each visible thing and each class of stuff of one image a mask.

    Args:
      example: `image: [H, W, K]`; of things `masks: [M, H, W]` bool, whole objects from the farthest to the nearest,
        `labels: [M]` and `box_mask: [M]`; of stuff `semantic: [H, W]`. Either may be absent.
      num_stuff: S, number of stuff classes.

    Returns:
      (masks [M + S, H, W] bool; classes [M + S] int, the stuff first; valid [M + S] bool, False for what is not there).
    """
    needed = ("image", "labels", "box_mask") if "masks" in example else ("image",)
    if missing := [name for name in needed if name not in example]:
        raise ValueError(
            f"example: no {', '.join(missing)}; allowed: a dict of {', '.join(needed)} and what else it has"
        )
    size = example["image"].shape[:2]
    semantic = example.get("semantic", jnp.full(size, 255, jnp.uint8))
    if "masks" in example:
        things = example["masks"], example["labels"], example["box_mask"]
    else:
        things = jnp.zeros((0, *size), bool), jnp.zeros(0, jnp.int32), jnp.zeros(0, bool)
    segments, classes = target_segments(*things, semantic, num_stuff)
    masks = segments == jnp.arange(len(classes))[:, None, None]
    return masks, classes, (classes >= 0) & masks.any((1, 2))


def _check_stuff(num_stuff: int, num_classes: int) -> None:
    check_whole_number("num_stuff", num_stuff, 0)
    if num_stuff > num_classes:
        raise ValueError(f"num_stuff={num_stuff}: too large; allowed: at most the {num_classes} classes")


def _check_queries(num_queries: int, num_segments: int, num_stuff: int) -> None:
    """Check that there is a query for each segment that an image may have."""
    if num_queries < num_segments:
        raise ValueError(
            f"model: {num_queries} queries; allowed: at least {num_segments}, for {num_segments - num_stuff} things "
            f"and {num_stuff} classes of stuff of an image"
        )


def _predict_image(
    outputs: MaskOutputs, size: tuple[int, int], num_stuff: int, detections_per_img: int, **thresholds: Any
) -> dict[str, jax.Array]:
    """Predict one image from the outputs of its last layer."""
    class_logits, mask_logits = outputs.class_logits[-1], outputs.mask_logits[-1]
    scores = resize(semantic_scores(class_logits, mask_logits)[None], size, "bilinear").squeeze(0)  # [H, W, C]
    mask_logits = resize(mask_logits[None], size, "bilinear").squeeze(0)  # [H, W, Q]
    segments, labels = panoptic_segments(class_logits, mask_logits, num_stuff, **thresholds)
    detections = instance_detections(class_logits, mask_logits, num_stuff, detections_per_img)
    classes = scores.argmax(-1).astype(jnp.uint8)
    return {**detections, "classes": classes, "segments": segments, "segment_labels": labels}


def _semantic_quality(outputs: MaskOutputs, batch: dict) -> Metrics:
    """Measure the semantic map where the batch has one."""
    if "semantic" not in batch:
        return {}
    scores = semantic_scores(outputs.class_logits[:, -1], outputs.mask_logits[:, -1])
    classes = resize(scores, batch["semantic"].shape[1:], "bilinear").argmax(-1)
    labels, mask = batch["semantic"].astype(jnp.int32), mask_of(batch)
    return {"mean_iou": MeanIoU.of(classes, labels, mask, scores.shape[-1], void_label=255)}


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    num_stuff: Annotated[Any, Range(0)],
    preprocess: Callable[[jax.Array], jax.Array] = lambda image: image,
    augment: Any = None,
    weights: MaskLossWeights = MaskLossWeights(),
    sampling: PointSampling = PointSampling(),
    auxiliary: bool = True,
    score_thresh: Annotated[float, Range(0, 1)] = 0.8,
    min_visible: Annotated[float, Range(0, 1)] = 0.8,
    detections_per_img: Annotated[int, Range(1)] = 100,
) -> Learner:
    """Train a segmenter of queries, whose outputs are semantic, instance and panoptic maps at once.

    A batch has `image: [B, H, W, K]` and `index: [B]`; for things `masks: [B, M, H, ceil(W / 8)]` (whole objects from
    the farthest to the nearest, bits packed along the width), `labels: [B, M]` among the things and `box_mask: [B, M]`;
    for stuff `semantic: [B, H, W]` uint8, of which classes from `num_stuff` on make no masks. Semantic segmentation has
    no things, and all its classes are stuff; instance segmentation has no `semantic`, and `num_stuff` is 0.

    Args:
      model: `__call__(images, train) -> MaskOutputs`, whose C classes are the stuff, then the things.
      num_stuff: int, classes of stuff, which come first.
      weights: weights of the losses and of the matching.
      sampling: points at which masks are compared.
      auxiliary: take the loss after every layer, not the last alone.
      score_thresh: queries with a larger probability of their class are segments.
      min_visible: smallest fraction of its mask that a segment keeps.
      detections_per_img: K, objects of an image at most.

    Returns:
      The learner; predict returns `classes: [B, H, W] uint8`, the semantic map; `segments: [B, H, W] int32` and
      `segment_labels: [B, Q + S]`, the panoptic one; `boxes: [B, K, 4]`, `scores`, `labels`, `valid: [B, K]` and
      `masks: [B, K, 28, 28]`, the objects.
    """
    losses = partial(image_losses, weights=weights, sampling=sampling, auxiliary=auxiliary)
    thresholds = {"score_thresh": score_thresh, "min_visible": min_visible}

    def init(rng: jax.Array, batch: dict) -> ModelState:
        return init_model_state(model, optimizer, rng, preprocess(batch["image"]))

    def objective(params: Any, state: ModelState, batch: dict, example: dict, keys: jax.Array, dropout: Any = None):
        # Visible things and classes of stuff, each with a mask.
        targets = jax.vmap(partial(true_masks, num_stuff=num_stuff))(example)
        outputs, model_state = apply_model(
            model, params, state.model_state, example["image"], train=dropout is not None, rng=dropout
        )
        _check_queries(outputs.class_logits.shape[2], targets[0].shape[1], num_stuff)
        # Match and compare image by image; padded examples count for nothing.
        sums = jax.vmap(losses)(*outputs, *targets, keys)
        mask = mask_of(batch) > 0
        value, metrics = normalize_losses(jax.tree.map(lambda values: jnp.where(mask, values, 0).sum(), sums))
        return value, (metrics, model_state, outputs)

    def measure(params: Any, state: ModelState, batch: dict):
        keys = example_keys(state.rng, batch)
        return objective(params, state, batch, augment_examples(None, keys, preprocess(batch["image"]), batch), keys)

    def loss(params: Any, state: ModelState, batch: dict) -> tuple[jax.Array, Metrics]:
        value, (metrics, *_) = measure(params, state, batch)
        return value, metrics

    def update(state: ModelState, batch: dict) -> tuple[ModelState, Metrics]:
        rng = jax.random.fold_in(state.rng, state.step)
        # Augment images, masks and maps together.
        keys = example_keys(jax.random.fold_in(rng, 0), batch)  # [B]
        example = augment_examples(augment, keys, preprocess(batch["image"]), batch)
        # Gradient of the losses of all layers.
        dropout, point_keys = replica_key(jax.random.fold_in(rng, 1)), example_keys(jax.random.fold_in(rng, 2), batch)
        inputs = state, batch, example, point_keys, dropout
        gradients, (metrics, model_state, _) = jax.grad(objective, has_aux=True)(state.params, *inputs)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients, model_state=model_state), metrics

    def evaluate(state: ModelState, batch: dict) -> Metrics:
        _, (metrics, _, outputs) = measure(state.params, state, batch)
        return {**metrics, **_semantic_quality(outputs, batch)}

    def predict(state: ModelState, batch: dict) -> dict[str, jax.Array]:
        images = preprocess(batch["image"])
        outputs, _ = apply_model(model, state.params, state.model_state, images, train=False)
        shared = {"size": images.shape[1:3], "num_stuff": num_stuff, "detections_per_img": detections_per_img}
        return jax.lax.map(partial(_predict_image, **shared, **thresholds), outputs)

    def classes(state: ModelState, batch: dict) -> dict[str, Labels]:
        images = jax.eval_shape(preprocess, batch["image"])
        outputs = jax.eval_shape(partial(apply_model, model, train=False), state.params, state.model_state, images)[0]
        things = Labels(outputs.class_logits.shape[-1] - 1 - num_stuff, valid="box_mask")
        return {"labels": things} if "labels" in batch else {}

    return Learner(init, update, evaluate, predict, loss, classes=classes)
