"""CenterNet: an object is the peak of its class's heat map, and its size is read there.

Zhou, Wang & Krähenbühl, "Objects as points" (2019), arXiv:1904.07850.

    target    Y = max over objects of the class  exp(-|x - c|^2 / (2 sigma^2)),   c the cell that holds the center
    L         1/N [ sum_x focal(Y_x, p_x) + a sum_k |s_k - w_k| + b sum_k |o_k - (center_k / R - c_k)| ]
    focal     -(1 - p)^2 log p            where Y = 1
              -(1 - Y)^4 p^2 log(1 - p)   elsewhere: near a center a wrong peak costs less

R is the map's stride, N the number of objects in the whole batch, over all devices; a is 0.1 and b is 1. sigma is
(2 r + 1) / 6, where r is the largest shift of a box's corners that leaves an IoU of 0.7 (`gaussian_radius`). Peaks are
cells that no neighbor of the 3 x 3 around them exceeds, so no suppression of boxes follows. The finest level of a
feature pyramid stands in for the paper's upsampling by transposed convolutions, and Gaussians are not cut off.
"""

from functools import partial
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.detection.anchors import Grid, check_targets
from dlcore.detection.dense import best_detections, detector_learner, head_conv, named_maps
from dlcore.detection.fpn import FeaturePyramid
from dlcore.detection.padding import ImageSize
from dlcore.learner import Learner, Range, check_arguments
from dlcore.nn import Conv
from dlcore.ops.boxes import clip_boxes
from dlcore.ops.checks import check_range, check_shapes
from dlcore.ops.pooling import max_pool
from dlcore.ops.precision import to_acc_dtype

__all__ = [
    "CenterNet",
    "Outputs",
    "gaussian_radius",
    "heat_map_loss",
    "image_losses",
    "learner",
    "postprocess",
    "target_heat_map",
]


class Outputs(NamedTuple):
    """Predictions at the cells of a map.

    Args:
      logits: [B, h, w, C], of the heat maps.
      sizes: [B, h, w, 2], (width, height) in cells.
      offsets: [B, h, w, 2], (x, y) of the center in its cell, in cells.
    """

    logits: jax.Array
    sizes: jax.Array
    offsets: jax.Array


class CenterNet(nn.Module):
    """Backbone, pyramid, and three heads on its finest level.

    Args:
      num_classes: C.
      stages: stages of the backbone in the pyramid, finest first; the first has the stride of the heat maps.
      channels: number of channels of the pyramid and the heads.
      prior_probability: values of the heat maps at initialization.
    """

    map_fields: ClassVar[tuple[str, ...]] = ("stages",)

    backbone: nn.Module
    num_classes: int
    stages: tuple[str, ...] = ("layer1", "layer2", "layer3", "layer4")
    channels: Annotated[int, Range(1)] = 64
    prior_probability: Annotated[float, Range(1e-6, 0.5)] = 0.1
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> tuple[Outputs, Grid]:
        """Predict at every cell: [B, H, W, C], sides multiples of the finest stride -> (outputs, their cells)."""
        maps = named_maps(self.backbone.features(x, train=train), self.stages)
        finest = FeaturePyramid(self.channels, "none", self.dtype, name="fpn")(maps)[0]
        # The bias starts at the prior probability, for a stable focal loss.
        bias = nn.initializers.constant(-np.log((1 - self.prior_probability) / self.prior_probability))

        def head(name: str, features: int, bias_init: Any = nn.initializers.zeros) -> jax.Array:
            hidden = nn.relu(Conv(self.channels, (3, 3), padding=1, dtype=self.dtype, name=f"{name}_conv")(finest))
            output = head_conv(name, features, self.dtype, bias_init)(hidden)
            return to_acc_dtype(output)

        outputs = Outputs(head("heat_map", self.num_classes, bias), head("size", 2), head("offset", 2))
        return outputs, Grid.of([finest.shape[1:3]], x.shape[1:3])


def gaussian_radius(sizes: jax.Array, min_overlap: float = 0.7) -> jax.Array:
    """Find the largest shift of a box's corners that leaves an IoU, whichever way they go.

    Both corners move by r along both axes: in one direction, both inward, or both outward; the least r of the three.

    Args:
      sizes: [..., 2], width and height.
      min_overlap: IoU o in (0, 1).

    Returns:
      [...], in the unit of the sizes.
    """
    check_shapes(sizes=(sizes, "... 2"), min_overlap=(min_overlap, "0 to 1"))
    check_shapes(min_overlap=(min_overlap, "> 0"))
    check_range("sizes", sizes, 0)
    sizes = to_acc_dtype(sizes)
    area, around = sizes.prod(-1), sizes.sum(-1)
    # (w - r)(h - r) = o (2 w h - (w - r)(h - r))
    shifted = (around - jnp.sqrt(around**2 - 4 * area * (1 - min_overlap) / (1 + min_overlap))) / 2
    # (w - 2 r)(h - 2 r) = o w h
    inward = (around - jnp.sqrt(around**2 - 4 * (1 - min_overlap) * area)) / 4
    # w h = o (w + 2 r)(h + 2 r)
    outward = (jnp.sqrt(around**2 + 4 * (1 / min_overlap - 1) * area) - around) / 4
    return jnp.minimum(jnp.minimum(shifted, inward), outward)


def target_heat_map(
    grid: Grid, boxes: jax.Array, labels: jax.Array, valid: jax.Array, num_classes: int
) -> tuple[jax.Array, jax.Array]:
    """Draw the heat maps of one image.

    Args:
      As `dlcore.detection.anchors.check_targets`.
      num_classes: C.

    Returns:
      ([L, C] in [0, 1]; [M] int32, the cell that holds the center of each box, the nearest one for a center outside).
    """
    check_whole_number("num_classes", num_classes, 1)
    check_targets(boxes, valid, labels, num_classes)
    points, stride = jnp.asarray(grid.points), grid.strides[0]
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    # Cell i covers i to i + 1 strides, and its point is its upper left corner.
    corners = jnp.clip(jnp.floor(centers / stride) * stride, 0, points.max(0))  # [M, 2]
    cells = jnp.square(corners[:, None] - points).sum(-1).argmin(-1)  # [M]
    sigma = (2 * gaussian_radius((boxes[:, 2:] - boxes[:, :2]) / stride) + 1) / 6  # [M]
    squares = jnp.square((points - points[cells][:, None]) / stride).sum(-1)  # [M, L]
    bumps = jnp.exp(-squares / (2 * jnp.square(sigma)[:, None]))
    of_class = jax.nn.one_hot(jnp.where(valid, labels, -1), num_classes, dtype=bumps.dtype)  # [M, C]
    return (bumps[..., None] * of_class[:, None]).max(0), cells.astype(jnp.int32)


def heat_map_loss(
    logits: jax.Array, targets: jax.Array, alpha: float | jax.Array = 2.0, beta: float | jax.Array = 4.0
) -> jax.Array:
    """Penalty-reduced focal loss.

    Args:
      logits: [...].
      targets: [...] in [0, 1]; 1 at centers.
      alpha: focusing exponent.
      beta: exponent of 1 - Y, which spares the neighborhood of centers.

    Returns:
      [...], one loss a cell.
    """
    check_shapes(logits=(logits, "..."), targets=(targets, "..."))
    check_shapes(alpha=(alpha, ">= 0"), beta=(beta, ">= 0"))
    check_range("targets", targets, 0, 1)
    logits, targets = to_acc_dtype(logits), to_acc_dtype(targets)
    p = jax.nn.sigmoid(logits)
    at_center = -((1 - p) ** alpha) * jax.nn.log_sigmoid(logits)
    elsewhere = -((1 - targets) ** beta) * p**alpha * jax.nn.log_sigmoid(-logits)
    return jnp.where(targets == 1, at_center, elsewhere)


def image_losses(
    outputs: Outputs,
    grid: Grid,
    boxes: jax.Array,
    labels: jax.Array,
    valid: jax.Array,
    *,
    alpha: float | jax.Array = 2.0,
    beta: float | jax.Array = 4.0,
    size_weight: float | jax.Array = 0.1,
    offset_weight: float | jax.Array = 1.0,
) -> dict[str, jax.Array]:
    """Sum the losses of one image.

    Args:
      alpha: focusing exponent, see `heat_map_loss`.
      beta: exponent that spares the neighborhood of centers, see `heat_map_loss`.
      size_weight: weight a of the sizes' L1 loss.
      offset_weight: weight b of the offsets' L1 loss.
      As `target_heat_map`.

    Returns:
      {"heat_map", "size", "offset": sums, "num_foreground": int, the number of objects}.
    """
    check_shapes(
        **{
            f"outputs.{name}": (maps, "h w C" if name == "logits" else "h w 2")
            for name, maps in outputs._asdict().items()
        }
    )
    check_shapes(size_weight=(size_weight, ">= 0"), offset_weight=(offset_weight, ">= 0"))
    target, cells = target_heat_map(grid, boxes, labels, valid, outputs.logits.shape[-1])  # [L, C], [M]
    outputs, stride = _by_cell(outputs), grid.strides[0]
    sizes = (boxes[:, 2:] - boxes[:, :2]) / stride  # [M, 2]
    offsets = ((boxes[:, :2] + boxes[:, 2:]) / 2 - jnp.asarray(grid.points)[cells]) / stride
    size_error, offset_error = (
        jnp.where(valid, jnp.abs(predicted[cells] - expected).sum(-1), 0).sum()
        for predicted, expected in ((outputs.sizes, sizes), (outputs.offsets, offsets))
    )
    return {
        "heat_map": heat_map_loss(outputs.logits, target, alpha, beta).sum(),
        "size": size_weight * size_error,
        "offset": offset_weight * offset_error,
        "num_foreground": valid.sum(dtype=jnp.int32),
    }


def postprocess(
    outputs: Outputs, grid: Grid, size: ImageSize, *, score_thresh: float | jax.Array, detections_per_img: int
) -> dict[str, jax.Array]:
    """Detect the objects of one image: the peaks of the heat maps.

    Args:
      size: (height, width) of the image.
      score_thresh: detections score more than this.
      detections_per_img: K.

    Returns:
      As `dlcore.detection.dense.select`.
    """
    check_shapes(score_thresh=(score_thresh, "finite"))
    check_whole_number("detections_per_img", detections_per_img, 1)
    scores, outputs = jax.nn.sigmoid(outputs.logits), _by_cell(outputs)  # [h, w, C], [L, ...]
    is_peak = scores == max_pool(scores, (3, 3), padding=1)
    # The best peaks of all classes.
    count = min(detections_per_img, scores.size)
    best, index = jax.lax.top_k(jnp.where(is_peak, scores, -1.0).reshape(-1), count)
    cells, labels = index // scores.shape[-1], index % scores.shape[-1]
    centers, half = outputs.offsets[cells], jax.nn.relu(outputs.sizes[cells]) / 2
    stride = grid.strides[0]
    boxes = jnp.concatenate([centers - half, centers + half], -1) * stride + jnp.tile(
        jnp.asarray(grid.points)[cells], 2
    )
    return best_detections(clip_boxes(boxes, size), best, labels, best > score_thresh, detections_per_img)


def _by_cell(outputs: Outputs) -> Outputs:
    """Flatten the maps of one image, row by row: [L, ...]."""
    return Outputs(*(x.reshape(-1, x.shape[-1]) for x in outputs))


@check_arguments
def learner(
    *,
    model: CenterNet,
    optimizer: optax.GradientTransformation,
    preprocess: Any = lambda image: image,
    augment: Any = None,
    alpha: Annotated[float, Range(0)] = 2.0,
    beta: Annotated[float, Range(0)] = 4.0,
    size_weight: Annotated[float, Range(0)] = 0.1,
    offset_weight: Annotated[float, Range(0)] = 1.0,
    score_thresh: Annotated[float, Range(0, 1)] = 0.05,
    detections_per_img: Annotated[int, Range(1)] = 100,
) -> Learner:
    """Train CenterNet on the batches of `dlcore.detection.dense.detector_learner`.

    Args:
      model: a `CenterNet`.
      alpha: focusing exponent of the heat maps' loss.
      beta: exponent that spares the neighborhood of centers in the heat maps' loss.
      size_weight: weight of the sizes' L1 loss.
      offset_weight: weight of the offsets' L1 loss.
      score_thresh: least score of a detection.
      detections_per_img: K, detections of an image at most.
    """
    weights = {"alpha": alpha, "beta": beta, "size_weight": size_weight, "offset_weight": offset_weight}
    losses = partial(image_losses, **weights)
    detect = partial(postprocess, score_thresh=score_thresh, detections_per_img=detections_per_img)
    return detector_learner(
        model=model, optimizer=optimizer, preprocess=preprocess, augment=augment, losses=losses, postprocess=detect
    )
