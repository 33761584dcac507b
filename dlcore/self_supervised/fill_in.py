"""Pretexts that fill in: a task takes something from an image, and a network has to give it back.

    (input, trivial, target, weight) = task(key, image)
    L = sum of weight (d(f(input)) - (target - trivial))^2 / sum of weight

f is the backbone and d a small decoder without shortcuts, so that everything passes through f's last map; the decoder
is thrown away. It learns what to add to a trivial answer (the mean, gray, bicubic interpolation), whose error is
measured beside it: a network that has learned nothing is as good as that. Pathak et al. 2016, arXiv:1604.07379; Zhang,
Isola & Efros 2016, arXiv:1603.08511, and 2017, arXiv:1611.09842.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.data.augment import Preprocess
from dlcore.learner import Learner, Metrics, ModelState, Range, Sum, example_keys, mask_of
from dlcore.losses import masked_mean
from dlcore.nn import Conv
from dlcore.nn.apply import apply_model
from dlcore.ops import pixel_shuffle
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.optim import apply_gradients
from dlcore.self_supervised.networks import init_variables, pool_features

__all__ = ["FillIn", "Filler", "Present", "fill_in_learner", "random_square"]

Present = Callable[[jax.Array], jax.Array]
"""An image [H, W, C] in [0, 1] as the network gets it afterwards, when features are wanted: [H, W, C]."""


class FillIn(NamedTuple):
    """Input, target and loss weights that a task makes of an image.

    Args:
      input: [H, W, C] in [0, 1], what the network sees.
      trivial: [H, W, K], the answer without a network.
      target: [H, W, K] in [0, 1].
      weight: [H, W], where the answer counts.
    """

    input: jax.Array
    trivial: jax.Array
    target: jax.Array
    weight: jax.Array


def random_square(key: jax.Array, height: int, width: int, fraction: float) -> tuple[jax.Array, int]:
    """Draw a square at a uniformly random position inside an image.

    Args:
      key: PRNG key of the position.
      height: H.
      width: W.
      fraction: side of the square / shorter side of the image.

    Returns:
      ([H, W] bool, True inside the square; its side in pixels).
    """
    check_shapes(height=(height, "int >= 1"), width=(width, "int >= 1"))
    check_shapes(fraction=(fraction, "0 to 1"))
    side = max(1, round(fraction * min(height, width)))
    top, left = (
        jax.random.randint(k, (), 0, n - side + 1) for k, n in zip(jax.random.split(key), (height, width), strict=True)
    )
    rows, columns = jnp.arange(height)[:, None] - top, jnp.arange(width)[None] - left
    return (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side), side


class Filler(nn.Module):
    """A backbone, and a decoder that turns its last map into pixels by one pixel shuffle.

    Args:
      backbone: a model of dlcore.models.
      channels: number of channels of the answer.
      width: channels of the decoder's hidden layer.
    """

    backbone: nn.Module
    channels: int
    width: Annotated[int, Range(1)] = 64

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Answer.

        Args:
          x: [B, H, W, C], normalized.
          train: normalize by batch statistics, and update the running ones.

        Returns:
          [B, H, W, channels], what is to be added to the trivial answer, at least float32.
        """
        last = list(self.backbone.features(x, train).values())[-1]
        factor = x.shape[1] // last.shape[1]
        if any(side != factor * part for side, part in zip(x.shape[1:3], last.shape[1:3], strict=True)):
            raise ValueError(
                f"x.shape={x.shape}: not a whole multiple of the last map's {last.shape[1]}x{last.shape[2]}; allowed: "
                "sides that the encoder's strides divide"
            )
        y = to_acc_dtype(last)
        y = nn.relu(Conv(self.width, (3, 3), padding=1, name="decoder_hidden")(y))
        return pixel_shuffle(Conv(self.channels * factor**2, (3, 3), padding=1, name="decoder")(y), factor)

    def features(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Encode images.

        Args:
          x: [B, H, W, C], normalized.
          train: training mode, see `__call__`.

        Returns:
          [B, D].
        """
        return pool_features(self.backbone.features(x, train))


def fill_in_learner(
    model: nn.Module,
    optimizer: Any,
    task: Callable[[jax.Array, jax.Array], FillIn],
    trivial: str,
    prepare: Preprocess = lambda images: images,
    normalize: Preprocess = lambda images: images,
    present: Present = lambda image: image,
) -> Learner:
    """Train a network to give back what a task took, on `{"image": [B, H, W, C], "index": [B]}`.

    Args:
      model: `__call__(x, train) -> [B, H, W, K]`, `features(x)`, see `Filler`.
      optimizer: any optax transformation.
      task: (key, image [H, W, C] in [0, 1]) -> what is drawn of it.
      trivial: name of the trivial answer in metrics.
      prepare: batch of images to the floats in [0, 1] that the task takes.
      normalize: images to the model's input.
      present: an image as the encoder gets it afterwards.

    Returns:
      The learner. Metrics are `mse` and `psnr` (dB, of each image's answer, clipped to [0, 1]), and those of the
      trivial answer. `predict` returns `features` and `untrained` of images as `present` shows them, [B, D], and
      `answer`, [B, H, W, K] in [0, 1], to the task that `evaluate` draws.
    """

    def draw(rng: jax.Array, batch: dict) -> FillIn:
        return jax.vmap(task)(example_keys(rng, batch), prepare(batch["image"]))

    def error(prediction: jax.Array, example: FillIn) -> jax.Array:
        """[B], mean squared error where the answer counts."""
        squared = jnp.square(prediction - example.target).mean(-1)
        return (squared * example.weight).sum((1, 2)) / jnp.maximum(example.weight.sum((1, 2)), 1e-6)

    def objective(params, model_state, examples, batch, dropout=None):
        added, model_state = apply_model(
            model, params, model_state, normalize(examples.input), train=dropout is not None, rng=dropout
        )
        mask = mask_of(batch)
        # The network predicts the residual to the trivial prediction.
        prediction = examples.trivial + added  # [B, H, W, K]
        losses = error(prediction, examples)  # [B]
        metrics = {"loss": Sum.of(losses, mask)}
        for end, image in (("", prediction), (f"_{trivial}", examples.trivial)):
            mse = error(jnp.clip(image, 0, 1), examples)
            decibel = -10 * jnp.log10(jnp.maximum(mse, 1e-10))
            metrics |= {f"mse{end}": Sum.of(mse, mask), f"psnr{end}": Sum.of(decibel, mask)}
        return masked_mean(losses, mask), (model_state, metrics)

    def init(rng: jax.Array, batch: dict) -> ModelState:
        model_state = init_variables(model, rng, normalize(prepare(batch["image"])))
        params = model_state.pop("params")
        return ModelState(jnp.zeros((), jnp.int32), rng, params, optimizer.init(params), model_state)

    def loss(params: Any, state: ModelState, batch: dict) -> tuple[jax.Array, Metrics]:
        value, (_, metrics) = objective(params, state.model_state, draw(state.rng, batch), batch)
        return value, metrics

    def update(state: ModelState, batch: dict) -> tuple[ModelState, Metrics]:
        rng = jax.random.fold_in(state.rng, state.step)
        # Remove a part of each image.
        examples, dropout = draw(jax.random.fold_in(rng, 0), batch), jax.random.fold_in(rng, 1)
        # Gradient of the reconstruction error where the answer counts.
        gradients, (model_state, metrics) = jax.grad(objective, has_aux=True)(
            state.params, state.model_state, examples, batch, dropout
        )
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients, model_state=model_state), metrics

    def evaluate(state: ModelState, batch: dict) -> Metrics:
        return loss(state.params, state, batch)[1]

    def predict(state: ModelState, batch: dict) -> dict[str, jax.Array]:
        images, examples = normalize(jax.vmap(present)(prepare(batch["image"]))), draw(state.rng, batch)
        before = init_variables(model, state.rng, images[:1])
        trained = {"params": state.params, **state.model_state}
        return {
            "features": model.apply(trained, images, method="features"),
            "untrained": model.apply(before, images, method="features"),
            "answer": jnp.clip(examples.trivial + model.apply(trained, normalize(examples.input), train=False), 0, 1),
        }

    return Learner(init, update, evaluate, predict, loss)
