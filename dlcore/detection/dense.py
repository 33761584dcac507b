"""Dense detectors, which predict at every location of a pyramid: heads, from scores to detections, and the learner."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.choices import check_choice, check_whole_number
from dlcore.data.augment import augment_examples
from dlcore.detection.denoising import of_image_fractions
from dlcore.detection.fpn import FeaturePyramid
from dlcore.detection.padding import ImageSize, add_image_sizes, clip_sizes, zero_padding
from dlcore.learner import Labels, Learner, Metrics, ModelState, Range, Sum, example_keys, mask_of
from dlcore.metrics.total_loss import at_most_float32, normalize_losses
from dlcore.nn import Conv, GroupNorm
from dlcore.nn.apply import apply_model
from dlcore.ops.boxes import clip_boxes
from dlcore.ops.checks import check_shapes
from dlcore.ops.nms import nms, top_detections
from dlcore.ops.precision import acc_dtype_of
from dlcore.ops.replica import replica_key
from dlcore.optim import apply_gradients, init_model_state

__all__ = [
    "Candidates",
    "Predictions",
    "Thresholds",
    "best_detections",
    "check_postprocess",
    "detector_learner",
    "flatten_levels",
    "head_conv",
    "label_classes",
    "named_maps",
    "predict_locations",
    "pyramid_towers",
    "select",
    "topk_by_class",
    "topk_by_level",
    "tower",
]


def named_maps(maps: Mapping[str, jax.Array], stages: Sequence[str]) -> list[jax.Array]:
    """Pick maps of a backbone by name.

    Args:
      maps: {stage: [B, H, W, C]}.
      stages: names, finest first.

    Returns:
      The maps of the stages.
    """
    if missing := [name for name in stages if name not in maps]:
        raise ValueError(f"stages={missing}: not in the backbone; allowed: {list(maps)}")
    return [maps[name] for name in stages]


def head_conv(name: str, features: int, dtype: Any = None, bias_init: Any = nn.initializers.zeros) -> Conv:
    """Build a 3x3 convolution of a head, from N(0, 0.01^2).

    Args:
      name: name of the submodule.
      features: output channels.
      bias_init: initializer of the bias.
    """
    check_whole_number("features", features, 1)
    init = nn.initializers.normal(0.01)
    return Conv(features, (3, 3), padding=1, dtype=dtype, kernel_init=init, bias_init=bias_init, name=name)


def tower(
    kind: str, num_convs: int, channels: int, num_groups: int | None = None, dtype: Any = None
) -> Callable[[jax.Array], jax.Array]:
    """Build the convolutions of a head, each followed by a group normalization and a ReLU; call in a compact module.

    Args:
      kind: submodules are {kind}_conv0, ... and {kind}_norm0, ...
      num_convs: depth.
      channels: number of channels of every convolution.
      num_groups: number of groups of the normalizations; None for no normalization.

    Returns:
      A function of one level, [B, h, w, C] -> [B, h, w, channels]; levels share its parameters.
    """
    check_whole_number("num_convs", num_convs, 0)
    check_whole_number("channels", channels, 1)
    layers = []
    for i in range(num_convs):
        layers.append(head_conv(f"{kind}_conv{i}", channels, dtype))
        if num_groups is not None:
            layers.append(GroupNorm(num_groups, dtype=dtype, name=f"{kind}_norm{i}"))
        layers.append(nn.relu)

    def apply(x: jax.Array) -> jax.Array:
        for layer in layers:
            x = layer(x)
        return x

    return apply


def pyramid_towers(
    detector: Any, x: jax.Array, train: bool
) -> tuple[list[jax.Array], Callable[[jax.Array], jax.Array], Callable[[jax.Array], jax.Array]]:
    """Run backbone and feature pyramid, and build the towers of two heads; call in a compact module.

    Args:
      detector: the module, with the fields backbone, stages, channels, extra_blocks, num_convs, num_groups and dtype.
      x: [B, H, W, C], sides multiples of the finest stride.

    Returns:
      (levels [B, h, w, channels], the tower of classification, that of regression); all levels share the towers.
    """
    # Backbone and feature pyramid.
    maps = named_maps(detector.backbone.features(x, train=train), detector.stages)
    levels = FeaturePyramid(detector.channels, detector.extra_blocks, detector.dtype, name="fpn")(maps)
    # Heads are shared by all levels.
    classification, regression = (
        tower(kind, detector.num_convs, detector.channels, detector.num_groups, detector.dtype)
        for kind in ("classification", "regression")
    )
    return levels, classification, regression


def flatten_levels(levels: Sequence[jax.Array], num_anchors: int = 1) -> jax.Array:
    """Join a head's outputs on all levels, location by location.

    Args:
      levels: [B, h, w, A K], finest first.
      num_anchors: A, anchors at each location.

    Returns:
      [B, L, K], at least float32; L counts the anchors of all levels.
    """
    check_whole_number("num_anchors", num_anchors, 1)
    if not levels or any(x.ndim != 4 or x.shape[-1] % num_anchors for x in levels):
        shapes = [x.shape for x in levels]
        raise ValueError(
            f"levels={shapes}: not of {num_anchors} anchors; allowed: [B, h, w, {num_anchors} K], at least one"
        )
    flat = [x.reshape(x.shape[0], -1, x.shape[-1] // num_anchors) for x in levels]
    return jnp.concatenate(flat, 1).astype(acc_dtype_of(levels[0].dtype))


class Thresholds(NamedTuple):
    """From the scores of a dense detector to the detections of an image.

    Args:
      score_thresh: least score of a detection.
      nms_thresh: largest IoU of two detections of one class.
      topk_candidates: best scores that go on to suppression: of each level, of each class in SSD.
      detections_per_img: K, detections of an image at most.
    """

    score_thresh: Annotated[float, Range(0, 1)] = 0.05
    nms_thresh: Annotated[float, Range(0, 1)] = 0.5
    topk_candidates: Annotated[int, Range(1)] = 1000
    detections_per_img: Annotated[int, Range(1)] = 100


class Candidates(NamedTuple):
    """Boxes of one image before suppression.

    Args:
      boxes: [N, 4] corners in pixels.
      scores: [N].
      labels: [N] int.
      levels: [N] int.
    """

    boxes: jax.Array
    scores: jax.Array
    labels: jax.Array
    levels: jax.Array


def topk_by_level(scores: jax.Array, boxes: jax.Array, counts: Sequence[int], topk_candidates: int) -> Candidates:
    """Take the best scores of each level, over locations and classes together (RetinaNet, FCOS, region proposals).

    Args:
      scores: [L, C], of each class at each location.
      boxes: [L, 4].
      counts: locations of each level, adding up to L.
      topk_candidates: scores taken of each level, at most.

    Returns:
      The candidates, level by level.
    """
    check_whole_number("topk_candidates", topk_candidates, 1)
    for i, count in enumerate(counts):
        check_whole_number(f"counts[{i}]", count, 0)
    check_shapes(scores=(scores, f"{sum(counts)} C"), boxes=(boxes, f"{sum(counts)} 4"))
    classes, candidates, start = scores.shape[-1], [], 0
    for level, count in enumerate(counts):
        best, at = jax.lax.top_k(scores[start : start + count].reshape(-1), min(topk_candidates, count * classes))
        candidates.append(Candidates(boxes[start + at // classes], best, at % classes, jnp.full(at.shape, level)))
        start += count
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *candidates)


def topk_by_class(scores: jax.Array, boxes: jax.Array, topk_candidates: int | None = None) -> Candidates:
    """Take the best scores of each class (SSD, and the second stage of two-stage detectors).

    Args:
      scores: [L, C], without the background's column.
      boxes: [L, 4], or [L, C, 4] where each class has its own.
      topk_candidates: scores taken of each class, at most; None for all.

    Returns:
      The candidates, class by class, all of level 0.
    """
    check_shapes(scores=(scores, "L C"), boxes=(boxes, "L 4" if np.ndim(boxes) == 2 else "L C 4"))
    if topk_candidates is not None:
        check_whole_number("topk_candidates", topk_candidates, 1)
    count, classes = scores.shape
    best, at = jax.lax.top_k(scores.T, count if topk_candidates is None else min(topk_candidates, count))
    labels = jnp.broadcast_to(jnp.arange(classes)[:, None], at.shape)
    boxes = boxes[at] if boxes.ndim == 2 else boxes[at, labels]
    return Candidates(boxes.reshape(-1, 4), best.reshape(-1), labels.reshape(-1), jnp.zeros(at.size, int))


def select(
    candidates: Candidates,
    size: ImageSize,
    *,
    score_thresh: float | jax.Array,
    nms_thresh: float | jax.Array,
    detections_per_img: int,
    min_size: float = 0.0,
    within: Literal["labels", "levels"] = "labels",
    num_blocks: int = 1,
) -> dict[str, jax.Array]:
    """Turn the candidates of one image into detections: clip, threshold, suppress, and keep the best.

    Args:
      size: (height, width) that boxes are clipped to.
      score_thresh: candidates score more than this.
      nms_thresh: largest IoU of two detections of one class (or level).
      detections_per_img: K.
      min_size: least side of a clipped box, in pixels.
      within: suppress within each class, or within each level.
      num_blocks: equal parts of the candidates, one after the other, that share no class (or level): those of
        `topk_by_class` have one a class. Overlaps are then computed within each part alone.

    Returns:
      `{"boxes": [K, 4], "scores": [K], "labels": [K] int32, "valid": [K] bool}`, best first; padding has score 0,
      label -1 and an empty box.
    """
    check_shapes(score_thresh=(score_thresh, "finite"), nms_thresh=(nms_thresh, "0 to 1"), min_size=(min_size, ">= 0"))
    check_shapes(scores=(candidates.scores, "N finite"), detections_per_img=(detections_per_img, "int >= 1"))
    check_choice("within", within, ("labels", "levels"))
    if num_blocks < 1 or len(candidates.scores) % num_blocks:
        raise ValueError(f"num_blocks={num_blocks}: no divisor; allowed: those of {len(candidates.scores)} candidates")
    boxes, scores = clip_boxes(candidates.boxes, size), candidates.scores  # [N, 4], [N]
    sides = boxes[:, 2:] - boxes[:, :2]
    # Drop low scores and tiny boxes.
    valid = (scores > score_thresh) & (sides.min(-1) >= min_size)
    groups = getattr(candidates, within)
    # NMS within each group, in blocks that no group spans.
    keep_mask = jax.vmap(
        lambda boxes, scores, groups, valid: nms(boxes, scores, nms_thresh, groups=groups, valid=valid)
    )(*(part.reshape(num_blocks, -1, *part.shape[1:]) for part in (boxes, scores, groups, valid))).reshape(-1)
    return best_detections(boxes, scores, candidates.labels, keep_mask, detections_per_img)


def check_postprocess(sides: jax.Array, score_thresh: float | jax.Array, detections_per_img: int) -> None:
    """Check what a detector of queries is given beside its outputs.

    Args:
      sides: [4], (width, height, width, height) of the image in pixels.
      score_thresh: detections score more than this.
      detections_per_img: K.
    """
    check_shapes(sides=(sides, "4"))
    check_shapes(sides=(sides, "... > 0"), score_thresh=(score_thresh, "finite"))
    check_whole_number("detections_per_img", detections_per_img, 1)


def best_detections(
    boxes: jax.Array, scores: jax.Array, labels: jax.Array, keep_mask: jax.Array, count: int
) -> dict[str, jax.Array]:
    """Keep the best detections of one image, padded to a fixed number.

    Args:
      boxes: [N, 4].
      scores: [N].
      labels: [N] int.
      keep_mask: [N] bool, False for what is no detection.
      count: K.

    Returns:
      As `select`.
    """
    best, valid = top_detections(keep_mask, scores, count)
    return {
        "boxes": jnp.where(valid[:, None], boxes[best], 0),
        "scores": jnp.where(valid, scores[best], 0),
        "labels": jnp.where(valid, labels[best], -1).astype(jnp.int32),
        "valid": valid,
    }


class Predictions(NamedTuple):
    """What a dense detector predicts for a batch.

    Args:
      outputs: a NamedTuple of [B, L, ...].
      locations: the L locations, as `detector_learner` describes them.
      axis: 0 where each image has locations of its own, [B, ...]; None where all images share them.
    """

    outputs: Any
    locations: Any
    axis: int | None


def predict_locations(
    model: nn.Module,
    params: Any,
    model_state: Any,
    batch: dict,
    dropout: jax.Array | None = None,
    targets: tuple[jax.Array, jax.Array, jax.Array] | None = None,
) -> tuple[Predictions, Any]:
    """Apply a dense detector.

    Args:
      model: model, as `detector_learner` describes it; one with `takes_image_size = True` is called with `image_size`
        behind the images, where the batch has it, and then has locations of its own for each image.
      params: parameters of the model.
      model_state: its other collections.
      batch: `image: [B, H, W, C]`, the model's input, and `image_size: [B, 2]` where it is padded.
      dropout: key; None outside training.
      targets: (boxes [B, M, 4] in pixels, labels [B, M], valid [B, M]) for a model with `takes_targets = True`, which
        is then called in training with them as `targets`, a `dlcore.detection.denoising.Targets`; None for none.

    Returns:
      (predictions, model_state after it).
    """
    takes_size = getattr(model, "takes_image_size", False) and "image_size" in batch
    inputs = (batch["image"], batch["image_size"]) if takes_size else (batch["image"],)
    keywords = {}
    if dropout is not None and targets is not None and getattr(model, "takes_targets", False):
        keywords["targets"] = of_image_fractions(*targets, batch["image"].shape[1:3])
    (outputs, locations), model_state = apply_model(
        model, params, model_state, *inputs, train=dropout is not None, rng=dropout, **keywords
    )
    return Predictions(outputs, locations, 0 if takes_size else None), model_state


def _totals(function: Callable[..., dict], predictions: Predictions, targets: tuple, mask: jax.Array) -> dict:
    """Sums over a batch of what `function` gives for each image; images that `mask` [B] leaves out count nothing."""
    axes = (0, predictions.axis, *(0 for _ in targets))
    per_image = jax.vmap(function, axes)(predictions.outputs, predictions.locations, *targets)
    return jax.tree.map(lambda values: jnp.where(mask, values, 0).sum(), per_image)


def label_classes(model: nn.Module, state: ModelState, batch: dict) -> dict[str, Labels]:
    """Say how many classes the labels of a batch have.

    Args:
      model: model with `num_classes`, where it knows them.
      state: not used.
      batch: not used.

    Returns:
      {"labels": classes} or {}.
    """
    return {"labels": Labels(model.num_classes, valid="box_mask")} if hasattr(model, "num_classes") else {}


def steps_of(objective: Callable[..., Any], optimizer: optax.GradientTransformation) -> tuple[Callable[..., Any], ...]:
    """(`loss`, `update`, `evaluate`) by objective(params, state, batch, train) -> (loss, (metrics, model_state))."""

    def loss(params: Any, state: ModelState, batch: dict) -> tuple[jax.Array, Metrics]:
        value, (metrics, _) = objective(params, state, batch, train=False)
        return value, metrics

    def update(state: ModelState, batch: dict) -> tuple[ModelState, Metrics]:
        # Gradient of the objective.
        gradients, (metrics, model_state) = jax.grad(objective, has_aux=True)(state.params, state, batch, train=True)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients, model_state=model_state), metrics

    def evaluate(state: ModelState, batch: dict) -> Metrics:
        return loss(state.params, state, batch)[1]

    return loss, update, evaluate


def detector_learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    losses: Callable[..., dict[str, Any]],
    measures: Callable[..., dict[str, Any]] | None = None,
    postprocess: Callable[[Any, Any, ImageSize], dict[str, jax.Array]],
    preprocess: Callable[[jax.Array], jax.Array] = lambda image: image,
    augment: Any = None,
) -> Learner:
    """Train a detector of boxes and classes.

    A batch is `{"image": [B, H, W, C], "boxes": [B, M, 4] pixels, "labels": [B, M] int, "box_mask": [B, M]}`, and
    `image_size: [B, 2]` (height, width) where images are padded to a canvas (`dlcore.detection.padding`). The loss is
    divided by the number of foreground locations in the whole batch, over all devices.

    Args:
      model: `__call__(images [B, H, W, C], train) -> (outputs, locations)`: a NamedTuple of [B, L, ...], and what these
        L are (a `Grid`, `Anchors`), the same for every image but as `predict_locations` says; in training it may need
        the rng "dropout".
      losses: `(outputs, locations, boxes, labels, valid) -> {name: sum over the locations}` of one image;
        "num_foreground" is the number of foreground locations, the other sums add up to the loss. A pair (sum, weight)
        is divided by the weight in the whole batch instead.
      measures: measures with the arguments of `losses`, what to report beside them: {name: number}, added up, or {name:
        (number, weight)}, a mean; None for nothing.
      postprocess: `(outputs, locations, (height, width)) -> detections` of one image, as `select` returns them.
      preprocess: batch of images to the model's input, of the same size.
      augment: `(key, example) -> example` of one preprocessed training example (`dlcore.data.augment.examples`); None
        for none.

    Returns:
      The learner; predict returns `{"boxes": [B, K, 4] in pixels, "scores", "labels", "valid": [B, K]}`, best first,
      and the sizes of padded images (`dlcore.detection.padding.add_image_sizes`).
    """

    def init(rng: jax.Array, batch: dict) -> ModelState:
        return init_model_state(model, optimizer, rng, preprocess(batch["image"]))

    def objective(params, state: ModelState, batch: dict, train: bool):
        key = jax.random.fold_in(state.rng, state.step)
        # Augment images and boxes together.
        example = {"image": zero_padding(preprocess(batch["image"]), batch)}
        example |= {name: batch[name] for name in ("boxes", "box_mask", "labels", "image_size") if name in batch}
        if train and augment is not None:
            example = augment_examples(augment, example_keys(key, batch), example["image"], example)
        # Dense predictions at every location, [B, L, ...].
        dropout = replica_key(jax.random.fold_in(key, 1)) if train else None
        targets = example["boxes"], example["labels"], example["box_mask"].astype(bool)
        predictions, model_state = predict_locations(model, params, state.model_state, example, dropout, targets)
        boxes = example["boxes"].astype(jax.tree.leaves(predictions.outputs)[0].dtype)
        targets = boxes, *targets[1:]
        # Sum the losses of each image, then of the batch; padded examples count for nothing.
        mask = mask_of(batch) > 0
        value, metrics = normalize_losses(_totals(losses, predictions, targets, mask))
        for name, measure in (_totals(measures, predictions, targets, mask) if measures is not None else {}).items():
            metrics[name] = jax.tree.map(at_most_float32, Sum(*measure) if isinstance(measure, tuple) else Sum(measure))
        return value, (metrics, model_state)

    # Gradient of the summed losses over the foreground count, then the optimizer step.
    loss, update, evaluate = steps_of(objective, optimizer)

    def predict(state: ModelState, batch: dict) -> dict[str, jax.Array]:
        example = {**batch, "image": zero_padding(preprocess(batch["image"]), batch)}
        predictions, _ = predict_locations(model, state.params, state.model_state, example)
        # Boxes are clipped to the image, not to the canvas that it was padded to.
        sizes, axis = clip_sizes(batch, example["image"])
        detect = jax.vmap(postprocess, (0, predictions.axis, axis))
        return add_image_sizes(detect(predictions.outputs, predictions.locations, sizes), batch)

    return Learner(init, update, evaluate, predict, loss, classes=partial(label_classes, model))
