"""Gradient descent on pixels: the image is the parameter, the network is frozen.

    x <- x - step(grad_x objective(phi(x)))

What style transfer, feature inversion and class images share; they differ in `targets` and `objective`. Each example
of a batch gives one image, optimized independently: the objective is their sum. L-BFGS, whose line search looks at the
sum, is meant for one image.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.learner import Last, Learner, Metrics, State, Sum, example_keys, mask_of
from dlcore.ops.replica import is_replicated
from dlcore.optim import apply_gradients

__all__ = ["ImageState", "feature_maps", "image_learner"]


@struct.dataclass
class ImageState(State):
    """Images [N, H, W, C] as `params`, about [0, 1], and what they are compared with.

    Args:
      network: frozen variables.
      targets: what the objective compares with, computed once.
      index: [N] int32, the example of each image.
      evaluations: [] int32, how often objective and gradient were computed.
    """

    network: Any
    targets: Any
    index: jax.Array
    evaluations: jax.Array


def image_learner(
    *,
    optimizer: optax.GradientTransformation,
    network: Any,
    initial: Callable[[jax.Array, dict], jax.Array],
    targets: Callable[[Any, dict], Any],
    objective: Callable[[Any, jax.Array, Any, jax.Array | None], tuple[jax.Array, dict[str, jax.Array]]],
    project: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
) -> Learner:
    """Optimize images, one for each example of the batch.

    Args:
      optimizer: any optax transformation, line searches included.
      network: variables of the frozen network.
      initial: (key, example) -> image [H, W, C] to start from.
      targets: (network, example) -> pytree.
      objective: (network, image, targets, key) -> (scalar, its terms by name); the key is None in evaluation.
      project: (image, step) -> image, after each update. Without it the objective must not use its key, and the next
        step starts from the value and gradient that a line search found last.

    Returns:
      The learner. Training logs the loss and the evaluations so far; `evaluate` returns the terms too; `predict`
      returns `{"image": [B, H, W, C] in [0, 1]}`.
    """

    def init(rng: jax.Array, batch: dict) -> ImageState:
        images = jax.vmap(initial)(example_keys(jax.random.fold_in(rng, 0), batch), batch)
        variables = jax.tree.map(jnp.asarray, network)
        return ImageState(
            step=jnp.zeros((), jnp.int32),
            rng=jax.random.fold_in(rng, 1),
            params=images,
            opt_state=optimizer.init(images),
            network=variables,
            targets=jax.vmap(targets, in_axes=(None, 0))(variables, batch),
            index=batch["index"],
            evaluations=jnp.zeros((), jnp.int32),
        )

    def update(state: ImageState, batch: dict) -> tuple[ImageState, Metrics]:
        if is_replicated():
            raise ValueError("spmd='pmap': images do not share gradients; allowed: jit")
        root = jax.random.fold_in(state.rng, state.step)
        keys = jax.vmap(lambda i: jax.random.fold_in(root, i))(state.index)

        def value_fn(images):
            return jax.vmap(objective, in_axes=(None, 0, 0, 0))(state.network, images, state.targets, keys)[0].sum()

        # Gradient by the pixels. A line search has stored it, which is valid unless `project` changed the images.
        last_value = optax.tree.get(state.opt_state, "value") if project is None else None
        if last_value is None:
            value, gradient = jax.value_and_grad(value_fn)(state.params)
        else:
            value, gradient = optax.value_and_grad_from_state(value_fn)(state.params, state=state.opt_state)
        # Count it only where it was computed: the first stored value is infinite.
        new = jnp.int32(1) if last_value is None else (~jnp.isfinite(last_value)).astype(jnp.int32)
        # Optimizer step; the network stays frozen.
        after = apply_gradients(state, optimizer, gradient, value=value, value_fn=value_fn)
        line_search = optax.tree.get(after.opt_state, "num_linesearch_steps", jnp.zeros((), jnp.int32))
        # Project each image.
        images = after.params if project is None else jax.vmap(project, in_axes=(0, None))(after.params, state.step)
        after = after.replace(params=images, evaluations=state.evaluations + new + line_search.astype(jnp.int32))
        return after, {"loss": Sum(value, jnp.int32(len(images))), "evaluations": Last(after.evaluations)}

    def rows(state: ImageState, batch: dict) -> jax.Array:
        return (state.index[None, :] == batch["index"][:, None]).argmax(-1)  # [B], positions in the state

    def evaluate(state: ImageState, batch: dict) -> Metrics:
        row, mask = rows(state, batch), mask_of(batch)
        values, terms = jax.vmap(lambda x, y: objective(state.network, x, y, None))(
            state.params[row], jax.tree.map(lambda x: x[row], state.targets)
        )
        return {"loss": Sum.of(values, mask), **{name: Sum.of(term, mask) for name, term in terms.items()}}

    def predict(state: ImageState, batch: dict) -> dict[str, jax.Array]:
        return {"image": jnp.clip(state.params[rows(state, batch)], 0, 1)}

    return Learner(init, update, evaluate, predict, batched=("params", "targets/*", "index"))


def feature_maps(model: nn.Module, variables: Any, x: jax.Array) -> dict[str, jax.Array]:
    """Compute the maps of one image.

    Args:
      model: a network with a method `features`.
      variables: variables of the model.
      x: [H, W, C], standardized as the network's images.

    Returns:
      {layer: [h, w, D]}.
    """
    return jax.tree.map(lambda maps: maps[0], model.apply(variables, x[None], method="features"))
