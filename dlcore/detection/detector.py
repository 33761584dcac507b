"""What detectors that predict at every place of a pyramid share as learners: init, update, evaluate, predict.

A detector is a model `(images, train) -> (outputs, (h, w) of each level)`, the places that these outputs are of, what
the outputs of one image cost, and how they become boxes. The cost is divided by the number of places on objects in the
whole batch, over all devices.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.learner import Learner, Metrics, State, Sum, example_keys, mask_of
from dlcore.optim import apply_gradients

__all__ = ["DetectorState", "detector_learner"]


@struct.dataclass
class DetectorState(State):
    """model_state: batch statistics of the backbone, {} where it has none."""

    model_state: Any


def detector_learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    places: Callable[[Any, tuple[int, int]], Any],
    losses: Callable[..., dict[str, jax.Array]],
    postprocess: Callable[[Any, Any, tuple[int, int]], dict[str, jax.Array]],
    preprocess: Callable[[jax.Array], jax.Array] = lambda image: image,
    augment: Any = None,
    axis: str | None = None,
) -> Learner:
    """A detector of `{"image": [B, H, W, C], "boxes": [B, M, 4] pixels, "labels": [B, M] int, "box_mask": [B, M]}`.

    Args:
      model: `__call__(images [B, H, W, C], train) -> (outputs, sizes)`; outputs: a NamedTuple of [B, L, ...].
      optimizer: any optax transformation.
      places: `(sizes, (height, width)) -> places`, numpy arrays.
      losses: `(outputs, places, boxes, labels, valid) -> {name: sum over the places}` of one image; the entry "places"
        is the number of places on objects, int, the others add up to the loss.
      postprocess: `(outputs, places, (height, width)) -> boxes, scores, labels, valid` of one image.
      preprocess: batch of images to the model's input, of the same size.
      augment: `(key, image, boxes, box_mask) -> (image, boxes, box_mask)` of one preprocessed training image.
      axis: name of the mapped axis under pmap.

    predict gives `{"boxes": [B, K, 4] in pixels, "scores": [B, K], "labels": [B, K], "valid": [B, K]}`, best first.
    """

    def apply(params, model_state, images, train):
        variables = {"params": params, **model_state}
        if train and model_state:
            (outputs, sizes), model_state = model.apply(variables, images, train=True, mutable=list(model_state))
        else:
            outputs, sizes = model.apply(variables, images, train=train)
        return outputs, places(sizes, images.shape[1:3]), model_state

    def init(rng: jax.Array, batch: dict) -> DetectorState:
        variables = dict(model.init(jax.random.fold_in(rng, 0), preprocess(batch["image"]), train=False))
        params = variables.pop("params")
        return DetectorState(
            step=jnp.zeros((), jnp.int32), rng=jax.random.fold_in(rng, 1), params=params,
            opt_state=optimizer.init(params), model_state=variables,
        )  # fmt: skip

    def objective(params, model_state, images, boxes, valid, batch, train):
        outputs, where, model_state = apply(params, model_state, images, train)
        mask = mask_of(batch) > 0
        dtype = jax.tree.leaves(outputs)[0].dtype
        sums = jax.vmap(lambda out, *truth: losses(out, where, *truth))(
            outputs, boxes.astype(dtype), batch["labels"], valid.astype(bool)
        )
        sums = {name: jnp.where(mask, values, 0).sum() for name, values in sums.items()}
        on = sums.pop("places")
        total = sum(sums.values())
        metrics = {name: Sum(value.astype(jnp.float32), on) for name, value in {"loss": total, **sums}.items()}
        if axis is None:
            return total / jnp.maximum(on, 1), (model_state, metrics)
        everywhere, replicas = jax.lax.psum((on, 1), axis)
        return replicas * total / jnp.maximum(everywhere, 1), (model_state, metrics)

    def loss(params: Any, state: DetectorState, batch: dict) -> tuple[jax.Array, Metrics]:
        images = preprocess(batch["image"])
        value, (_, metrics) = objective(
            params, state.model_state, images, batch["boxes"], batch["box_mask"], batch, train=False
        )
        return value, metrics

    def update(state: DetectorState, batch: dict) -> tuple[DetectorState, Metrics]:
        images, boxes, valid = preprocess(batch["image"]), batch["boxes"], batch["box_mask"]
        if augment is not None:
            keys = example_keys(jax.random.fold_in(state.rng, state.step), batch)
            images, boxes, valid = jax.vmap(augment)(keys, images, boxes, valid)

        def value_fn(params):
            return objective(params, state.model_state, images, boxes, valid, batch, train=True)

        gradients, (model_state, metrics) = jax.grad(value_fn, has_aux=True)(state.params)
        if axis is not None:
            model_state = jax.lax.pmean(model_state, axis)
        return apply_gradients(state, optimizer, gradients, model_state=model_state), metrics

    def evaluate(state: DetectorState, batch: dict) -> Metrics:
        return loss(state.params, state, batch)[1]

    def predict(state: DetectorState, batch: dict) -> dict[str, jax.Array]:
        images = preprocess(batch["image"])
        outputs, where, _ = apply(state.params, state.model_state, images, train=False)
        return jax.vmap(lambda out: postprocess(out, where, images.shape[1:3]))(outputs)

    return Learner(init, update, evaluate, predict, loss)
