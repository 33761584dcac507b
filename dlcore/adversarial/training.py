"""Adversarial training: a classifier learns from images that an attack on its present weights has changed.

Madry et al. 2017, arXiv:1706.06083 (PGD); Wong, Rice & Kolter 2020, "Fast is better than free", arXiv:2001.03994 (fast
FGSM); Zhang et al. 2019, arXiv:1901.08573 (TRADES).

    standard   L = l(f(x), y)
    pgd        L = l(f(x'), y),   x' = PGD on l from a random point of the ball
    fast       L = l(f(x'), y),   x' = one step of size alpha from a random point of the ball, projected
    trades     L = l(f(x), y) + beta KL(p(x) || p(x')),   x' = PGD on that divergence from x + 0.001 N(0, I)

l is the cross-entropy, the ball is L-infinity in units of pixels in [0, 1], and x' is a constant for the gradient by
the weights. Fast FGSM with a step that is much larger than epsilon overfits to its own attack within an epoch: the
accuracy under PGD falls to 0 while the training loss goes down. `RobustnessDrop` of
dlcore.evaluators.attacked_images stops it, as in the paper.

Attacks see the network as it is used, without dropout and with running statistics of batch normalization; these move by
the pass that trains, over x' (trades: over x, then over x'). The papers' programs attack in training mode, TRADES' as
here.
"""

import functools
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.adversarial.gradient import attack_loss, pgd, projected_ascent
from dlcore.data.augment.color import to_float
from dlcore.learner import Learner, Max, Metrics, ModelState, Range, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import kl_divergence_loss, masked_mean, softmax_cross_entropy_loss
from dlcore.metrics import Calibration, ConfusionMatrix, accuracy
from dlcore.metrics.classification import class_predictions
from dlcore.nn.apply import apply_model
from dlcore.ops.replica import replica_key
from dlcore.optim import apply_gradients, init_model_state

__all__ = ["Defense", "learner"]

Defense = Literal["standard", "fast", "pgd", "trades"]
Transform = Callable[[jax.Array], jax.Array]

TRADES_START = 0.001
"""Deviation of the noise that TRADES starts from: the divergence has no slope at the image itself."""


class _InUse(NamedTuple):
    """A classifier as it is used, for attacks: a function of one image in [0, 1]."""

    model: nn.Module
    preprocess: Transform
    params: Any
    model_state: Any

    def logits(self, images: jax.Array) -> Any:
        """[B, C]."""
        return self.model.apply({"params": self.params, **self.model_state}, self.preprocess(images), train=False)

    def __call__(self, image: jax.Array) -> jax.Array:
        return self.logits(image[None])[0]


def _attack_options(defense: Defense, epsilon: Any, step_size: Any, attack_steps: int) -> tuple:
    """(epsilon, step size, steps) of the training attack."""
    steps = 1 if defense == "fast" else attack_steps
    if step_size is None:
        step_size = (1.25 * epsilon if defense == "fast" else 2.5 * epsilon / steps) or 1.0
    return epsilon, step_size, steps


def _changed(
    scores: _InUse, is_trades: bool, attack: tuple, key: jax.Array, image: jax.Array, label: jax.Array
) -> jax.Array:
    """One image [H, W, C] that the attack (epsilon, step size, steps) has changed."""
    if not is_trades:
        return pgd(scores, key, image, label, *attack)
    probs = jax.nn.softmax(scores(image))
    start = image + TRADES_START * jax.random.normal(key, image.shape, image.dtype)
    return projected_ascent(lambda x: kl_divergence_loss(scores(x), probs), image, start, *attack)


def _loss(outputs: list[jax.Array], beta: float | jax.Array, batch: dict) -> tuple[jax.Array, Metrics]:
    """(mean loss, metrics) of the logits of the changed images; of TRADES, of the images and the changed ones."""
    labels, mask = batch["label"], mask_of(batch)
    losses, metrics = softmax_cross_entropy_loss(outputs[0], labels), {}  # [B]
    if len(outputs) > 1:
        divergence = kl_divergence_loss(outputs[1], jax.nn.softmax(outputs[0]))  # [B]
        metrics["divergence"] = Sum.of(divergence, mask)
        losses = losses + beta * divergence
    metrics |= {"loss": Sum.of(losses, mask), "accuracy": accuracy(outputs[-1], labels, mask)}
    return masked_mean(losses, mask), metrics


def _robustness(scores: _InUse, attack: Callable[..., jax.Array], keys: jax.Array, batch: dict) -> Metrics:
    """Accuracy before and after an attack (key, image, label) -> image."""
    images, labels, mask = to_float(batch["image"]), batch["label"], mask_of(batch)

    def attacked(key, image, label):
        adversarial = attack(key, image, label)
        return attack_loss(scores(adversarial), label, "margin") < 0, jnp.abs(adversarial - image).max()

    logits = scores.logits(images)  # [B, C]
    withstands, change = jax.vmap(attacked)(keys, images, labels)  # [B], [B]
    robust = withstands & (class_predictions(logits) == labels)
    return {
        "loss": Sum.of(softmax_cross_entropy_loss(logits, labels), mask),
        "accuracy": accuracy(logits, labels, mask),
        "robust_accuracy": Sum.of(robust.astype(jnp.float32), mask),
        "max_change": Max(jnp.where(mask > 0, change, 0).max()),
        "confusion": ConfusionMatrix.of(logits, labels, mask),
        "calibration": Calibration.of(logits, labels, mask),
    }


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    preprocess: Transform = lambda image: image,
    defense: Defense = "pgd",
    epsilon: Annotated[float, Range(0, 1)] = 0.3,
    step_size: Annotated[float | None, Range(1e-9)] = None,
    attack_steps: Annotated[int, Range(1)] = 40,
    beta: Annotated[float, Range(0)] = 6.0,
    eval_step_size: Annotated[float, Range(1e-9)] = 0.01,
    eval_steps: Annotated[int, Range(1)] = 40,
    eval_restarts: Annotated[int, Range(1)] = 1,
) -> Learner:
    """Train a classifier of `{"image": [B, H, W, C], "label": [B] int32, "index": [B]}` to withstand an attack.

    Images are uint8 or floats in [0, 1].

    Args:
      model: `__call__(x, train: bool) -> logits [B, num_classes]`.
      optimizer: any optax transformation.
      preprocess: batch of images in [0, 1] to the model's input, differentiable; the attack changes what comes before.
      defense: standard (no attack), fast (one step from a random point), pgd, or trades.
      epsilon: largest change of a pixel, of images in [0, 1], in training and in evaluation.
      step_size: step size of the training attack; by default 1.25 epsilon for fast, 2.5 epsilon / attack_steps
        otherwise.
      attack_steps: gradient steps of pgd and trades in training; fast takes one.
      beta: weight of the divergence in trades.
      eval_step_size: eval step size of the PGD attack that measures robust accuracy.
      eval_steps: gradient steps of the PGD attack that measures robust accuracy.
      eval_restarts: random starts of the PGD attack that measures robust accuracy; the worst counts.

    Returns:
      The learner. `evaluate` returns the accuracy and the robust accuracy: the share of images that are classified
      correctly before and after PGD. `max_change` is the largest change of a pixel by that attack. `predict` returns
      `{"logits": [B, C], "probabilities": [B, C]}` of the images as they are.
    """
    options = _attack_options(defense, epsilon, step_size, attack_steps)
    is_trades, in_use = defense == "trades", functools.partial(_InUse, model, preprocess)

    def init(rng: jax.Array, batch: dict) -> ModelState:
        return init_model_state(model, optimizer, rng, preprocess(to_float(batch["image"])))

    def attack(state, images, batch, keys):
        """Return the changed images [B, H, W, C] of the training loss."""
        if defense == "standard":
            return images
        scores = in_use(state.params, state.model_state)
        change = functools.partial(_changed, scores, is_trades, options)
        return jax.lax.stop_gradient(jax.vmap(change)(keys, images, batch["label"]))

    def objective(params, model_state, images, changed, batch, dropout=None):
        """(loss, (model_state, metrics)); without a key for dropout as the network is used."""
        outputs, train = [], dropout is not None
        for x in (images, changed) if is_trades else (changed,):
            x = preprocess(x)
            logits, model_state = apply_model(model, params, model_state, x, train=train, rng=dropout)
            outputs.append(logits)
        value, metrics = _loss(outputs, beta, batch)
        return value, (model_state, metrics)

    def loss(params: Any, state: ModelState, batch: dict) -> tuple[jax.Array, Metrics]:
        images, keys = to_float(batch["image"]), example_keys(jax.random.fold_in(state.rng, 2), batch)
        changed = attack(state, images, batch, keys)
        value, (_, metrics) = objective(params, state.model_state, images, changed, batch)
        return value, metrics

    def update(state: ModelState, batch: dict) -> tuple[ModelState, Metrics]:
        rng, images = jax.random.fold_in(state.rng, state.step), to_float(batch["image"])
        dropout = replica_key(jax.random.fold_in(rng, 1))
        # Attack the present weights.
        changed = attack(state, images, batch, example_keys(jax.random.fold_in(rng, 0), batch))
        # One step on the changed images.
        gradient = jax.grad(objective, has_aux=True)
        gradients, (model_state, metrics) = gradient(state.params, state.model_state, images, changed, batch, dropout)
        return apply_gradients(state, optimizer, gradients, model_state=model_state), metrics

    def evaluate(state: ModelState, batch: dict) -> Metrics:
        scores = in_use(state.params, state.model_state)
        options = {"epsilon": epsilon, "step_size": eval_step_size, "steps": eval_steps, "restarts": eval_restarts}
        keys = example_keys(jax.random.fold_in(state.rng, 2), batch)
        return _robustness(scores, functools.partial(pgd, scores, **options), keys, batch)

    def predict(state: ModelState, batch: dict) -> dict[str, jax.Array]:
        logits = in_use(state.params, state.model_state).logits(to_float(batch["image"]))
        return {"logits": logits, "probabilities": jax.nn.softmax(logits)}

    def classes(state: ModelState, batch: dict) -> dict[str, int]:
        return {"label": jax.eval_shape(predict, state, batch)["logits"].shape[-1]}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss, classes=classes)
