"""Multi-task learning: a shared trunk, and a head for each task.

    L = sum_k weight_k L_k,    L_k = CE on images of task k alone               Caruana 1997, "Multitask learning"

A batch has as many images of each task, however large their data sets are: a task with few of them is not drowned. A
weight of 0 leaves a task out, and its head as it was; the same learner is then the single task's.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.learner import Learner, Metrics, State, Sum, mask_of
from dlcore.losses import masked_mean, multi_task_loss, softmax_cross_entropy_loss
from dlcore.nn import Dense
from dlcore.ops.checks import check_shapes
from dlcore.optim import apply_gradients, init_state

__all__ = ["HeadsNet", "learner", "rotate_quarter_turns"]


class HeadsNet(nn.Module):
    """A trunk with a linear head for each task.

    Args:
      trunk: images [B, ...] -> features [B, D].
      classes: (task, number of classes), one a task.
    """

    trunk: nn.Module
    classes: tuple[tuple[str, int], ...]

    @nn.compact
    def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
        """Classify images by every head.

        Args:
          images: [B, ...].

        Returns:
          task -> logits [B, classes].
        """
        features = self.trunk(images)
        return {name: Dense(count, name=f"head_{name}")(features) for name, count in self.classes}


def rotate_quarter_turns(images: jax.Array, index: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Rotate each image by `index % 4` quarter turns.

    Args:
      images: [B, H, H, C].
      index: [B] int.

    Returns:
      (images, quarters [B] int32).
    """
    check_shapes(images=(images, "B H H C"), index=(index, "int B"))
    quarters = (index % 4).astype(jnp.int32)
    rotations = jnp.stack([jnp.rot90(images, k, (1, 2)) for k in range(4)])
    return rotations[quarters, jnp.arange(len(images))], quarters


def learner(*, model: nn.Module, optimizer: optax.GradientTransformation, weights: Mapping[str, float]) -> Learner:
    """Train on `{task: {"image": [B, ...], "label": [B], "index": [B]}}`, a batch of one size for each task.

    Args:
      model: images -> {task: logits}, see `HeadsNet`.
      optimizer: any optax transformation.
      weights: factor by task, of all tasks.

    Returns:
      The learner. Metrics: `loss/TASK` and `accuracy/TASK`. `predict` takes one flat batch of images and gives the
      logits of all heads.
    """

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        values, metrics = {}, {}
        for name, part in batch.items():
            # Shared trunk, one head for each task.
            logits, mask = model.apply({"params": params}, part["image"])[name], mask_of(part)  # [B, C], [B]
            losses = softmax_cross_entropy_loss(logits, part["label"])  # [B]
            # Mean loss of the task.
            values[name] = masked_mean(losses, mask)
            metrics[f"loss/{name}"] = Sum.of(losses, mask)
            metrics[f"accuracy/{name}"] = Sum.of(logits.argmax(-1) == part["label"], mask)
        return multi_task_loss(values, weights), metrics

    def init(rng: jax.Array, batch: dict) -> State:
        params = model.init(jax.random.fold_in(rng, 0), next(iter(batch.values()))["image"])["params"]
        return init_state(params, optimizer, rng)

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # Gradient of the weighted sum of the tasks' losses.
        (value, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(state.params, state, batch)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients, value=value), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        return loss(state.params, state, batch)[1]

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        return model.apply({"params": state.params}, batch["image"])

    def classes(state: State, batch: dict) -> dict[str, int]:
        logits = jax.eval_shape(predict, state, next(iter(batch.values())))
        return {f"{name}/label": logits[name].shape[-1] for name in batch}

    return Learner(init, update, evaluate, predict, loss, classes=classes)
