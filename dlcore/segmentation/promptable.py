"""Promptable segmentation: train SAM by the clicks of a simulated user, who corrects what it got wrong.

Kirillov et al., "Segment anything" (2023), arXiv:2304.02643, appendix A; the network is `dlcore.segmentation.sam`.

    prompt 1   a click on the object, or its box with noise;  prompts 2 ... K: the last mask and a click on its largest
               error (`dlcore.segmentation.clicks`)
    L_mask(m)  20 focal(s_m, y) + dice(s_m, y)
    L          mean over prompts and objects of  L_mask + (IoU_m predicted - IoU_m)^2

After one click there are three masks: the best one's L_mask counts, and the mask of the largest predicted IoU goes on.
After a box or several prompts the single mask counts. The three masks all teach the IoU's head. Training compares
masks at the decoder's resolution, evaluation at the image's. No gradient flows through the mask that is the next
prompt. The paper makes two more rounds without a click; here there are none. Evaluation takes five clicks, each on the
deepest pixel.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax

from dlcore.choices import check_whole_number
from dlcore.data.augment import augment_examples
from dlcore.data.masks import unpack_masks
from dlcore.learner import Learner, Metrics, ModelState, Range, Sum, check_arguments, example_keys, mask_of
from dlcore.losses.detection import sigmoid_focal_loss
from dlcore.losses.segmentation import dice_loss
from dlcore.ops.boxes import clip_boxes, masks_to_boxes
from dlcore.ops.checks import check_shapes
from dlcore.ops.replica import psum, replica_count
from dlcore.ops.resize import resize
from dlcore.optim import apply_gradients
from dlcore.segmentation.clicks import mask_iou, simulate_clicks
from dlcore.segmentation.everything import MaskFilter, segment_everything, stability_scores
from dlcore.segmentation.sam import CORNERS, HIDDEN

__all__ = ["CLICKS", "box_prompt", "learner", "mask_losses", "prompt_losses", "sample_objects"]

CLICKS = (1, 3, 5)
"""Numbers of clicks after which the IoU is measured; evaluation makes as many as the last."""
BOX_NOISE = 0.1
"""Standard deviation of the noise of a box's corners, as a share of its sides."""


def resize_masks(masks: jax.Array, size: tuple[int, ...], antialias: bool = False) -> jax.Array:
    """Resize masks [..., h, w] to [..., H, W]."""
    return resize(masks[..., None], size, antialias=antialias).squeeze(-1)


def mask_losses(
    logits: jax.Array, targets: jax.Array, focal_weight: float | jax.Array = 20.0, dice_weight: float | jax.Array = 1.0
) -> jax.Array:
    """Compute L_mask of every mask.

    Args:
      logits: [..., H, W].
      targets: [..., H, W] bool.
      focal_weight: weight of the focal loss, a mean over pixels.
      dice_weight: weight of the dice loss.

    Returns:
      [...], one loss a mask.
    """
    check_shapes(logits=(logits, "... H W"), targets=(targets, "mask ... H W"))
    check_shapes(focal_weight=(focal_weight, ">= 0"), dice_weight=(dice_weight, ">= 0"))
    targets = targets.astype(jnp.float32)
    focal = sigmoid_focal_loss(logits[..., None], targets[..., None], gamma=2).mean((-2, -1))
    return focal_weight * focal + dice_weight * dice_loss(logits, targets)


def sample_objects(key: jax.Array, valid: jax.Array, count: int) -> jax.Array:
    """Draw objects of one image without replacement.

    Args:
      key: PRNG key.
      valid: [M] bool, False for padding.
      count: P, at most M.

    Returns:
      [P] int32; valid objects come first.
    """
    check_shapes(valid=(valid, "mask M"))
    check_whole_number("count", count, 1)
    if count > len(valid):
        raise ValueError(f"count={count}: too many; allowed: at most the {len(valid)} objects")
    return jax.lax.top_k(jnp.where(valid, jax.random.uniform(key, valid.shape), -1.0), count)[1]


def box_prompt(masks: jax.Array, has_box: jax.Array, keys: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Make a prompt of the boxes of objects.

    Args:
      masks: [N, H, W] bool.
      has_box: [N] bool, whether an object gets its box.
      keys: [N] PRNG keys of the noise; None for none.

    Returns:
      (points [N, 2, 2], the corners in pixels counted from 0; labels [N, 2], CORNERS or HIDDEN).
    """
    check_shapes(masks=(masks, "mask N H W"), has_box=(has_box, "mask N"), keys=(keys, "N or None"))
    boxes = masks_to_boxes(masks)
    if keys is not None:
        noise = jax.vmap(lambda key: jax.random.normal(key, (4,)))(keys)
        boxes = boxes + BOX_NOISE * noise * jnp.tile(boxes[:, 2:] - boxes[:, :2], 2)
        boxes = clip_boxes(boxes, masks.shape[-2:])
    labels = jnp.where(has_box[:, None], jnp.array(CORNERS), HIDDEN)
    return boxes.reshape(-1, 2, 2), labels


def decoder_side(model: Any) -> int:
    """Side of the decoder's masks, in their pixels."""
    return 4 * (model.encoder.image_size // model.encoder.patch_size)


def prompt_losses(
    model: Any,
    params: Any,
    maps: jax.Array,
    masks: jax.Array,
    has_box: jax.Array,
    num_clicks: int,
    keys: jax.Array | None = None,
    focal_weight: float | jax.Array = 20.0,
    dice_weight: float | jax.Array = 1.0,
) -> dict[str, jax.Array]:
    """Let a simulated user prompt a model, and compare its masks with the true ones.

    Args:
      model: a `SAM`.
      params: parameters of the model.
      maps: [N, h, w, D], the image's map of each object.
      masks: [N, H, W] bool, the true ones.
      has_box: [N] bool, whether an object begins with its box.
      num_clicks: K, prompts of an object.
      keys: [N] PRNG keys of the clicks and of the boxes' noise; None: the deepest pixels and no noise.
      focal_weight: weight of the focal loss.
      dice_weight: weight of the dice loss.

    Returns:
      {"mask_loss": L_mask, "iou_loss": squared error of the predicted IoU, "iou"}, each [K, N], after each prompt.
    """
    check_shapes(
        maps=(maps, "N h w D"), masks=(masks, "mask N H W"), has_box=(has_box, "mask N"), keys=(keys, "N or None")
    )
    check_shapes(focal_weight=(focal_weight, ">= 0"), dice_weight=(dice_weight, ">= 0"))
    check_whole_number("num_clicks", num_clicks, 1)
    side, scale = decoder_side(model), model.encoder.image_size / masks.shape[-1]

    def segment(points: jax.Array, labels: jax.Array, memory: tuple[jax.Array, jax.Array]):
        previous, has_mask = memory
        prompt = (points[:, None] + 0.5) * scale - 0.5, labels[:, None], None, previous[..., None], has_mask
        decoded = model.apply({"params": params}, maps, *prompt, method="decode")
        logits, iou = (x[:, 0] for x in decoded)  # [N, 1 + M, ...]
        # One click has three masks, a box or several prompts one.
        is_used = (jnp.arange(iou.shape[1]) > 0) == (~has_box & ~has_mask)[:, None]
        best = jnp.where(is_used, iou, -jnp.inf).argmax(1)[:, None]  # [N, 1]
        large = resize_masks(logits, masks.shape[-2:])  # [N, 1 + M, H, W]
        targets = jnp.broadcast_to(masks[:, None], large.shape)
        # Focal and dice loss of the best mask, squared error of each predicted IoU.
        losses = mask_losses(large, targets, focal_weight, dice_weight)  # [N, 1 + M]
        true_iou = mask_iou(large > 0, targets)
        outputs = {
            "mask_loss": jnp.where(is_used, losses, jnp.inf).min(1),
            "iou_loss": jnp.where(is_used, jnp.square(iou - true_iou), 0).sum(1) / is_used.sum(1),
            "iou": jnp.take_along_axis(true_iou, best, 1).squeeze(1),
        }
        large, logits = (jnp.take_along_axis(x, best[..., None, None], 1).squeeze(1) for x in (large, logits))
        return large > 0, (jax.lax.stop_gradient(logits), jnp.ones_like(has_mask)), outputs

    memory = jnp.zeros((len(masks), side, side)), jnp.zeros(len(masks), bool)
    return simulate_clicks(segment, masks, num_clicks, memory, keys, box_prompt(masks, has_box, keys))


def _are_objects(masks: jax.Array, batch: dict) -> jax.Array:
    """Which masks [B, M, H, W] of a batch are objects, [B, M]."""
    return batch["box_mask"].astype(bool) & masks.any((-2, -1)) & (mask_of(batch) > 0)[:, None]


def _training_objects(
    keys: jax.Array, masks: jax.Array, valid: jax.Array, count: int, box_fraction: float | jax.Array, side: int
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Draw P objects of each image: (masks [B, P, side, side], valid [B, P], has_box [B, P], keys [B, P])."""
    index = jax.vmap(sample_objects, (0, 0, None))(keys, valid, count)  # [B, P]
    masks, valid = jnp.take_along_axis(masks, index[..., None, None], 1), jnp.take_along_axis(valid, index, 1)
    masks = resize_masks(masks.astype(jnp.float32), (side, side), antialias=True) >= 0.5
    object_keys = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, 1), count))(keys)
    has_box = jax.vmap(jax.vmap(lambda key: jax.random.bernoulli(key, box_fraction)))(object_keys)
    return masks, valid, has_box, object_keys


def _predict(
    decode: Callable[..., tuple[jax.Array, jax.Array]], image_size: int, batch: dict, filters: MaskFilter
) -> dict[str, jax.Array]:
    """Segment what the prompts of a batch point at, as `learner` describes it; `decode` is of the batch's maps."""
    points, labels, boxes, mask = (batch.get(name) for name in ("points", "labels", "boxes", "mask_prompt"))
    sizes = {"original_size": batch["original_size"]} if "original_size" in batch else {}
    if points is None and boxes is None and mask is None:

        def decode_point(point: jax.Array) -> tuple[jax.Array, jax.Array]:
            logits, iou = decode(jnp.broadcast_to(point, (len(batch["image"]), 1, 1, 2)))
            return logits[:, 0, 1:], iou[:, 0, 1:]

        return segment_everything(decode_point, image_size, filters) | sizes
    logits, iou = decode(points, labels, boxes, mask)
    # One point alone has three masks.
    is_one_point = points is not None and points.shape[2] == 1 and boxes is None and mask is None
    best = 1 + iou[:, :, 1:].argmax(2) if is_one_point else jnp.zeros(iou.shape[:2], jnp.int32)
    logits = jnp.take_along_axis(logits, best[..., None, None, None], 2).squeeze(2)
    iou = jnp.take_along_axis(iou, best[..., None], 2).squeeze(2)
    stability = stability_scores(logits, filters.stability_offset)
    outputs = {"mask_logits": logits, "iou": iou, "stability": stability, "valid": jnp.ones(iou.shape, bool)}
    return outputs | sizes


@check_arguments
def learner(
    *,
    model: Any,
    optimizer: optax.GradientTransformation,
    preprocess: Callable[[jax.Array], jax.Array] = lambda image: image,
    augment: Any = None,
    num_clicks: Annotated[int, Range(2, 64)] = 8,
    objects: Annotated[int, Range(1)] = 2,
    box_fraction: Annotated[float, Range(0, 1)] = 0.5,
    focal_weight: Annotated[float, Range(0)] = 20.0,
    dice_weight: Annotated[float, Range(0)] = 1.0,
    iou_weight: Annotated[float, Range(0)] = 1.0,
    filters: MaskFilter = MaskFilter(),
) -> Learner:
    """Train a `SAM` on `{"image": [B, S, S, C], "masks": [B, M, S, ceil(S / 8)], "box_mask": [B, M], "index": [B]}`.

    The bits of the masks are packed along the width (`dlcore.data.masks.pack_masks`); box_mask is False for padding. A
    batch for predict may have prompts in place of masks, see there.

    Args:
      model: a `SAM`, or one of which parts are frozen (`dlcore.transfer.frozen.PartlyFrozen`).
      augment: `(key, example) -> example` of one preprocessed training example with its masks.
      num_clicks: prompts of an object in training; the first may be a box.
      objects: objects of an image that a training step draws.
      box_fraction: share of objects whose first prompt in training is their box.
      focal_weight: weight of the focal loss.
      dice_weight: weight of the dice loss.
      iou_weight: weight of the squared error of the predicted IoU.
      filters: which masks of everything remain.

    Returns:
      The learner. predict takes `points` [B, P, N, 2] with `labels` [B, P, N], `boxes` [B, P, 4], in pixels of the
      model's input, and `mask_prompt` [B, h, w, 1], logits; without any of them it segments everything. It returns
      {"mask_logits": [B, P, h, w], "iou": [B, P], "stability": [B, P], "valid": [B, P]}, and `original_size` where the
      batch has it. One point alone gives the best of three masks by their predicted IoU.
    """

    def encode(params: Any, images: jax.Array) -> jax.Array:
        return model.apply({"params": params}, images, method="encode")

    def init(rng: jax.Array, batch: dict) -> ModelState:
        images, side = preprocess(batch["image"][:1]), decoder_side(model)
        points, masks = jnp.zeros((1, 1, 1, 2)), jnp.zeros((1, side, side, 1))
        params = model.init(jax.random.fold_in(rng, 0), images, points, None, None, masks)["params"]
        return ModelState(jnp.zeros((), jnp.int32), jax.random.fold_in(rng, 1), params, optimizer.init(params), {})

    def objective(params, maps, masks, valid, has_box, count, keys=None):
        """Loss and metrics of objects [B, P] in images whose maps are known."""
        maps = jnp.repeat(maps, masks.shape[1], 0)  # [B P, h, w, D]
        masks, valid, has_box = (x.reshape(-1, *x.shape[2:]) for x in (masks, valid, has_box))
        outputs = prompt_losses(model, params, maps, masks, has_box, count, keys, focal_weight, dice_weight)
        losses = {name: outputs[name].mean(0) for name in ("mask_loss", "iou_loss")}  # [B P]
        losses["loss"] = losses["mask_loss"] + iou_weight * losses["iou_loss"]
        metrics: Metrics = {name: Sum.of(x, valid) for name, x in losses.items()}
        value = replica_count() * jnp.where(valid, losses["loss"], 0).sum() / jnp.maximum(psum(valid.sum()), 1)
        return value, (metrics, outputs["iou"], valid)

    def loss(params: Any, state: ModelState, batch: dict) -> tuple[jax.Array, Metrics]:
        masks = unpack_masks(batch["masks"], batch["image"].shape[2])
        valid, maps = _are_objects(masks, batch), encode(params, preprocess(batch["image"]))
        value, (metrics, iou, valid) = objective(params, maps, masks, valid, jnp.zeros_like(valid), max(CLICKS))
        return value, metrics | {f"iou_{k}": Sum.of(iou[k - 1], valid) for k in CLICKS}

    def update(state: ModelState, batch: dict) -> tuple[ModelState, Metrics]:
        keys = example_keys(jax.random.fold_in(state.rng, state.step), batch)  # [B]
        # Augment images and masks together.
        example = augment_examples(augment, keys, preprocess(batch["image"]), batch)
        # Draw objects, and whether each begins with its box.
        masks, side = example["masks"], decoder_side(model)
        count = min(objects, masks.shape[1])
        masks, valid, has_box, object_keys = _training_objects(
            keys, masks, _are_objects(masks, batch), count, box_fraction, side
        )

        # Encode each image once, then prompt, segment and click again.
        def total(params: Any):
            maps = encode(params, example["image"])  # [B, h, w, D]
            return objective(params, maps, masks, valid, has_box, num_clicks, object_keys.reshape(-1))

        gradients, (metrics, *_) = jax.grad(total, has_aux=True)(state.params)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients), metrics

    def evaluate(state: ModelState, batch: dict) -> Metrics:
        return loss(state.params, state, batch)[1]

    def predict(state: ModelState, batch: dict) -> dict[str, jax.Array]:
        images = preprocess(batch["image"])
        decode = partial(model.apply, {"params": state.params}, encode(state.params, images), method="decode")
        return _predict(decode, images.shape[1], batch, filters)

    return Learner(init, update, evaluate, predict, loss)
