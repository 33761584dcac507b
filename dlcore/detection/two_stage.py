"""The learner of two-stage detectors: Fast, Faster and Mask R-CNN, with keypoints too.

The losses of the region proposal network, of the box head and, where the model has them, of mask and keypoint head are
added. Each is a mean over its own sample in the whole batch, over all devices. Proposals and samples are constants: no
gradient goes through them. An image without a box trains as background. Evaluation draws its samples by the index of
each example, so its losses repeat, and depend on neither batch size nor mesh.
"""

from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax

from dlcore.data.augment import augment_examples
from dlcore.detection import faster_rcnn, keypoint_rcnn, mask_rcnn, rpn
from dlcore.detection.dense import TotalLoss
from dlcore.detection.faster_rcnn import FasterRCNN
from dlcore.detection.sampling import sample_proposals
from dlcore.learner import Labels, Learner, Metrics, ModelState, Range, Sum, check_arguments, example_keys, mask_of
from dlcore.ops.replica import psum, replica_count
from dlcore.optim import apply_gradients

__all__ = ["learner"]


@check_arguments
def learner(
    *,
    model: FasterRCNN,
    optimizer: optax.GradientTransformation,
    preprocess: Any = lambda image: image,
    augment: Any = None,
    rpn_fg_iou_thresh: Annotated[float, Range(0, 1)] = 0.7,
    rpn_bg_iou_thresh: Annotated[float, Range(0, 1)] = 0.3,
    rpn_batch_size_per_image: Annotated[int, Range(1)] = 256,
    rpn_positive_fraction: Annotated[float, Range(0, 1)] = 0.5,
    rpn_nms_thresh: Annotated[float, Range(0, 1)] = 0.7,
    topk_candidates: Annotated[int, Range(1)] = 1000,
    num_proposals: Annotated[int, Range(1)] = 1000,
    box_fg_iou_thresh: Annotated[float, Range(0, 1)] = 0.5,
    box_bg_iou_thresh: Annotated[float, Range(0, 1)] = 0.5,
    box_batch_size_per_image: Annotated[int, Range(1)] = 512,
    box_positive_fraction: Annotated[float, Range(0, 1)] = 0.25,
    score_thresh: Annotated[float, Range(0, 1)] = 0.05,
    nms_thresh: Annotated[float, Range(0, 1)] = 0.5,
    detections_per_img: Annotated[int, Range(1)] = 100,
) -> Learner:
    """Train a two-stage detector.

    A batch is `{"image": [B, H, W, C], "boxes": [B, M, 4] pixels, "labels": [B, M] int, "box_mask": [B, M]}`, and
    `masks` [B, M, H, ceil(W / 8)] (bits packed along the width) for a mask head, `keypoints` [B, M, K, 3] for a
    keypoint head, `proposals` [B, P, 4] and `proposal_mask` [B, P] for a model with `given_proposals`.

    Args:
      model: a `FasterRCNN`.
      optimizer: any optax transformation.
      preprocess: batch of images to the model's input, of the same size.
      augment: `(key, example) -> example` of one preprocessed training example (`dlcore.data.augment.examples`).
      rpn_fg_iou_thresh: IoU from which on an anchor is on an object.
      rpn_bg_iou_thresh: IoU below which an anchor is background, at most `rpn_fg_iou_thresh`.
      rpn_batch_size_per_image: anchors of an image in the loss.
      rpn_positive_fraction: largest share of them that is on an object.
      rpn_nms_thresh: largest IoU of two proposals of one level.
      topk_candidates: best anchors of each level that go on to suppression.
      num_proposals: proposals of an image.
      box_fg_iou_thresh: IoU from which on a proposal is on an object.
      box_bg_iou_thresh: IoU below which a proposal is background, at most `box_fg_iou_thresh`.
      box_batch_size_per_image: proposals of an image in the loss of the second stage.
      box_positive_fraction: largest share of them that is on an object.
      score_thresh: least score of a detection.
      nms_thresh: largest IoU of two detections of one class.
      detections_per_img: K, detections of an image at most.

    Returns:
      The learner; predict gives `{"boxes": [B, K, 4] in pixels, "scores", "labels", "valid": [B, K]}`, best first, and
      with the heads `masks` [B, K, 28, 28], probabilities over the box, `keypoints` [B, K, J, 3] (x, y, 1) in pixels,
      and `keypoint_scores` [B, K, J].

    Raises:
      ValueError: a threshold of the background is above that of the foreground.
    """
    thresholds = (
        ("rpn", rpn_bg_iou_thresh, rpn_fg_iou_thresh),
        ("box", box_bg_iou_thresh, box_fg_iou_thresh),
    )
    for stage, low, high in thresholds:
        if low > high:
            raise ValueError(f"{stage}_bg_iou_thresh={low}: too large; allowed: at most {stage}_fg_iou_thresh={high}")
    num_positives = int(box_batch_size_per_image * box_positive_fraction)
    propose = partial(
        rpn.propose, topk_candidates=topk_candidates, num_proposals=num_proposals, nms_thresh=rpn_nms_thresh
    )
    region_losses = partial(
        rpn.image_losses,
        count=rpn_batch_size_per_image,
        positive_fraction=rpn_positive_fraction,
        fg_iou_thresh=rpn_fg_iou_thresh,
        bg_iou_thresh=rpn_bg_iou_thresh,
    )
    sample = partial(
        sample_proposals,
        count=box_batch_size_per_image,
        positive_fraction=box_positive_fraction,
        fg_iou_thresh=box_fg_iou_thresh,
        bg_iou_thresh=box_bg_iou_thresh,
    )
    detect = partial(
        faster_rcnn.postprocess,
        score_thresh=score_thresh,
        nms_thresh=nms_thresh,
        detections_per_img=detections_per_img,
    )

    def init(rng: jax.Array, batch: dict) -> ModelState:
        variables = dict(model.init(jax.random.fold_in(rng, 0), preprocess(batch["image"])))
        params = variables.pop("params")
        return ModelState(
            step=jnp.zeros((), jnp.int32),
            rng=jax.random.fold_in(rng, 1),
            params=params,
            opt_state=optimizer.init(params),
            model_state=variables,
        )

    def runner(params, model_state):
        """Calls the model's methods by name, on fixed batch statistics."""
        return lambda method, *args: model.apply({"params": params, **model_state}, *args, method=method)

    def proposals_of(run, levels, size, external):
        """(proposals [B, P, 4], mask [B, P], outputs of the region proposal network, their anchors)."""
        if model.given_proposals:
            return external["proposals"], external["proposal_mask"].astype(bool), None, None
        outputs, anchors = run("regions", levels, size)
        return *jax.vmap(lambda out: propose(out, anchors, size))(outputs), outputs, anchors

    def examples(keys, batch, train):
        """What the losses need, augmented; given proposals move with the boxes."""
        example, count = batch, batch["boxes"].shape[1]
        if model.given_proposals:
            pairs = (("boxes", "proposals"), ("box_mask", "proposal_mask"))
            example = {**batch, **{name: jnp.concatenate([batch[name], batch[other]], 1) for name, other in pairs}}
        example = augment_examples(augment if train else None, keys, preprocess(batch["image"]), example)
        boxes, valid = example["boxes"].astype(jnp.float32), example["box_mask"].astype(bool)
        external = {"proposals": boxes[:, count:], "proposal_mask": valid[:, count:]}
        return {**example, "boxes": boxes[:, :count], "box_mask": valid[:, :count]}, external

    def losses_of(run, levels, keys, example, external, labels):
        """{name: (sum [B], number [B])}."""
        size, losses = example["image"].shape[1:3], {}
        draw = jax.vmap(jax.random.fold_in, (0, None))
        boxes, valid = example["boxes"], example["box_mask"]
        # Region proposal network: objectness and box losses over sampled anchors.
        proposals, filled, outputs, anchors = proposals_of(run, levels, size, external)
        if outputs is not None:
            losses |= jax.vmap(lambda key, out, *target: region_losses(key, out, anchors, *target))(
                draw(keys, 1), outputs, boxes, valid
            )
        # Second stage on a sample of proposals, with the target boxes added.
        sampled = jax.vmap(sample)(draw(keys, 2), proposals, filled, boxes, labels, valid)
        # Class and box losses of the region head.
        outputs = run("classify", levels, sampled.boxes, size)
        losses |= jax.vmap(faster_rcnn.image_losses)(outputs, sampled, boxes)
        # The positives come first.
        at, matched, target = (x[:, :num_positives] for x in (sampled.boxes, sampled.matched, sampled.target))
        if model.mask_head is not None:
            # Mask loss on the positives.
            masks = jax.vmap(mask_rcnn.mask_targets)(example["masks"], matched, at)
            losses |= jax.vmap(mask_rcnn.image_losses)(run("segment", levels, at, size), masks, target)
        if model.keypoint_head is not None:
            # Keypoint loss on the positives.
            points = jnp.take_along_axis(example["keypoints"], matched[..., None, None], 1)
            positions = jax.vmap(keypoint_rcnn.keypoint_targets)(points, at)
            losses |= jax.vmap(keypoint_rcnn.image_losses)(run("locate", levels, at, size), *positions, target > 0)
        return losses

    def objective(params, state: ModelState, batch: dict, train: bool):
        keys = example_keys(jax.random.fold_in(state.rng, state.step) if train else state.rng, batch)
        # Augment images, boxes, masks and external proposals together.
        example, external = examples(keys, batch, train)
        variables, mutable = {"params": params, **state.model_state}, list(state.model_state) if train else []
        # Backbone and feature pyramid; only this pass updates batch statistics.
        levels, updated = model.apply(variables, example["image"], train, mutable=mutable, method="pyramid")
        # Sum and count of each loss, [B] each.
        losses = losses_of(runner(params, state.model_state), levels, keys, example, external, batch["labels"])
        valid_images = mask_of(batch) > 0  # [B]
        sums = {name: [jnp.where(valid_images, values, 0).sum() for values in pair] for name, pair in losses.items()}
        parts = {name: Sum(total.astype(jnp.float32), number) for name, (total, number) in sums.items()}
        numbers = psum({name: number for name, (_, number) in sums.items()})
        # Divide by the counts of all replicas, so that the gradient is that of the whole batch.
        value = replica_count() * sum(total / jnp.maximum(numbers[name], 1) for name, (total, _) in sums.items())
        return value, ({"loss": TotalLoss(parts), **parts}, {**state.model_state, **updated})

    def loss(params: Any, state: ModelState, batch: dict) -> tuple[jax.Array, Metrics]:
        value, (metrics, _) = objective(params, state, batch, train=False)
        return value, metrics

    def update(state: ModelState, batch: dict) -> tuple[ModelState, Metrics]:
        # Gradient of the losses of both stages.
        gradients, (metrics, model_state) = jax.grad(objective, has_aux=True)(state.params, state, batch, train=True)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients, model_state=model_state), metrics

    def evaluate(state: ModelState, batch: dict) -> Metrics:
        return loss(state.params, state, batch)[1]

    def predict(state: ModelState, batch: dict) -> dict[str, jax.Array]:
        images = preprocess(batch["image"])
        size, run = images.shape[1:3], runner(state.params, state.model_state)
        # Feature pyramid, then proposals.
        levels = run("pyramid", images)
        proposals, filled, _, _ = proposals_of(run, levels, size, batch)
        # Classify and refine the proposals; NMS within each class.
        detections = jax.vmap(lambda *image: detect(*image, size))(
            run("classify", levels, proposals, size), proposals, filled
        )
        # Masks and keypoints of the final boxes, not of the proposals.
        if model.mask_head is not None:
            detections["masks"] = mask_rcnn.probabilities(
                run("segment", levels, detections["boxes"], size), detections["labels"]
            )
        if model.keypoint_head is not None:
            maps = run("locate", levels, detections["boxes"], size)
            points, scores = jax.vmap(lambda *image: keypoint_rcnn.read_keypoints(*image, size))(
                maps, detections["boxes"]
            )
            valid = detections["valid"][..., None]
            detections["keypoints"] = jnp.where(valid[..., None], points, 0)
            detections["keypoint_scores"] = jnp.where(valid, scores, 0)
        return detections

    def classes(state: ModelState, batch: dict) -> dict[str, Labels]:
        return {"labels": Labels(model.num_classes, valid="box_mask")} if hasattr(model, "num_classes") else {}

    return Learner(init, update, evaluate, predict, loss, classes=classes)
