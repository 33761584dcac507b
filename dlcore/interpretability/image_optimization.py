"""Gradient descent on pixels: the image is the parameter, the network is frozen.

    x <- x - step(grad_x objective(phi(x)))

What style transfer, feature inversion and class images share; they differ in `targets` and `objective`. A batch holds
one example an image, and each is optimised for itself: the objective is their sum. L-BFGS, whose line search looks at
the sum, is meant for one image.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.data.augment import to_float
from dlcore.learner import Last, Learner, Metrics, State, Sum, example_keys, mask_of

__all__ = ["ImageState", "check_layers", "image_learner", "unit"]


@struct.dataclass
class ImageState(State):
    """params: images [N, H, W, C] in [0, 1], where nothing clips them. network: frozen variables.

    targets: what the objective compares with, computed once. index: [N] int32, the example of each image.
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
    first: Callable[[jax.Array, dict], jax.Array],
    targets: Callable[[Any, dict], Any],
    objective: Callable[[Any, jax.Array, Any, jax.Array | None], tuple[jax.Array, dict[str, jax.Array]]],
    after: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    axis: str | None = None,
) -> Learner:
    """A learner whose parameters are images, one an example of the batch.

    Args:
      optimizer: any optax transformation, line searches included.
      network: variables of the frozen network.
      first: (key, example) -> image [H, W, C] to start from.
      targets: (network, example) -> pytree.
      objective: (network, image, targets, key) -> (scalar, its terms by name); the key is None in evaluation.
      after: (image, step) -> image, once an update. Without it the objective must not use its key, and a line
        search's last value and gradient serve the next step.
      axis: must be None: images do not share gradients (jit only).

    Training logs the loss and the evaluations so far; evaluate gives the terms too. predict gives
    `{"image": [B, H, W, C] in [0, 1]}`.

    Raises:
      ValueError: `axis` is given.
    """
    if axis is not None:
        raise ValueError(f"axis={axis!r}: images do not share gradients, so this learner runs under jit only")

    def init(rng: jax.Array, batch: dict) -> ImageState:
        images = jax.vmap(first)(example_keys(jax.random.fold_in(rng, 0), batch), batch)
        variables = jax.tree.map(jnp.asarray, network)
        return ImageState(
            step=jnp.zeros((), jnp.int32), rng=jax.random.fold_in(rng, 1), params=images,
            opt_state=optimizer.init(images), network=variables,
            targets=jax.vmap(targets, in_axes=(None, 0))(variables, batch), index=batch["index"],
            evaluations=jnp.zeros((), jnp.int32),
        )  # fmt: skip

    def update(state: ImageState, batch: dict) -> tuple[ImageState, Metrics]:
        root = jax.random.fold_in(state.rng, state.step)
        keys = jax.vmap(lambda i: jax.random.fold_in(root, i))(state.index)

        def value_fn(images):
            return jax.vmap(objective, in_axes=(None, 0, 0, 0))(state.network, images, state.targets, keys)[0].sum()

        known = optax.tree.get(state.opt_state, "value") if after is None else None
        if known is None:
            value, gradient = jax.value_and_grad(value_fn)(state.params)
        else:
            value, gradient = optax.value_and_grad_from_state(value_fn)(state.params, state=state.opt_state)
        computed = jnp.int32(1) if known is None else (~jnp.isfinite(known)).astype(jnp.int32)
        updates, opt_state = optax.with_extra_args_support(optimizer).update(
            gradient, state.opt_state, state.params, value=value, grad=gradient, value_fn=value_fn
        )
        searched = optax.tree.get(opt_state, "num_linesearch_steps", jnp.zeros((), jnp.int32))
        images = optax.apply_updates(state.params, updates)
        state = state.replace(
            step=state.step + 1,
            params=images if after is None else jax.vmap(after, in_axes=(0, None))(images, state.step),
            opt_state=opt_state,
            evaluations=state.evaluations + computed + searched.astype(jnp.int32),
        )
        return state, {"loss": Sum(value, jnp.int32(len(images))), "evaluations": Last(state.evaluations)}

    def rows(state: ImageState, batch: dict) -> jax.Array:
        return (state.index[None, :] == batch["index"][:, None]).argmax(-1)

    def evaluate(state: ImageState, batch: dict) -> Metrics:
        place, mask = rows(state, batch), mask_of(batch)
        values, terms = jax.vmap(lambda x, y: objective(state.network, x, y, None))(
            state.params[place], jax.tree.map(lambda x: x[place], state.targets)
        )
        return {"loss": Sum.of(values, mask), **{name: Sum.of(term, mask) for name, term in terms.items()}}

    def predict(state: ImageState, batch: dict) -> dict[str, jax.Array]:
        return {"image": jnp.clip(state.params[rows(state, batch)], 0, 1)}

    return Learner(init, update, evaluate, predict, batched=("params", "targets/*", "index"))


def unit(image: jax.Array) -> jax.Array:
    """uint8 as float32 in [0, 1]; floats as they are."""
    return to_float(image).astype(jnp.float32)


def check_layers(model: nn.Module, variables: Any, channels: int, **named: tuple[str, ...]) -> None:
    """Raise ValueError where an argument names a layer that `model.features` does not give for a 64x64 image."""
    image = jax.ShapeDtypeStruct((1, 64, 64, channels), jnp.float32)
    known = list(jax.eval_shape(lambda v, x: model.apply(v, x, method="features"), variables, image))
    for argument, layers in named.items():
        for layer in layers:
            if layer not in known:
                raise ValueError(f"{argument} names {layer!r}; the model has {', '.join(known)}")
