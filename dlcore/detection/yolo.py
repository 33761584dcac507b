"""YOLO: one pass gives each cell of a grid a few boxes and one class.

Redmon et al. 2016, arXiv:1506.02640 (the first version), with a convolution in place of its dense layers.

    output of a cell     B times (x, y, sqrt w, sqrt h, confidence), then C classes: S S (5 B + C) numbers
    x, y                 center, from the cell's upper left corner in cells;    w, h: sides as shares of the image
    L = 1/N sum_{cells with an object} [ 5 |(x, y, sqrt w, sqrt h) - truth|^2 + (confidence - IoU)^2 + |p - class|^2 ]
        + 0.5/N sum_{all other boxes} confidence^2
    score = confidence p(class)

The cell that an object's center lies in owns the object; of its boxes the one of the largest IoU with it answers for
it, or the nearest where none overlaps. A cell owns one object: of several the first, and the others are lost, which
`lost_objects` counts. All outputs are linear and all losses are squares, as in the paper; N counts the owned objects of
the whole batch, where the paper divides by its images. Box b of a cell starts with sides of ((b + 1) / (B + 1))^2 of
the image, so that the boxes have different sizes to specialize from.
"""

from functools import partial
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct

from dlcore.choices import check_whole_number
from dlcore.detection.anchors import check_targets
from dlcore.detection.dense import (
    Thresholds,
    detector_learner,
    flatten_levels,
    named_maps,
    select,
    topk_by_level,
    tower,
)
from dlcore.detection.padding import ImageSize
from dlcore.learner import Learner, Range, check_arguments
from dlcore.nn import Conv
from dlcore.ops.boxes import paired_box_iou
from dlcore.ops.checks import check_shapes, check_size

__all__ = [
    "YOLO",
    "Cells",
    "Outputs",
    "assign_cells",
    "decode",
    "image_losses",
    "learner",
    "lost_objects",
    "postprocess",
]


class Outputs(NamedTuple):
    """Predictions of the L cells of a grid, row by row.

    Args:
      cells: [B, L, 5 boxes + C], as the module's docstring orders them.
    """

    cells: jax.Array


@struct.dataclass
class Cells:
    """The grid of cells over an image.

    Args:
      grid: (rows, columns).
      image: (height, width) in pixels.
      boxes_per_cell: boxes that each cell predicts.
    """

    grid: tuple[int, int] = struct.field(pytree_node=False)
    image: tuple[int, int] = struct.field(pytree_node=False)
    boxes_per_cell: int = struct.field(pytree_node=False)

    @property
    def size(self) -> np.ndarray:
        """[2] float32, (width, height) of a cell in pixels."""
        return np.array([self.image[1] / self.grid[1], self.image[0] / self.grid[0]], np.float32)

    @property
    def corners(self) -> np.ndarray:
        """[L, 2] float32, the upper left corner (x, y) of each cell in pixels."""
        y, x = np.indices(self.grid)
        return (np.stack([x, y], -1).reshape(-1, 2) * self.size).astype(np.float32)

    @property
    def sides(self) -> np.ndarray:
        """[2] float32, (width, height) of the image in pixels."""
        return np.array(self.image[::-1], np.float32)


class YOLO(nn.Module):
    """Backbone, a few convolutions on one of its maps, and a 1x1 convolution; each location of the map is a cell.

    Args:
      num_classes: C.
      stage: stage of the backbone whose map has the cells.
      boxes_per_cell: B.
      num_convs: convolutions between the map and the output.
      channels: number of channels of these convolutions.
      num_groups: number of groups of their group normalization; None for no normalization.
    """

    map_fields: ClassVar[tuple[str, ...]] = ("stage",)

    backbone: nn.Module
    num_classes: int
    stage: str = "layer4"
    boxes_per_cell: Annotated[int, Range(1)] = 2
    num_convs: Annotated[int, Range(0)] = 4
    channels: Annotated[int, Range(1)] = 256
    num_groups: Annotated[int, Range(1)] | None = 32
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> tuple[Outputs, Cells]:
        """Predict for every cell: [B, H, W, C] -> (outputs, the cells)."""
        (y,) = named_maps(self.backbone.features(x, train=train), (self.stage,))
        y = tower("head", self.num_convs, self.channels, self.num_groups, self.dtype)(y)
        boxes = self.boxes_per_cell

        def bias(key, shape, dtype=jnp.float32):
            # Boxes start in the middle of their cell, at different sizes.
            root = (np.arange(boxes) + 1) / (boxes + 1)
            box = np.stack([np.full(boxes, 0.5), np.full(boxes, 0.5), root, root, np.zeros(boxes)], -1)
            return jnp.asarray(np.r_[box.reshape(-1), np.full(self.num_classes, 1 / self.num_classes)], dtype)

        def kernel(key, shape, dtype=jnp.float32):
            """Of boxes close to zero; of classes not, or these would stay alike for long."""
            small = nn.initializers.normal(0.01)(key, (*shape[:-1], 5 * boxes), dtype)
            class_kernel = nn.initializers.lecun_normal()(key, (*shape[:-1], self.num_classes), dtype)
            return jnp.concatenate([small, class_kernel], -1)

        output = Conv(
            5 * boxes + self.num_classes, (1, 1), dtype=self.dtype, kernel_init=kernel, bias_init=bias, name="output"
        )
        return Outputs(flatten_levels([output(y)])), Cells(y.shape[1:3], x.shape[1:3], boxes)


def decode(outputs: Outputs, cells: Cells) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Read the numbers of one image's cells.

    Returns:
      (raw [L, B, 4]: x, y, sqrt w, sqrt h; boxes [L, B, 4]: corners in pixels; confidence [L, B]; classes [L, C]).
    """
    check_size("cells.grid", cells.grid, "rows, columns")
    check_whole_number("cells.boxes_per_cell", cells.boxes_per_cell, 1)
    check_shapes(**{"outputs.cells": (outputs.cells, f"{cells.grid[0] * cells.grid[1]} K")})
    if outputs.cells.shape[-1] <= 5 * cells.boxes_per_cell:
        raise ValueError(
            f"outputs.cells.shape={outputs.cells.shape}: no class; allowed: more than "
            f"{5 * cells.boxes_per_cell} numbers of a cell, 5 for each of {cells.boxes_per_cell} boxes"
        )
    count = 5 * cells.boxes_per_cell
    boxes = outputs.cells[:, :count].reshape(-1, cells.boxes_per_cell, 5)
    raw, confidence = boxes[..., :4], boxes[..., 4]
    centers = cells.corners[:, None] + raw[..., :2] * cells.size
    half = jnp.square(raw[..., 2:]) * cells.sides / 2
    return raw, jnp.concatenate([centers - half, centers + half], -1), confidence, outputs.cells[:, count:]


def assign_cells(cells: Cells, boxes: jax.Array, valid: jax.Array) -> jax.Array:
    """Find the object that each cell owns: the first whose center lies in it.

    Args:
      boxes: [M, 4] pixels.
      valid: [M] bool, False for padding.

    Returns:
      [L] int32, index of a box, -1 for none. A center on the image's right or lower edge is of the last cell.
    """
    check_targets(boxes, valid)
    check_size("cells.grid", cells.grid, "rows, columns")
    count, (rows, columns) = boxes.shape[0], cells.grid
    at = jnp.floor((boxes[:, :2] + boxes[:, 2:]) / 2 / cells.size).astype(jnp.int32)
    at = jnp.clip(at, 0, np.array([columns - 1, rows - 1]))
    # The first box with its center in a cell owns it; padding is dropped.
    cell = jnp.where(valid, at[:, 1] * columns + at[:, 0], rows * columns)
    owner = jnp.full(rows * columns, count, jnp.int32).at[cell].min(jnp.arange(count, dtype=jnp.int32), mode="drop")
    return jnp.where(owner < count, owner, -1)


def lost_objects(
    outputs: Outputs, cells: Cells, boxes: jax.Array, labels: jax.Array, valid: jax.Array
) -> dict[str, jax.Array]:
    """Count the objects of one image that no cell owns, because another's center lies in the same cell.

    Args:
      labels: not used.
      As `assign_cells`.

    Returns:
      {"lost_objects": int}.

    Raises:
      ValueError: see `assign_cells`.
    """
    has_object = (assign_cells(cells, boxes, valid) >= 0).sum(dtype=jnp.int32)
    return {"lost_objects": valid.sum(dtype=jnp.int32) - has_object}


def image_losses(
    outputs: Outputs,
    cells: Cells,
    boxes: jax.Array,
    labels: jax.Array,
    valid: jax.Array,
    *,
    lambda_coord: float | jax.Array = 5.0,
    lambda_noobj: float | jax.Array = 0.5,
) -> dict[str, jax.Array]:
    """Sum the losses over the cells of one image.

    Args:
      labels: [M] int.
      lambda_coord: weight of the coordinates.
      lambda_noobj: weight of the confidence of boxes that answer for no object.
      As `assign_cells`.

    Returns:
      {"coordinates", "object", "no_object", "classification": sums, "num_foreground": int}.
    """
    check_shapes(lambda_coord=(lambda_coord, ">= 0"), lambda_noobj=(lambda_noobj, ">= 0"))
    raw, predicted, confidence, classes = decode(outputs, cells)  # [L, B, 4], [L, B, 4], [L, B], [L, C]
    check_targets(boxes, valid, labels, classes.shape[-1])
    # The cell that holds a box's center is responsible for it.
    owner = assign_cells(cells, boxes, valid)
    has_object = owner >= 0  # [L]
    box = jnp.where(has_object[:, None], boxes[owner], 0)  # [L, 4]
    # Targets: offset of the center within the cell, square roots of width and height.
    offset = ((box[:, :2] + box[:, 2:]) / 2 - cells.corners) / cells.size
    root = jnp.sqrt(jnp.maximum(box[:, 2:] - box[:, :2], 0) / cells.sides)
    target = jnp.concatenate([offset, root], -1)[:, None]  # [L, 1, 4]
    # The predictor with the highest IoU is responsible; without overlap, the one with the least error.
    iou = jax.lax.stop_gradient(paired_box_iou(predicted, box[:, None]))  # [L, B]
    squared_error = jnp.square(raw - target).sum(-1)  # [L, B]
    nearest = jnp.where(iou.max(-1) > 0, iou.argmax(-1), squared_error.argmin(-1))  # [L]
    responsible = has_object[:, None] & (jnp.arange(cells.boxes_per_cell) == nearest[:, None])  # [L, B]
    label = jax.nn.one_hot(jnp.where(has_object, labels[owner], -1), classes.shape[-1], dtype=classes.dtype)  # [L, C]
    return {
        "coordinates": lambda_coord * jnp.where(responsible, squared_error, 0).sum(),
        "object": jnp.where(responsible, jnp.square(confidence - iou), 0).sum(),
        "no_object": lambda_noobj * jnp.where(responsible, 0, jnp.square(confidence)).sum(),
        "classification": jnp.where(has_object, jnp.square(classes - label).sum(-1), 0).sum(),
        "num_foreground": has_object.sum(dtype=jnp.int32),
    }


def postprocess(
    outputs: Outputs, cells: Cells, size: ImageSize, *, topk_candidates: int = 1000, **thresholds: Any
) -> dict[str, jax.Array]:
    """Detect the objects of one image.

    Args:
      size: (height, width) of the image.
      topk_candidates: best scores that go on to suppression.
      **thresholds: arguments of `dlcore.detection.dense.select`.

    Returns:
      As `dlcore.detection.dense.select`.

    Raises:
      ValueError: the shapes do not fit together, or a setting is out of range, see `dlcore.detection.dense.select`.
    """
    _, boxes, confidence, classes = decode(outputs, cells)
    # Class-specific confidence.
    scores = jnp.clip(confidence, 0, 1)[..., None] * jnp.clip(classes, 0, 1)[:, None]  # [L, B, C]
    scores, boxes = scores.reshape(-1, classes.shape[-1]), boxes.reshape(-1, 4)
    return select(topk_by_level(scores, boxes, (boxes.shape[0],), topk_candidates), size, **thresholds)


@check_arguments
def learner(
    *,
    model: YOLO,
    optimizer: optax.GradientTransformation,
    preprocess: Any = lambda image: image,
    augment: Any = None,
    lambda_coord: Annotated[float, Range(0)] = 5.0,
    lambda_noobj: Annotated[float, Range(0)] = 0.5,
    thresholds: Thresholds = Thresholds(),
) -> Learner:
    """Train YOLO on the batches of `dlcore.detection.dense.detector_learner`.

    Args:
      model: a `YOLO`.
      lambda_coord: weight of the loss of coordinates.
      lambda_noobj: weight of the confidence of boxes that answer for no object.

    Returns:
      The learner, as `detector_learner` describes it; it also measures `lost_objects`, a number of objects.
    """
    return detector_learner(
        model=model,
        optimizer=optimizer,
        preprocess=preprocess,
        augment=augment,
        losses=partial(image_losses, lambda_coord=lambda_coord, lambda_noobj=lambda_noobj),
        measures=lost_objects,
        postprocess=partial(postprocess, **thresholds._asdict()),
    )
