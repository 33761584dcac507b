"""Pretexts that make their own labels: a task changes an image, and a network has to tell how.

    (pieces, label) = task(key, example),    L = -log softmax(h(f(piece 1), ..., f(piece P)))[label]

f is one backbone for all pieces and h the head, which is thrown away: what counts is f on whole images. A task is drawn
anew for each example in each step. Doersch, Gupta & Efros 2015, arXiv:1505.05192; Noroozi & Favaro 2016,
arXiv:1603.09246; Gidaris, Singh & Komodakis 2018, arXiv:1803.07728.
"""

import functools
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.data.augment import Preprocess
from dlcore.learner import Labels, Learner, Metrics, ModelState, Range, Sum, example_keys, mask_of
from dlcore.losses import masked_mean, softmax_cross_entropy_loss
from dlcore.nn import Dense
from dlcore.nn.apply import apply_model
from dlcore.ops import adaptive_avg_pool
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype
from dlcore.optim import apply_gradients
from dlcore.self_supervised.networks import init_variables, pool_features

__all__ = ["PieceClassifier", "Task", "pretext_learner"]

Task = Callable[[jax.Array, dict], tuple[Any, jax.Array]]
"""(key, one example {"image": [H, W, C] in [0, 1], "index": [], ...}) -> (pieces [P, h, w, C], label [] int32); other
pytrees of pieces need a model that takes them."""


class PieceClassifier(nn.Module):
    """A backbone that encodes each piece, and a head that sees the features of all of them.

    Args:
      backbone: a model of dlcore.models.
      num_classes: number of classes of the pretext.
      hidden: units of the head's hidden layer; 0 makes the head linear, which cannot compare pieces.
      side: the head sees the last map averaged to side x side; 1 hides from it where things are.
    """

    backbone: nn.Module
    num_classes: int
    hidden: Annotated[int, Range(0)] = 0
    side: Annotated[int, Range(1)] = 1

    @nn.compact
    def __call__(self, pieces: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Classify.

        Args:
          pieces: [B, P, h, w, C], normalized.
          train: normalize by batch statistics, and update the running ones.

        Returns:
          (logits [B, num_classes], features of the pieces [B, P, D]), at least float32.
        """
        count, parts = pieces.shape[:2]
        maps = self.backbone.features(pieces.reshape(-1, *pieces.shape[2:]), train)
        last = list(maps.values())[-1]
        last = to_acc_dtype(last)
        x = adaptive_avg_pool(last, self.side).reshape(count, -1)
        if self.hidden:
            x = nn.relu(Dense(self.hidden, name="hidden")(x))
        return Dense(self.num_classes, name="head")(x), pool_features(maps).reshape(count, parts, -1)

    def features(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Encode whole images.

        Args:
          x: [B, H, W, C], normalized.
          train: training mode, see `__call__`.

        Returns:
          [B, D].
        """
        return pool_features(self.backbone.features(x, train))


def pretext_learner(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    task: Task,
    prepare: Preprocess = lambda images: images,
    normalize: Preprocess = lambda images: images,
    num_classes: int | None = None,
    label_entry: str | None = None,
) -> Learner:
    """Train a network to solve a task that makes its own labels, on `{"image": [B, H, W, C], "index": [B], ...}`.

    Args:
      model: `__call__(pieces, train) -> (logits, features of the pieces)`, `features(images)`, see `PieceClassifier`.
      optimizer: any optax transformation.
      task: pretext task, (key, example) -> input and label; a label below 0 leaves the example out of loss and metrics.
      prepare: batch of images to the floats in [0, 1] that the task takes.
      normalize: pieces or images to the model's input.
      num_classes: number of classes of the task; None takes the model's outputs.
      label_entry: name of the entry of the batch that is the label, which `fit` then checks; None where the task draws
        it.

    Returns:
      The learner. `evaluate` draws one task for each example by its index alone. `predict` returns `features` and
      `untrained` of whole images, [B, D], and of the task that `evaluate` draws `pieces` ([B, P, D] features), `guess`
      and `target` ([B] int32).
    """
    check_shapes(num_classes=(num_classes, "int >= 1 or None"))

    def draw(rng: jax.Array, batch: dict) -> tuple[jax.Array, jax.Array]:
        example = {name: rows for name, rows in batch.items() if name != "mask"}
        pieces, label = jax.vmap(task)(example_keys(rng, batch), example | {"image": prepare(batch["image"])})
        return normalize(pieces), label.astype(jnp.int32)

    def objective(params, model_state, pieces, label, batch, dropout=None):
        (logits, _), model_state = apply_model(
            model, params, model_state, pieces, train=dropout is not None, rng=dropout
        )
        _check_outputs(logits.shape[-1], num_classes)
        mask = mask_of(batch) * (label >= 0)
        # Cross-entropy of the pretext label; examples without one are left out.
        losses = softmax_cross_entropy_loss(logits, jnp.maximum(label, 0))  # [B]
        metrics = {"loss": Sum.of(losses, mask), "accuracy": Sum.of(logits.argmax(-1) == label, mask)}
        return masked_mean(losses, mask), (model_state, metrics)

    def init(rng: jax.Array, batch: dict) -> ModelState:
        model_state = init_variables(model, rng, draw(rng, batch)[0])
        params = model_state.pop("params")
        return ModelState(jnp.zeros((), jnp.int32), rng, params, optimizer.init(params), model_state)

    def loss(params: Any, state: ModelState, batch: dict) -> tuple[jax.Array, Metrics]:
        value, (_, metrics) = objective(params, state.model_state, *draw(state.rng, batch), batch)
        return value, metrics

    def update(state: ModelState, batch: dict) -> tuple[ModelState, Metrics]:
        rng = jax.random.fold_in(state.rng, state.step)
        # Draw the pretext task of each image: pieces and label.
        examples, dropout = draw(jax.random.fold_in(rng, 0), batch), jax.random.fold_in(rng, 1)
        # Gradient of the cross-entropy.
        gradients, (model_state, metrics) = jax.grad(objective, has_aux=True)(
            state.params, state.model_state, *examples, batch, dropout
        )
        # Optimizer step.
        return apply_gradients(state, optimizer, gradients, model_state=model_state), metrics

    def evaluate(state: ModelState, batch: dict) -> Metrics:
        return loss(state.params, state, batch)[1]

    def predict(state: ModelState, batch: dict) -> dict[str, jax.Array]:
        trained, (pieces, label) = {"params": state.params, **state.model_state}, draw(state.rng, batch)
        before = init_variables(model, state.rng, jax.tree.map(lambda x: x[:1], pieces))
        images = normalize(prepare(batch["image"]))
        logits, features = model.apply(trained, pieces, train=False)
        return {
            "features": model.apply(trained, images, method="features"),
            "untrained": model.apply(before, images, method="features"),
            "pieces": features,
            "guess": logits.argmax(-1).astype(jnp.int32),
            "target": label,
        }

    def classes(state: ModelState, batch: dict) -> dict[str, Labels]:
        pieces = jax.eval_shape(draw, state.rng, batch)[0]
        apply = functools.partial(model.apply, train=False)
        logits = jax.eval_shape(apply, {"params": state.params, **state.model_state}, pieces)[0]
        return {} if label_entry is None else {label_entry: Labels(logits.shape[-1], ignored=-1)}

    return Learner(init, update, evaluate, predict, loss, classes=classes)


def _check_outputs(outputs: int, num_classes: int | None) -> None:
    if num_classes not in (None, outputs):
        raise ValueError(f"model: {outputs} outputs; allowed: {num_classes}, the classes of the task")
