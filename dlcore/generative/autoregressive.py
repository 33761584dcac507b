"""Autoregressive models: one learner, exact likelihoods and one sampler for all networks that predict pixel by pixel.

    log p(x) = sum_d log p(x_d | x_1, ..., x_{d-1})

A network has a field `levels` (values of a dimension) and, where it is given a class, `num_classes`. It maps images
[B, H, W, C] of levels, or of codes, to logits [B, H, W, C, levels], in one pass: those of a dimension depend on the
dimensions before it, in the order of rows, columns, and colors of a pixel. Sampling needs D passes, one a dimension
(Larochelle & Murray 2011; van den Oord, Kalchbrenner & Kavukcuoglu 2016, arXiv:1601.06759).
A network that has them is asked for less:

    start(shape, label) -> cache,   row(cache, x, y, label) -> cache, once a row,
    step(cache, x, (y, column, color), label) -> (cache, logits [B, levels])

Or it has `reach()`: the logits of a pixel depend on no pixel further than so many rows above and columns to each side.
A whole pass is then one over these.

Where the first pixels are given, the others are drawn from their exact distribution under the model.
"""

import math
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.generative.likelihood import binarize, categorical_log_likelihood, likelihood_metrics, quantize
from dlcore.generative.pixels import check_shape
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import masked_mean
from dlcore.ops.categorical import sample_categorical
from dlcore.ops.checks import check_indices, check_shapes
from dlcore.ops.replica import replica_key
from dlcore.optim import apply_gradients, init_state

__all__ = ["dependence", "learner", "likelihood_name", "log_likelihood", "sample"]


def log_likelihood(model: nn.Module, params: Any, x: jax.Array, label: jax.Array | None = None) -> jax.Array:
    """Log p of images under the model, exactly.

    Args:
      model: an autoregressive network, as the module says.
      params: parameters of the network.
      x: [B, H, W, C] int in [0, levels).
      label: [B] int, where the network is given a class.

    Returns:
      [B] float32, in nats.
    """
    return categorical_log_likelihood(model.apply({"params": params}, x, label), x)


def sample(
    model: nn.Module,
    params: Any,
    keys: jax.Array,
    shape: tuple[int, int, int],
    *,
    label: jax.Array | None = None,
    given: jax.Array | None = None,
    known: jax.Array | None = None,
    temperature: float | jax.Array = 1.0,
    cached: bool = True,
) -> jax.Array:
    """Draw one image for each key, from that key alone, dimension by dimension in one scan.

    Args:
      keys: [B].
      shape: (H, W, C) of an image.
      given: [B, H, W, C] int in [0, levels), images to complete.
      known: [B, H, W, C] or [H, W, C] bool, which dimensions of `given` to keep. Where they come before all others the
        rest is drawn given them; a dimension is never drawn given a later one.
      temperature: what logits are divided by: below 1 samples are more probable and less diverse, 0 takes the most
        probable level of each dimension.
      cached: use the network's `step`, where it has one, in place of passes over all that a dimension depends on; the
        samples are the same.
      As `log_likelihood`.

    Returns:
      [B, H, W, C] int32 in [0, levels).
    """
    check_shape(shape, 3)
    check_shapes(keys=(keys, "B"), temperature=(temperature, ">= 0"))
    if (given is None) != (known is None):
        raise ValueError("given and known: one is None; allowed: both, or none")
    if given is not None:
        check_shapes(given=(given, " ".join(map(str, (len(keys), *shape)))))
        check_indices("given", given, model.levels, "levels")
        if np.shape(known) not in (tuple(shape), np.shape(given)):
            raise ValueError(f"known={list(np.shape(known))}: wrong shape; allowed: {list(shape)}, or that of given")
    if label is not None and len(label) != len(keys):
        raise ValueError(f"label={list(label.shape)}: wrong shape; allowed: one for each of {len(keys)} keys")
    height, width, colors = shape
    variables = {"params": params}
    x = jnp.zeros((keys.shape[0], *shape), jnp.int32)
    observed, is_observed = (x, jnp.zeros(shape, bool)) if given is None else (given, known)
    observed, is_observed = observed.astype(jnp.int32), jnp.broadcast_to(is_observed, x.shape)
    # With `step` a model computes one pixel from its cache; else its receptive field is evaluated anew.
    cached = cached and hasattr(model, "step")
    has_rows = cached and hasattr(model, "row")
    reach = model.reach() if hasattr(model, "reach") else max(height, width)
    rows, columns = min(height, reach + 1), min(width, 2 * reach + 1)

    def draw(key, logits, d):
        return sample_categorical(jax.random.fold_in(key, d), logits, temperature)

    def one(carry, d):
        x, cache = carry
        # Raster order: row, column, color.
        position = d // (width * colors), d // colors % width, d % colors
        if cached:
            cache, logits = model.apply(variables, cache, x, position, label, method="step")
        else:
            y, column, color = position
            top, left = jnp.clip(y - reach, 0, height - rows), jnp.clip(column - reach, 0, width - columns)
            receptive_field = jax.lax.dynamic_slice(x, (0, top, left, 0), (x.shape[0], rows, columns, colors))
            logits = model.apply(variables, receptive_field, label)[:, y - top, column - left, color]
        value = jax.vmap(draw, (0, 0, None))(keys, logits, d)
        # Observed values are kept: completion of an image.
        value = jnp.where(is_observed[:, *position], observed[:, *position], value)
        return (x.at[:, *position].set(value), cache), None

    def one_row(carry, y):
        x, cache = carry
        if has_rows:
            # What rows above contribute, once a row.
            cache = model.apply(variables, cache, x, y, label, method="row")
        return jax.lax.scan(one, (x, cache), y * width * colors + jnp.arange(width * colors))

    cache = model.apply(variables, x.shape, label, method="start") if cached else ()
    (x, _), _ = jax.lax.scan(one_row, (x, cache), jnp.arange(height))
    return x


def dependence(model: nn.Module, params: Any, shape: tuple[int, int, int], key: jax.Array) -> jax.Array:
    """Measure how strongly each dimension's logits follow each dimension of the image, by gradients at a random image.

    A network is autoregressive if nothing stands on the diagonal and above; zeros below are what it is blind to.

    Args:
      model: an autoregressive network, as the module says, which reads levels as numbers.
      params: parameters of the network.
      shape: (H, W, C) of an image.
      key: PRNG key of the image.

    Returns:
      [D, D] float32, the sum over levels of |d logits_i / d x_j| in row i and column j.
    """
    check_shape(shape, 3)
    x = jax.random.uniform(key, shape, maxval=model.levels - 1)
    label = jnp.zeros(1, jnp.int32) if getattr(model, "num_classes", 0) else None
    jacobian = jax.jacrev(lambda x: model.apply({"params": params}, x[None], label)[0])(x)
    dimensions = math.prod(shape)
    return jnp.abs(jacobian).sum(3).reshape(dimensions, dimensions)


def likelihood_name(binarization: str, levels: int, codes: bool = False) -> str:
    """Name what a likelihood is of, for the names of metrics.

    Args:
      binarization: rule of binary images.
      levels: values of a dimension.
      codes: the images are codes.

    Returns:
      Such as "dynamic", "16_levels" or "128_codes".
    """
    if codes:
        return f"{levels}_codes"
    return binarization if levels == 2 else f"{levels}_levels"


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    shape: tuple[int, ...],
    binarization: Literal["dynamic", "static", "threshold"] = "dynamic",
    temperature: Annotated[float, Range(0)] = 1.0,
) -> Learner:
    """Train an autoregressive network on `{"image": [B, H, W, C], "index": [B]}`, or on `{"codes": ..., "index"}`.

    Args:
      model: as the module says; images of two levels are binarized, of more quantized; codes are used as they are.
      shape: (H, W, C) of an image.
      binarization: how pixels become 0 or 1 where there are two levels: drawn at each step, drawn once, or at 1/2.
      temperature: temperature of samples; below 1 they are more probable and less diverse.

    Returns:
      The learner. `loss` is in nats a dimension; `evaluate` returns the nats of an image and the bits per dimension
      too, under names that carry the binarization. `predict` needs `index` alone and gives `{"sample": [B, H, W, C] in
      [0, 1], "levels": the same as int, "nats": -log p of each}`. It keeps the pixels of `image` (or `codes`) that
      `known: [B, H, W, C]` marks, and draws class `label`, or without labels class `index` modulo their number.
    """
    check_shape(shape, 3)
    levels, num_classes = model.levels, getattr(model, "num_classes", 0)
    dimensions = math.prod(shape)

    def values(batch, key):
        """(images [B, H, W, C] of levels, the name of their likelihood)."""
        if "codes" in batch:
            return batch["codes"].reshape(-1, *shape), likelihood_name(binarization, levels, codes=True)
        image = batch["image"]
        if levels > 2:
            return quantize(image, levels), likelihood_name(binarization, levels)
        return binarize(key, image, binarization, batch["index"]).astype(jnp.int32), binarization

    def label_of(batch):
        return batch["label"] if num_classes else None

    def init(rng: jax.Array, batch: dict) -> State:
        label = jnp.zeros(1, jnp.int32) if num_classes else None
        x = jnp.zeros((1, *shape), jnp.int32)
        params = model.init(jax.random.fold_in(rng, 0), x, label)["params"]
        return init_state(params, optimizer, rng)

    def objective(params, batch, key, dropout=None):
        x, name = values(batch, key)
        train = {} if dropout is None else {"train": True, "rngs": {"dropout": dropout}}
        # One forward pass predicts every pixel from those before it.
        logits = model.apply({"params": params}, x, label_of(batch), **train)  # [B, H, W, C, levels]
        nats, mask = -categorical_log_likelihood(logits, x), mask_of(batch)  # [B], [B]
        metrics = {"loss": Sum.of(nats / dimensions, mask), **likelihood_metrics(nats, dimensions, name, mask)}
        return masked_mean(nats / dimensions, mask), metrics

    def loss(params: Any, state: State, batch: dict) -> tuple[jax.Array, Metrics]:
        return objective(params, batch, state.rng)

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # Fresh binarization of the images, and dropout by replica.
        rng = jax.random.fold_in(state.rng, state.step)
        dropout = jax.random.fold_in(rng, 1)
        dropout = replica_key(dropout)
        # Gradient of the negative log-likelihood per dimension.
        gradients, metrics = jax.grad(objective, has_aux=True)(state.params, batch, jax.random.fold_in(rng, 0), dropout)
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        return objective(state.params, batch, state.rng)[1]

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        condition = {}
        if "known" in batch:
            condition = {"given": values(batch, state.rng)[0], "known": batch["known"] > 0}
        label = batch.get("label", batch["index"] % num_classes) if num_classes else None
        keys = example_keys(state.rng, batch)
        x = sample(model, state.params, keys, shape, label=label, temperature=temperature, **condition)
        nats = -log_likelihood(model, state.params, x, label)
        return {"sample": x.astype(jnp.float32) / (levels - 1), "levels": x, "nats": nats}

    classes = (lambda state, batch: {"label": num_classes}) if num_classes else None
    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss, classes=classes)
