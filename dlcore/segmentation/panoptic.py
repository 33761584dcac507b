"""Panoptic segmentation: every pixel gets a class, and of things also the object that it belongs to.

Kirillov, He, Girshick, Rother & Dollar, "Panoptic segmentation" (2019), arXiv:1801.00868, section 7: a mask detector
and a semantic segmenter, trained independently, whose outputs are merged.

    for objects from the highest score down:   part = mask and not yet assigned
        if |part| > v |mask|:   a segment, and its pixels are assigned
    other pixels:  the semantic map's stuff, where a class covers a pixels or more; else no segment

A semantic map separates classes, not objects: two touching things of one class form one region. Its connected
regions are the baseline (`components`). Segments are numbers by pixel, with a class for each number; classes
count the stuff first, then the things.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dlcore.choices import check_whole_number
from dlcore.learner import Evaluator, Learner, Metrics, Range, State, check_arguments
from dlcore.metrics.panoptic import PanopticQuality
from dlcore.ops.checks import check_class_ids, check_range, check_shapes
from dlcore.ops.mask_paste import paste_masks

__all__ = ["PanopticState", "components", "learner", "merge", "panoptic_evaluator", "target_segments"]


def merge(
    masks: jax.Array,
    scores: jax.Array,
    labels: jax.Array,
    valid: jax.Array,
    semantic: jax.Array,
    num_stuff: int,
    score_thresh: float = 0.5,
    min_visible: float = 0.5,
    min_stuff: int = 0,
) -> tuple[jax.Array, jax.Array]:
    """Merge the objects and the semantic map of one image.

    Args:
      masks: [K, H, W] bool, of the objects.
      scores: [K].
      labels: [K] int, classes among the things.
      valid: [K].
      semantic: [H, W] int; classes from `num_stuff` on, and void, are no stuff.
      num_stuff: S, number of stuff classes.
      score_thresh: smallest score of an object.
      min_visible: keep an object of which more than this fraction, or all, of its mask is visible.
      min_stuff: smallest area of a stuff class, in pixels.

    Returns:
      (segments [H, W] int32, -1 for none; classes [K + S] int32 of the segments, -1 for one that is not used). Object k
      is segment k, stuff s is segment K + s.
    """
    check_shapes(
        masks=(masks, "mask K H W"),
        scores=(scores, "K finite"),
        labels=(labels, "int K"),
        valid=(valid, "mask K"),
        semantic=(semantic, "int H W"),
        score_thresh=(score_thresh, "0 to 1"),
        min_visible=(min_visible, "0 to 1"),
    )
    check_class_ids("labels", labels, None, valid=valid)
    check_whole_number("num_stuff", num_stuff, 0)
    check_whole_number("min_stuff", min_stuff, 0)
    count = len(scores)
    masks, labels = jnp.asarray(masks, bool), jnp.asarray(labels)
    masks = masks & ((valid > 0) & (scores >= score_thresh))[:, None, None]  # [K, H, W]

    def add(segments: jax.Array, k: jax.Array) -> tuple[jax.Array, jax.Array]:
        free_mask = masks[k] & (segments < 0)
        # Merge objects from the highest score on; drop those that are mostly hidden.
        free_area, area = free_mask.sum(), masks[k].sum()
        keep_mask = (free_area > min_visible * area) | ((free_area == area) & (area > 0))
        return jnp.where(free_mask & keep_mask, k, segments), keep_mask

    order = jnp.argsort(-scores)
    segments, keep_masks = jax.lax.scan(add, jnp.full(semantic.shape, -1, jnp.int32), order.astype(jnp.int32))
    semantic = semantic.astype(jnp.int32)
    # Stuff fills the remaining pixels.
    stuff = jnp.where((segments < 0) & (semantic < num_stuff), semantic, -1)
    is_large_enough = (stuff[..., None] == jnp.arange(num_stuff)).sum((0, 1)) >= max(min_stuff, 1)
    segments = jnp.where((stuff >= 0) & is_large_enough[stuff], count + stuff, segments)
    things = jnp.full(count, -1, jnp.int32).at[order].set(jnp.where(keep_masks, num_stuff + labels[order], -1))
    return segments, jnp.concatenate([things, jnp.where(is_large_enough, jnp.arange(num_stuff), -1)]).astype(jnp.int32)


def target_segments(
    masks: jax.Array, labels: jax.Array, valid: jax.Array, semantic: jax.Array, num_stuff: int
) -> tuple[jax.Array, jax.Array]:
    """Number the true segments of one image.

    Args:
      masks: [M, H, W] bool, whole objects from the farthest to the nearest.
      labels: [M] int, classes among the things.
      valid: [M]; the pixels of other masks, such as those of crowds, are void.
      semantic: [H, W] int; classes from `num_stuff` on, and void, are no stuff.
      num_stuff: S.

    Returns:
      (segments [H, W] int32, -1 for void; classes [M + S] int32), as `merge`.
    """
    check_shapes(
        masks=(masks, "mask M H W"), labels=(labels, "int M"), valid=(valid, "mask M"), semantic=(semantic, "int H W")
    )
    check_class_ids("labels", labels, None, valid=valid)
    check_range("semantic", semantic, 0)
    check_whole_number("num_stuff", num_stuff, 0)
    count = len(labels)
    # The nearest mask owns a pixel; stuff is behind all things.
    nearest = jnp.where(masks, jnp.arange(1, count + 1)[:, None, None], 0).max(0, initial=0) - 1  # [H, W]
    semantic = semantic.astype(jnp.int32)
    behind = jnp.where(semantic < num_stuff, count + semantic, -1)  # [H, W]
    # Pixels of crowds are void.
    instance_idx = jnp.where((valid > 0)[jnp.maximum(nearest, 0)], nearest, -1) if count else nearest
    segments = jnp.where(nearest >= 0, instance_idx, behind)
    things = jnp.where(valid > 0, num_stuff + labels, -1)
    return segments, jnp.concatenate([things, jnp.arange(num_stuff)]).astype(jnp.int32)


def components(semantic: np.ndarray, num_stuff: int, room: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Convert each connected region of a thing class in a semantic map to an object.

    Args:
      semantic: [H, W] int, classes.
      num_stuff: S.
      room: largest number of objects; the largest are kept.

    Returns:
      (segments [H, W] int32, classes [room + S] int32), as `merge`.
    """
    check_shapes(semantic=(semantic, "int H W"))
    semantic = np.asarray(semantic)
    check_range("semantic", semantic, 0)
    check_whole_number("num_stuff", num_stuff, 0)
    check_whole_number("room", room, 0)
    from scipy.ndimage import label

    segments = np.where(semantic < num_stuff, room + semantic.astype(np.int32), -1)
    classes = np.full(room + num_stuff, -1, np.int32)
    classes[room:] = np.arange(num_stuff)
    regions = []
    # Connected regions of each thing class are its objects.
    for c in np.unique(semantic[(semantic >= num_stuff) & (semantic != 255)]):
        regions_of_class, count = label(semantic == c)
        regions += [(regions_of_class == i, int(c)) for i in range(1, count + 1)]
    # Keep the largest regions.
    for k, (region, c) in enumerate(sorted(regions, key=lambda r: -r[0].sum())[:room]):
        segments[region], classes[k] = k, c
    return segments, classes


@struct.dataclass
class PanopticState(State):
    """State of the detector and of the segmenter.

    Args:
      parts: {"instances", "semantic"}: their states, without the parameters and the optimizers' states, which are in
        `params` and `opt_state` under the same names.
    """

    parts: Any


_PREFIX = {"instances": "instance", "semantic": "semantic"}
"""Prefix of the metrics of each part."""


def _join_states(states: dict[str, State]) -> PanopticState:
    """Join the states of both parts; steps and keys are those of the first."""
    first = states["instances"]
    return PanopticState(
        step=first.step,
        rng=first.rng,
        params={name: part.params for name, part in states.items()},
        opt_state={name: part.opt_state for name, part in states.items()},
        parts={name: part.replace(params=None, opt_state=None) for name, part in states.items()},
    )


def _part_state(state: PanopticState, name: str) -> State:
    """Return the state of one part, as its learner's State."""
    return state.parts[name].replace(params=state.params[name], opt_state=state.opt_state[name])


def _prefix_names(metrics: dict[str, Metrics]) -> Metrics:
    return {f"{_PREFIX[name]}_{key}": value for name, values in metrics.items() for key, value in values.items()}


def _merge_batch(
    detections: dict[str, jax.Array], classes: jax.Array, num_stuff: int, **thresholds: Any
) -> dict[str, jax.Array]:
    """Paste the masks [B, K, M, M] of detections and merge them with semantic maps [B, H, W], image by image."""

    def merge_image(image: tuple[dict, jax.Array]) -> tuple[jax.Array, jax.Array]:
        detection, semantic = image
        masks = paste_masks(detection["masks"], detection["boxes"], semantic.shape, whole_pixels=False) > 0.5
        objects = (masks, detection["scores"], detection["labels"], detection["valid"])
        return merge(*objects, semantic, num_stuff, **thresholds)

    segments, labels = jax.lax.map(merge_image, (detections, classes))
    return {**detections, "classes": classes, "segments": segments, "segment_labels": labels}


@check_arguments
def learner(
    *,
    instances: Learner,
    semantic: Learner,
    num_stuff: Annotated[Any, Range(0)],
    score_thresh: Annotated[float, Range(0, 1)] = 0.5,
    min_visible: Annotated[float, Range(0, 1)] = 0.5,
    min_stuff: Annotated[int, Range(0)] = 64,
) -> Learner:
    """Train a mask detector and a segmenter on the same batches, each by its own learner, and merge what they predict.

    A batch has what both read: `{"image": [B, H, W, C], "boxes", "labels", "box_mask", "masks", "semantic", "index"}`.

    Args:
      instances: predict returns `{"boxes": [B, K, 4], "scores", "labels", "valid": [B, K], "masks": [B, K, M, M]}`, the
        masks as probabilities in the frames of the boxes.
      semantic: predict returns `{"classes": [B, H, W]}`, the stuff first.
      num_stuff: int, classes of stuff.
      score_thresh: smallest score of an object.
      min_visible: keep an object of which more than this fraction, or all, of its mask is visible.
      min_stuff: smallest area of a stuff class, in pixels.

    Returns:
      The learner; predict returns the outputs of both, and `{"segments": [B, H, W] int32, "segment_labels": [B, K +
      S]}`.
    """
    learners = {"instances": instances, "semantic": semantic}
    thresholds = {"score_thresh": score_thresh, "min_visible": min_visible, "min_stuff": min_stuff}

    def init(rng: jax.Array, batch: dict) -> PanopticState:
        keys = (jax.random.fold_in(rng, i) for i in range(len(learners)))
        return _join_states(
            {name: part.init(key, batch) for key, (name, part) in zip(keys, learners.items(), strict=True)}
        )

    def update(state: PanopticState, batch: dict) -> tuple[PanopticState, Metrics]:
        # The instance and the semantic learner update parameters of their own.
        pairs = {name: part.update(_part_state(state, name), batch) for name, part in learners.items()}
        states = {name: pair[0] for name, pair in pairs.items()}
        # Prefix metrics with the part's name.
        return _join_states(states), _prefix_names({name: pair[1] for name, pair in pairs.items()})

    def evaluate(state: PanopticState, batch: dict) -> Metrics:
        return _prefix_names({name: part.evaluate(_part_state(state, name), batch) for name, part in learners.items()})

    def predict(state: PanopticState, batch: dict) -> dict[str, jax.Array]:
        # Objects with their masks, and the class of every pixel.
        detections = instances.predict(_part_state(state, "instances"), batch)
        classes = semantic.predict(_part_state(state, "semantic"), batch)["classes"]
        # Merge objects from the highest score on; stuff fills the other pixels.
        return _merge_batch(detections, classes, num_stuff, **thresholds)

    def loss(params: Any, state: PanopticState, batch: dict) -> tuple[jax.Array, Metrics]:
        values = {name: part.loss(params[name], _part_state(state, name), batch) for name, part in learners.items()}
        metrics = {name: metrics for name, (_, metrics) in values.items()}
        return sum(value for value, _ in values.values()), _prefix_names(metrics)

    def classes(state: PanopticState, batch: dict) -> dict[str, Any]:
        sets = [part.classes(_part_state(state, name), batch) for name, part in learners.items() if part.classes]
        return {label: count for labels in sets for label, count in labels.items()}

    return Learner(init, update, evaluate, predict, loss, classes=classes)


def panoptic_evaluator(class_names: Sequence[str], num_stuff: int, source: Any = None) -> Evaluator:
    """Measure panoptic quality, and that of the semantic map's connected regions beside it.

    Numbers: pq, sq, rq (means over the classes that occur), pq_things, pq_stuff, pq/NAME of each class that occurs, and
    components_pq.

    Args:
      class_names: names of the stuff classes, then of the thing classes.
      num_stuff: S.
      source: source to measure; None measures the split. Its rows have `image`, `masks` (packed), `labels`, `box_mask`
        and `semantic`.
    """
    check_whole_number("num_stuff", num_stuff, 0)
    if isinstance(class_names, str):
        raise ValueError(f"class_names={class_names!r}: a word; allowed: a sequence of names")
    if num_stuff > len(class_names):
        raise ValueError(f"num_stuff={num_stuff}: too large; allowed: at most the {len(class_names)} classes")
    from dlcore.data.masks import unpack_masks

    names = list(class_names)
    count = jax.jit(PanopticQuality.of, static_argnums=4)
    number_targets = jax.jit(jax.vmap(target_segments, (0, 0, 0, 0, None)), static_argnums=4)

    def add(acc, outputs, rows):
        masks = unpack_masks(np.asarray(rows["masks"]), rows["image"].shape[2])
        targets = number_targets(masks, rows["labels"], rows["box_mask"], rows["semantic"], num_stuff)
        # Baseline: connected regions of the semantic map.
        regions = [components(np.asarray(map_), num_stuff) for map_ in outputs["classes"]]
        predictions = {
            "": (outputs["segments"], outputs["segment_labels"]),
            "components_": tuple(np.stack(part) for part in zip(*regions, strict=True)),
        }
        quality = {name: jax.device_get(count(*pair, *targets, len(names))) for name, pair in predictions.items()}
        return quality if acc is None else {name: acc[name].merge(metric) for name, metric in quality.items()}

    def finish(acc):
        quality = acc[""].compute()
        if quality is None:
            return dict.fromkeys(("pq", "sq", "rq", "pq_things", "pq_stuff", "components_pq"))
        by_class = quality["pq_by_class"]

        def mean(values: np.ndarray) -> float | None:
            return None if np.isnan(values).all() else float(np.nanmean(values))

        return {
            **{name: quality[name] for name in ("pq", "sq", "rq")},
            "pq_things": mean(by_class[num_stuff:]),
            "pq_stuff": mean(by_class[:num_stuff]),
            **{f"pq/{name}": float(v) for name, v in zip(names, by_class, strict=True) if not np.isnan(v)},
            "components_pq": acc["components_"].compute()["pq"],
        }

    measured_names = ("pq", "sq", "rq", "pq_things", "pq_stuff", "components_pq")
    return Evaluator(add, finish, source, (*measured_names, *(f"pq/{name}" for name in names)))
