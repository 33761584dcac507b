"""Losses of a set of masks with classes: matched one to one, compared at sampled points (Mask2Former).

Cheng, Schwing & Kirillov 2021, arXiv:2107.06278 (masks as a set); Cheng et al. 2021, arXiv:2112.01527 (points);
Kirillov et al. 2019, arXiv:1912.08193 (PointRend: where masks are uncertain).

    match        distinct queries q_m with least sum_m [ -2 p(c_m) + 5 BCE(s, y_m) + 5 Dice(s, y_m) ], at random points
    points       of 3 P random points the 3/4 P with the least |s|, and P/4 other random points
    BCE(s, y)    mean over points of log(1 + e^s) - s y
    Dice(s, y)   1 - (2 sum p y + 1) / (sum p + sum y + 1),   p = sigmoid(s)
    L            2 sum_q w_q CE_q / sum_q w_q + 1/N sum_m [ 5 BCE + 5 Dice ],   w = 0.1 for no object

s and y are interpolated between pixels; points in the outer half of a border pixel read that pixel (the authors fade to
zero there). The loss is taken after every layer of queries, each with points and a matching of its own; N is the number
of true masks in the whole batch, over all devices.
"""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dlcore.learner import Range, check_arguments
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.losses.segmentation import dice_loss
from dlcore.ops.assignment import assign
from dlcore.ops.checks import check_class_ids, check_shapes
from dlcore.ops.grid_sample import bilinear_sample
from dlcore.ops.precision import to_acc_dtype

__all__ = [
    "MaskLossWeights",
    "PointSampling",
    "image_losses",
    "important_points",
    "match_masks",
    "point_losses",
    "sample_masks",
]


class MaskLossWeights(NamedTuple):
    """Weights of the parts of the loss, and of the same parts in the matching.

    Args:
      class_weight: weight of the cross-entropy of classes.
      mask_weight: weight of the cross-entropy of points.
      dice_weight: weight of the dice loss.
      no_object_weight: weight of queries without a true mask in the entropy.
    """

    class_weight: Annotated[float, Range(0)] = 2.0
    mask_weight: Annotated[float, Range(0)] = 5.0
    dice_weight: Annotated[float, Range(0)] = 5.0
    no_object_weight: Annotated[float, Range(0, 1)] = 0.1


class PointSampling(NamedTuple):
    """Points at which masks are compared.

    Args:
      num_points: P, points of a mask.
      oversample_ratio: random points of which the uncertain ones are taken, as a multiple of P.
      importance_sample_ratio: fraction of P that is taken of the uncertain ones.
    """

    num_points: Annotated[int, Range(1)] = 12544
    oversample_ratio: Annotated[float, Range(1)] = 3.0
    importance_sample_ratio: Annotated[float, Range(0, 1)] = 0.75


def sample_masks(masks: jax.Array, points: jax.Array) -> jax.Array:
    """Interpolate masks at points, bilinearly.

    Args:
      masks: [N, h, w, C] floating.
      points: [N, P, 2], (x, y) in shares of the sides.

    Returns:
      [N, P, C].
    """
    check_shapes(masks=(masks, "N h w C"), points=(points, "N P 2"))
    columns, rows = (
        jnp.clip(points[..., i] * size - 0.5, 0, size - 1) for i, size in enumerate((masks.shape[2], masks.shape[1]))
    )
    return bilinear_sample(masks, rows, columns)


def important_points(key: jax.Array, mask_logits: jax.Array, sampling: PointSampling = PointSampling()) -> jax.Array:
    """Draw points of each mask, most of them where it is uncertain.

    Args:
      key: PRNG key.
      mask_logits: [M, h, w]; no gradient goes through the points.
      sampling: how many points.

    Returns:
      [M, P, 2], (x, y) in shares of the sides.
    """
    count, num_points = len(mask_logits), sampling.num_points
    num_uncertain = int(sampling.importance_sample_ratio * num_points)
    first_key, rest_key = jax.random.split(key)
    rest = jax.random.uniform(rest_key, (count, num_points - num_uncertain, 2))
    if not num_uncertain:
        return rest
    # Keep the points whose logits are nearest to 0.
    candidates = jax.random.uniform(first_key, (count, int(sampling.oversample_ratio * num_points), 2))
    logits = sample_masks(jax.lax.stop_gradient(mask_logits)[..., None], candidates).squeeze(-1)
    index = jax.lax.top_k(-jnp.abs(logits), num_uncertain)[1]
    return jnp.concatenate([jnp.take_along_axis(candidates, index[..., None], 1), rest], 1)


def point_losses(logits: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Compare masks at their points.

    Args:
      logits: [..., P].
      targets: [..., P] in [0, 1].

    Returns:
      (cross-entropy [...], a mean over points; dice loss [...]).
    """
    check_shapes(logits=(logits, "... P"), targets=(targets, "... P"))
    logits, targets = to_acc_dtype(logits), to_acc_dtype(targets)
    cross_entropy = optax.sigmoid_binary_cross_entropy(logits, targets).mean(-1)
    return cross_entropy, dice_loss(logits[..., None], targets[..., None])


def match_masks(
    class_logits: jax.Array,
    logits: jax.Array,
    targets: jax.Array,
    labels: jax.Array,
    valid: jax.Array,
    weights: MaskLossWeights = MaskLossWeights(),
) -> jax.Array:
    """Match each true mask of an image to a query of its own, at the least total cost.

    Args:
      class_logits: [Q, C + 1], "no object" last.
      logits: [P, Q], masks at points.
      targets: [P, M] in [0, 1], true masks at the same points.
      labels: [M] int; those of padding may be any.
      valid: [M] bool, False for padding.
      weights: weights of the cost.

    Returns:
      [M] int32, index of a query; -1 for padding.
    """
    class_logits, logits, targets = map(to_acc_dtype, (class_logits, logits, targets))
    cost_class = -jax.nn.softmax(class_logits)[:, jnp.where(valid, labels, 0)]  # [Q, M]
    # All pairs by products: the sum over points of log(1 + e^s) - s y, and of p y.
    product = jax.lax.Precision.HIGHEST
    overlap = jnp.matmul(logits.T, targets, precision=product)
    cost_mask = (jax.nn.softplus(logits).sum(0)[:, None] - overlap) / len(logits)
    probs = jax.nn.sigmoid(logits)
    shared = jnp.matmul(probs.T, targets, precision=product)
    cost_dice = 1 - (2 * shared + 1) / (probs.sum(0)[:, None] + targets.sum(0) + 1)
    cost = weights.class_weight * cost_class + weights.mask_weight * cost_mask + weights.dice_weight * cost_dice
    return assign(cost, valid)


@check_arguments
def image_losses(
    class_logits: jax.Array,
    mask_logits: jax.Array,
    masks: jax.Array,
    labels: jax.Array,
    valid: jax.Array,
    key: jax.Array,
    *,
    weights: MaskLossWeights = MaskLossWeights(),
    sampling: PointSampling = PointSampling(),
    auxiliary: bool = True,
) -> dict[str, Any]:
    """Sum the losses over the queries of one image.

    Args:
      class_logits: [layers, Q, C + 1], "no object" last.
      mask_logits: [layers, h, w, Q].
      masks: [M, H, W] bool, the true ones.
      labels: [M] int.
      valid: [M] bool, False for padding.
      key: PRNG key of the points.
      weights: weights of the losses and of the matching.
      sampling: points of a mask.
      auxiliary: take the losses of the earlier layers, too.

    Returns:
      {"classification": (sum, sum of weights), "mask", "dice": sums, the same with "auxiliary_" in front: over all
      earlier layers, "num_foreground": number of true masks}.
    """
    check_shapes(
        class_logits=(class_logits, "layers Q K"),
        mask_logits=(mask_logits, "layers h w Q"),
        masks=(masks, "mask M H W"),
        labels=(labels, "int M"),
        valid=(valid, "mask M"),
    )
    check_class_ids("labels", labels, class_logits.shape[-1] - 1, valid=valid)
    num_layers, num_queries, outputs = class_logits.shape
    targets = masks.astype(mask_logits.dtype)  # [M, H, W]
    if not auxiliary:
        class_logits, mask_logits, num_layers = class_logits[-1:], mask_logits[-1:], 1

    def of_layer(key: jax.Array, class_logits: jax.Array, mask_logits: jax.Array) -> dict[str, Any]:
        # One query for each true mask, compared at points that all masks share.
        matching_key, loss_key = jax.random.split(key)
        shared = jax.random.uniform(matching_key, (1, sampling.num_points, 2))
        at_points = (sample_masks(x[None], shared).squeeze(0) for x in (mask_logits, jnp.moveaxis(targets, 0, -1)))
        query_idx = match_masks(class_logits, *at_points, labels, valid, weights)  # [M]
        # Class loss over all queries; queries without a mask predict "no object".
        pairs = query_idx[:, None] == jnp.arange(num_queries)  # [M, Q]
        is_matched, has_query = pairs.any(0), query_idx >= 0  # [Q], [M]
        label = jnp.where(is_matched, labels[pairs.argmax(0)], outputs - 1)  # [Q]
        weight = jnp.where(is_matched, 1.0, weights.no_object_weight)  # [Q]
        entropy = softmax_cross_entropy_loss(class_logits, label)  # [Q]
        # Mask losses of matched pairs, at points of their own.
        matched = jnp.moveaxis(mask_logits, -1, 0)[jnp.maximum(query_idx, 0)]  # [M, h, w]
        points = important_points(loss_key, matched, sampling)  # [M, P, 2]
        at_points = (sample_masks(x[..., None], points).squeeze(-1) for x in (matched, targets))
        cross_entropy, dice = point_losses(*at_points)
        return {
            "classification": (weights.class_weight * (weight * entropy).sum(), weight.sum()),
            "mask": weights.mask_weight * jnp.where(has_query, cross_entropy, 0).sum(),
            "dice": weights.dice_weight * jnp.where(has_query, dice, 0).sum(),
        }

    layers = jax.vmap(of_layer)(jax.random.split(key, num_layers), class_logits, mask_logits)
    sums = jax.tree.map(lambda values: values[-1], layers)
    # Auxiliary losses of the earlier layers.
    if num_layers > 1:
        earlier = jax.tree.map(lambda values: values[:-1].sum(0), layers)
        entropy, weight = earlier["classification"]  # each layer is divided by its own weight, which all share
        earlier["classification"] = entropy, weight / (num_layers - 1)
        sums |= {f"auxiliary_{name}": value for name, value in earlier.items()}
    return {**sums, "num_foreground": valid.sum(dtype=jnp.int32)}
