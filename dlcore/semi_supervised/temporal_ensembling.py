"""Temporal ensembling: a network predicts what it predicted of the same image before, on average.

Laine & Aila 2017, arXiv:1610.02242.

    Z_u <- alpha Z_u + (1 - alpha) z_u,   z_u = softmax f(x_u, eta),   after each visit of example u
    l_u = 1/C || z_u - Z_u / (1 - alpha^{v_u}) ||^2                    v_u visits before this one; 0 at the first

One pass for each image, where the Pi-model takes two, and a table Z of [N, C] numbers. The paper updates it after each
epoch; here a row changes at its visit, and the bias correction counts visits of that row, not steps. Labeled and
unlabeled images pass the network apart, as in `dlcore.semi_supervised.pi_model`.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.learner import Learner, Range, check_arguments, mask_of
from dlcore.ops.checks import check_indices, check_shapes
from dlcore.ops.replica import all_gather
from dlcore.semi_supervised.two_streams import (
    Networks,
    RampUp,
    Terms,
    augment_stream,
    mean_squared,
    ramp_up_schedule,
    supervised_terms,
    two_stream_learner,
)

__all__ = ["correct_startup_bias", "learner", "remember"]


def remember(
    memory: dict[str, jax.Array], index: jax.Array, predictions: jax.Array, mask: jax.Array, alpha: float | jax.Array
) -> dict[str, jax.Array]:
    """Write the predictions of a batch into the table.

    Args:
      memory: `ensemble` [N, C] and `visits` [N] int32.
      index: [U] int32, rows; of one that comes twice the first counts.
      predictions: [U, C].
      mask: [U], 0 for padding, which writes nothing.
      alpha: share of the old value.

    Returns:
      The memory after it.
    """
    check_shapes(ensemble=(memory["ensemble"], "N C"), visits=(memory["visits"], "N"))
    check_shapes(
        predictions=(predictions, f"U {memory['ensemble'].shape[1]}"),
        index=(index, "U"),
        mask=(mask, "mask U"),
        alpha=(alpha, "0 to 1"),
    )
    table, visits = memory["ensemble"], memory["visits"]
    check_indices("index", index, len(table), "rows")
    # An image that occurs twice in a batch is stored once.
    same = (index[:, None] == index[None, :]) & (mask > 0)[None, :]
    first = same.argmax(1) == jnp.arange(len(index))
    row = jnp.where((mask > 0) & first, index, len(table))
    new = alpha * table[index] + (1 - alpha) * predictions.astype(table.dtype)  # [U, C]
    return {"ensemble": table.at[row].set(new, mode="drop"), "visits": visits.at[row].add(1, mode="drop")}


def correct_startup_bias(memory: dict[str, jax.Array], index: jax.Array, alpha: float | jax.Array) -> jax.Array:
    """Read the mean predictions, without the bias towards the table's zeros.

    Args:
      memory: the memory bank, see `remember`.
      index: [U] int32, rows that were visited.
      alpha: share of the old value.

    Returns:
      [U, C], probabilities; zeros of rows without a visit.
    """
    check_shapes(index=(index, "U"), alpha=(alpha, "0 to 1"))
    check_indices("index", index, len(memory["ensemble"]), "rows")
    # Bias correction, as in Adam.
    bias = 1 - alpha ** memory["visits"][index].astype(jnp.float32)
    return memory["ensemble"][index] / jnp.where(bias > 0, bias, 1)[:, None]


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    num_unlabeled: int,
    augment: Augmentation | None = None,
    preprocess: Preprocess = lambda image: image,
    alpha: Annotated[float, Range(0, 0.999)] = 0.6,
    ramp: RampUp = RampUp(100.0),
) -> Learner:
    """Train a classifier by temporal ensembling; batches are those of `two_stream_learner`.

    Args:
      model: `__call__(x, train: bool) -> logits [B, num_classes]`.
      optimizer: any optax transformation.
      num_unlabeled: N, rows of the table: examples of the unlabeled stream.
      augment: `(key, preprocessed image) -> image`.
      preprocess: batch of images to the model's input.
      alpha: share of the old prediction that a visit keeps.
      ramp: lambda, and how it rises.

    Returns:
      The learner.
    """

    def technique(networks: Networks, labeled: dict, unlabeled: dict, rng: jax.Array, memory: Any) -> Terms:
        (logits,), model_state = networks.student(labeled["image"])
        (view_logits,), _ = networks.student(augment_stream(augment, rng, unlabeled))  # [U, C]
        index, mask, prediction = unlabeled["index"], mask_of(unlabeled), jax.nn.softmax(view_logits)
        # Bias-corrected ensemble of past predictions is the target; none at an image's first visit.
        has_target = memory["visits"][index] > 0  # [U]
        losses = has_target * mean_squared(prediction, correct_startup_bias(memory, index, alpha))  # [U]
        # Every replica stores the predictions of all.
        entries = index, jax.lax.stop_gradient(prediction), mask
        entries = all_gather(entries)
        supervised, metrics = supervised_terms(logits, labeled)
        return Terms(supervised, model_state, metrics, losses, memory=remember(memory, *entries, alpha))

    def memory(num_classes: int) -> dict[str, jax.Array]:
        table = jnp.zeros((num_unlabeled, num_classes))
        return {"ensemble": table, "visits": jnp.zeros(num_unlabeled, jnp.int32)}

    return two_stream_learner(
        model,
        optimizer,
        technique,
        preprocess=preprocess,
        augment=augment,
        weight=ramp_up_schedule(*ramp),
        memory=memory,
        num_unlabeled=num_unlabeled,
    )
