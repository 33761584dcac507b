"""The learner of two-stage detectors: Fast, Faster, Mask and Cascade R-CNN, with keypoints too.

The losses of the region proposal network, of the box head and, where the model has them, of mask and keypoint head are
added. Each is a mean over its own sample in the whole batch, over all devices. Proposals and samples are constants: no
gradient goes through them. An image without a box trains as background. Evaluation draws its samples by the index of
each example, so its losses repeat, and depend on neither batch size nor mesh.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dlcore.data.augment import augment_examples
from dlcore.detection import faster_rcnn, keypoint_rcnn, mask_rcnn, rpn
from dlcore.detection.cascade_rcnn import mean_outputs, refine_boxes, stage_weights
from dlcore.detection.dense import label_classes, steps_of
from dlcore.detection.faster_rcnn import FasterRCNN
from dlcore.detection.padding import add_image_sizes, clip_sizes, zero_padding
from dlcore.detection.sampling import sample_proposals
from dlcore.learner import Learner, Metrics, ModelState, Range, Sum, check_arguments, example_keys, mask_of
from dlcore.metrics import TotalLoss
from dlcore.nn.apply import apply_model
from dlcore.ops.replica import psum, replica_count
from dlcore.optim import init_model_state

__all__ = ["Stages", "learner"]


class Stages(NamedTuple):
    """A two-stage detector, and the functions of one image between its networks.

    Args:
      model: a `FasterRCNN`.
      num_positives: the sampled proposals of an image that come first and may be on an object.
      propose: function that proposes boxes, see `rpn.propose`.
      region_losses: losses, see `rpn.image_losses`.
      samplers: sampler of the regions of each box head, see `sample_proposals`.
      head_losses: losses, see `faster_rcnn.image_losses`.
      detect: postprocessing, see `faster_rcnn.postprocess`.
    """

    model: FasterRCNN
    num_positives: int
    propose: Callable[..., Any]
    region_losses: Callable[..., Any]
    samplers: tuple[Callable[..., Any], ...]
    head_losses: Callable[..., Any]
    detect: Callable[..., Any]

    def bind(self, params: Any, model_state: Any) -> Callable[..., Any]:
        """Bind the model to its parameters and to fixed batch statistics.

        Args:
          params: parameters of the model.
          model_state: its other collections.

        Returns:
          (name of a method, *its arguments) -> what it returns.
        """
        return lambda method, *args: self.model.apply({"params": params, **model_state}, *args, method=method)


def _check_thresholds(**stages: tuple[float, float]) -> None:
    for stage, (background, foreground) in stages.items():
        if background > foreground:
            raise ValueError(
                f"{stage}_bg_iou_thresh={background}: too large; allowed: at most {stage}_fg_iou_thresh={foreground}"
            )


def _check_cascade(model: FasterRCNN, cascade_iou_thresh: tuple[float, ...], classifier: str) -> None:
    if len(cascade_iou_thresh) != model.num_stages - 1:
        raise ValueError(
            f"cascade_iou_thresh={cascade_iou_thresh}: {len(cascade_iou_thresh)} thresholds; allowed: "
            f"{model.num_stages - 1}, one a box head behind the first"
        )
    if model.num_stages > 1 and classifier == "svm":
        raise ValueError("classifier='svm': margins of several heads have no mean; allowed: softmax in a cascade")


def _proposals(stages: Stages, run: Callable[..., Any], levels: list[jax.Array], batch: dict, external: dict) -> tuple:
    """(Proposals [B, P, 4], mask [B, P], outputs of the region proposal network, their anchors) of a batch."""
    if stages.model.given_proposals:
        return external["proposals"], external["proposal_mask"].astype(bool), None, None
    outputs, anchors = run("regions", levels, batch["image"].shape[1:3])
    sizes, axis = clip_sizes(batch, batch["image"])
    proposals, valid = jax.vmap(lambda out, size: stages.propose(out, anchors, size), (0, axis))(outputs, sizes)
    return proposals, valid, outputs, anchors


def _examples(
    stages: Stages, preprocess: Any, augment: Any, keys: jax.Array, batch: dict
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """What the losses need, augmented, and the given proposals, which move with the boxes."""
    example, count = batch, None
    if stages.model.given_proposals:
        count = batch["boxes"].shape[1]
        if hasattr(augment, "augment_batch"):
            raise ValueError("augment: images are mixed, and their proposals would be lost; allowed: one example alone")
        pairs = (("boxes", "proposals"), ("box_mask", "proposal_mask"))
        example = {**batch, **{name: jnp.concatenate([batch[name], batch[other]], 1) for name, other in pairs}}
    images = zero_padding(preprocess(batch["image"]), batch)
    example = augment_examples(augment, keys, images, example)
    boxes, valid = example["boxes"].astype(jnp.float32), example["box_mask"].astype(bool)
    external = {} if count is None else {"proposals": boxes[:, count:], "proposal_mask": valid[:, count:]}
    return {**example, "boxes": boxes[:, :count], "box_mask": valid[:, :count]}, external


def _batch_losses(
    stages: Stages,
    run: Callable[..., Any],
    levels: list[jax.Array],
    keys: jax.Array,
    example: dict[str, jax.Array],
    external: dict[str, jax.Array],
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """{name: (sum over each image [B], what the sum of a batch is divided by [B])} of the losses of both stages."""
    model, size, losses = stages.model, example["image"].shape[1:3], {}
    fold_in = jax.vmap(jax.random.fold_in, (0, None))
    boxes, labels, valid = example["boxes"], example["labels"], example["box_mask"]
    # Region proposal network: objectness and box losses over sampled anchors.
    proposals, filled, outputs, anchors = _proposals(stages, run, levels, example, external)
    if outputs is not None:
        losses |= jax.vmap(lambda key, out, *target: stages.region_losses(key, out, anchors, *target))(
            fold_in(keys, 1), outputs, boxes, valid
        )
    # Second stage on a sample of proposals, with the target boxes added; a cascade goes on with its boxes.
    sizes, axis = clip_sizes(example, example["image"])
    for stage, sample in enumerate(stages.samplers):
        sampled = jax.vmap(sample)(fold_in(keys, 2 + stage), proposals, filled, boxes, labels, valid)
        # Class and box losses of the region head.
        outputs = run("classify", levels, sampled.boxes, size, stage)
        head_losses = partial(stages.head_losses, weights=stage_weights(stage))
        suffix = f"_{stage + 1}" if stage else ""
        losses |= {f"{k}{suffix}": v for k, v in jax.vmap(head_losses)(outputs, sampled, boxes).items()}
        if stage + 1 < len(stages.samplers):
            refine = jax.vmap(partial(refine_boxes, stage=stage), (0, 0, axis))
            proposals, filled = refine(outputs, sampled.boxes, sizes), sampled.valid
    # The positives come first.
    regions, matched, target = (x[:, : stages.num_positives] for x in (sampled.boxes, sampled.matched, sampled.target))
    if model.mask_head is not None:
        # Mask loss on the positives.
        masks = jax.vmap(mask_rcnn.mask_targets)(example["masks"], matched, regions)
        losses |= jax.vmap(mask_rcnn.image_losses)(run("segment", levels, regions, size), masks, target)
    if model.keypoint_head is not None:
        # Keypoint loss on the positives.
        points = jnp.take_along_axis(example["keypoints"], matched[..., None, None], 1)
        positions = jax.vmap(keypoint_rcnn.keypoint_targets)(points, regions)
        losses |= jax.vmap(keypoint_rcnn.image_losses)(run("locate", levels, regions, size), *positions, target > 0)
    return losses


def _objective(
    stages: Stages, preprocess: Any, augment: Any, params: Any, state: ModelState, batch: dict, train: bool
) -> tuple[jax.Array, tuple[Metrics, Any]]:
    """(loss, (metrics, model_state after it)) of a batch."""
    keys = example_keys(jax.random.fold_in(state.rng, state.step) if train else state.rng, batch)
    # Augment images, boxes, masks and external proposals together.
    example, external = _examples(stages, preprocess, augment if train else None, keys, batch)
    # Backbone and feature pyramid; only this pass updates batch statistics.
    variables, images = (params, state.model_state), example["image"]
    levels, model_state = apply_model(stages.model, *variables, images, train=train, method="pyramid")
    # Sum and count of each loss, [B] each.
    run = stages.bind(params, state.model_state)
    losses = _batch_losses(stages, run, levels, keys, example, external)
    valid_images = mask_of(batch) > 0  # [B]
    sums = {name: [jnp.where(valid_images, values, 0).sum() for values in pair] for name, pair in losses.items()}
    parts = {name: Sum(total.astype(jnp.float32), number) for name, (total, number) in sums.items()}
    numbers = psum({name: number for name, (_, number) in sums.items()})
    # Divide by the counts of all replicas, so that the gradient is that of the whole batch.
    value = replica_count() * sum(total / jnp.maximum(numbers[name], 1) for name, (total, _) in sums.items())
    return value, ({"loss": TotalLoss(parts), **parts}, model_state)


def _predict(stages: Stages, preprocess: Any, state: ModelState, batch: dict) -> dict[str, jax.Array]:
    """Return the detections of a batch, as `learner` describes them."""
    model, run = stages.model, stages.bind(state.params, state.model_state)
    images = zero_padding(preprocess(batch["image"]), batch)
    size, (sizes, axis) = images.shape[1:3], clip_sizes(batch, images)
    # Feature pyramid, then proposals.
    levels = run("pyramid", images)
    proposals, filled, _, _ = _proposals(stages, run, levels, {**batch, "image": images}, batch)
    # Classify and refine the proposals, head by head; NMS within each class.
    by_head = [run("classify", levels, proposals, size, 0)]
    for stage in range(1, len(stages.samplers)):
        refine = jax.vmap(partial(refine_boxes, stage=stage - 1), (0, 0, axis))
        proposals = refine(by_head[-1], proposals, sizes)
        by_head.append(run("classify", levels, proposals, size, stage))
    detect = partial(stages.detect, weights=stage_weights(len(by_head) - 1))
    detections = jax.vmap(detect, (0, 0, 0, axis))(mean_outputs(by_head), proposals, filled, sizes)
    # Masks and keypoints of the final boxes, not of the proposals.
    if model.mask_head is not None:
        maps = run("segment", levels, detections["boxes"], size)
        detections["masks"] = mask_rcnn.probabilities(maps, detections["labels"])
    if model.keypoint_head is not None:
        maps = run("locate", levels, detections["boxes"], size)
        points, scores = jax.vmap(lambda *image: keypoint_rcnn.read_keypoints(*image, size))(maps, detections["boxes"])
        valid = detections["valid"][..., None]
        detections["keypoints"] = jnp.where(valid[..., None], points, 0)
        detections["keypoint_scores"] = jnp.where(valid, scores, 0)
    return add_image_sizes(detections, batch)


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
    classifier: Annotated[Literal["softmax", "svm"], "if changed"] = "softmax",
    rpn_box_loss: Annotated[Literal["smooth_l1", "giou"], "if changed"] = "smooth_l1",
    cascade_iou_thresh: Annotated[tuple[float, ...], Range(0, 1), "if changed"] = (),
) -> Learner:
    """Train a two-stage detector.

    A batch is `{"image": [B, H, W, C], "boxes": [B, M, 4] pixels, "labels": [B, M] int, "box_mask": [B, M]}`, and
    `masks` [B, M, H, ceil(W / 8)] (bits packed along the width) for a mask head, `keypoints` [B, M, K, 3] for a
    keypoint head, `proposals` [B, P, 4] and `proposal_mask` [B, P] for a model with `given_proposals`, and
    `image_size` [B, 2] (height, width) where images are padded to a canvas (`dlcore.detection.padding`).

    Args:
      model: a `FasterRCNN`, such as a `CascadeRCNN`.
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
      classifier: classifier of proposals: softmax with a background class, or svm, one linear SVM a class (R-CNN's),
        whose margin s scores sigmoid(s).
      rpn_box_loss: loss of the proposals' boxes: smooth_l1 of the deltas, or giou, 1 - generalized IoU of the boxes.
      cascade_iou_thresh: IoU from which on a region is on an object, and below which it is background, for each head of
        a cascade behind the first.

    Returns:
      The learner; predict returns `{"boxes": [B, K, 4] in pixels, "scores", "labels", "valid": [B, K]}`, best first,
      and with the heads `masks` [B, K, 28, 28], probabilities over the box, `keypoints` [B, K, J, 3] (x, y, 1) in
      pixels, and `keypoint_scores` [B, K, J]; sizes of padded images (`dlcore.detection.padding.add_image_sizes`).
    """
    _check_cascade(model, cascade_iou_thresh, classifier)
    _check_thresholds(rpn=(rpn_bg_iou_thresh, rpn_fg_iou_thresh), box=(box_bg_iou_thresh, box_fg_iou_thresh))
    propose = {"topk_candidates": topk_candidates, "num_proposals": num_proposals, "nms_thresh": rpn_nms_thresh}
    thresholds = {"score_thresh": score_thresh, "nms_thresh": nms_thresh, "detections_per_img": detections_per_img}
    overlaps = (box_fg_iou_thresh, box_bg_iou_thresh), *((iou, iou) for iou in cascade_iou_thresh)
    sample = partial(sample_proposals, count=box_batch_size_per_image, positive_fraction=box_positive_fraction)
    stages = Stages(
        model=model,
        num_positives=int(box_batch_size_per_image * box_positive_fraction),
        propose=partial(rpn.propose, **propose),
        region_losses=partial(
            rpn.image_losses,
            count=rpn_batch_size_per_image,
            positive_fraction=rpn_positive_fraction,
            fg_iou_thresh=rpn_fg_iou_thresh,
            bg_iou_thresh=rpn_bg_iou_thresh,
            box_loss=rpn_box_loss,
        ),
        samplers=tuple(
            partial(sample, fg_iou_thresh=foreground, bg_iou_thresh=background) for foreground, background in overlaps
        ),
        head_losses=partial(faster_rcnn.image_losses, classifier=classifier),
        detect=partial(faster_rcnn.postprocess, classifier=classifier, **thresholds),
    )
    objective = partial(_objective, stages, preprocess, augment)

    def init(rng: jax.Array, batch: dict) -> ModelState:
        return init_model_state(model, optimizer, rng, preprocess(batch["image"]))

    # Gradient of the losses of both stages, then the optimizer step.
    loss, update, evaluate = steps_of(objective, optimizer)

    predict = partial(_predict, stages, preprocess)
    return Learner(init, update, evaluate, predict, loss, classes=partial(label_classes, model))
