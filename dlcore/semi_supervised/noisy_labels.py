"""Learning with noisy labels, beside plain cross-entropy as the baseline.

    generalized   (1 - p_y^q) / q                                Zhang & Sabuncu 2018, arXiv:1805.07836
    forward       -log sum_c p_c T_cy                            Patrini et al. 2017, arXiv:1609.03683
    co_teaching   two networks; each learns by cross-entropy from the share 1 - R(t) of the batch whose loss is the
                  smallest in the eyes of the other, R(t) = tau min(t / T, 1)    Han et al. 2018, arXiv:1804.06872

A network learns what many examples share before it learns the exceptions, and wrong labels are exceptions (Arpit et al.
2017, arXiv:1706.05394). So cross-entropy is best at some time and falls from then on, and the method to beat is to stop
there: a second network, of the same initial weights, batches and views, learns by plain cross-entropy to the end
(`accuracy_cross_entropy`), and what it was when it knew most of the validation split is kept
(`accuracy_early_stopped`). That split must have true labels.

Noise is symmetric (a wrong label is any of the other classes) or asymmetric (it is the next class). Both have a
transition matrix, T_cy = P(label y | class c).
"""

from dataclasses import replace
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import struct

from dlcore.data.augment import Augmentation, Preprocess
from dlcore.data.source import Source, check_seed
from dlcore.learner import Learner, Metrics, Range, State, Sum, check_arguments, example_keys, mask_of
from dlcore.losses import (
    forward_corrected_loss,
    generalized_cross_entropy_loss,
    masked_mean,
    softmax_cross_entropy_loss,
)
from dlcore.metrics import ConfusionMatrix
from dlcore.nn.apply import apply_model
from dlcore.ops.checks import check_class_ids, check_finite, check_probabilities, check_shapes
from dlcore.ops.replica import replica_key
from dlcore.optim import apply_gradients

__all__ = ["KeepBest", "Method", "Noise", "NoisyState", "corrupt_labels", "learner", "smallest", "transition_matrix"]

Noise = Literal["symmetric", "asymmetric"]
Method = Literal["generalized", "forward", "co_teaching"]
PLAIN = "cross_entropy"


@struct.dataclass
class NoisyState(State):
    """The networks: `technique`, with co-teaching `peer` too, and `cross_entropy`; params is a dict by these names.

    Args:
      model_state: by network, its batch statistics.
      kept: {"params", "model_state"} of `cross_entropy` where it knew the validation split best so far.
    """

    model_state: Any
    kept: Any


def transition_matrix(num_classes: int, rate: float, noise: Noise) -> np.ndarray:
    """Build the noise transition matrix: the probability of each label given each class.

    Args:
      num_classes: C, at least 2.
      rate: share of wrong labels, in [0, 1).
      noise: symmetric or asymmetric.

    Returns:
      [C, C], T; rows sum to 1.
    """
    check_shapes(num_classes=(num_classes, "int >= 0"))
    check_finite("noise_rate", rate)
    if not 0 <= rate < 1:
        raise ValueError(f"noise_rate={rate}: out of range; allowed: at least 0, below 1")
    if num_classes < 2:
        raise ValueError(f"num_classes={num_classes}: too few for a wrong label; allowed: at least 2")
    if noise not in ("symmetric", "asymmetric"):
        raise ValueError(f"noise={noise!r}: unknown; allowed: symmetric or asymmetric")
    same, next_one = np.eye(num_classes), np.roll(np.eye(num_classes), 1, axis=1)
    # Symmetric: any other class. Asymmetric: the next class.
    off_diagonal = (1 - same) / (num_classes - 1) if noise == "symmetric" else next_one
    return (1 - rate) * same + rate * off_diagonal


def corrupt_labels(source: Source, transition: np.ndarray, seed: int) -> Source:
    """Corrupt labels at random by a transition matrix.

    Args:
      source: source with `label`, [N] int.
      transition: [C, C], T.
      seed: random seed of the noise.

    Returns:
      The source with noisy labels; the true ones are `hidden_label`, for measures alone.
    """
    if "label" not in source.arrays:
        raise ValueError(f"source={source.name!r}: has no label; allowed: sources with one, of {sorted(source.arrays)}")
    check_shapes(transition=(transition, "C C"))
    check_probabilities("transition", transition)
    transition = np.asarray(transition)
    check_class_ids("label", source.arrays["label"], len(transition))
    label = np.asarray(source.arrays["label"])
    draws = np.random.default_rng((check_seed(seed), 5)).uniform(size=len(label))
    noisy = (draws[:, None] >= transition.cumsum(1)[label, :-1]).sum(1).astype(label.dtype)
    arrays = {**source.arrays, "label": noisy, "hidden_label": label}
    return replace(source, arrays=arrays, name=f"{source.name} (noisy labels)")


def smallest(losses: jax.Array, mask: jax.Array, share: float | jax.Array) -> jax.Array:
    """Choose the examples of a batch whose losses are the smallest.

    Args:
      losses: [B].
      mask: [B], 1 for an example.
      share: fraction of the examples to choose, rounded up.

    Returns:
      [B] float32, 1 for the chosen ones.
    """
    check_shapes(losses=(losses, "B"), mask=(mask, "mask B"), share=(share, "0 to 1"))
    rank = jnp.where(mask > 0, losses, jnp.inf).argsort().argsort()  # [B]
    return ((rank < jnp.ceil(share * mask.sum())) & (mask > 0)).astype(jnp.float32)


def _init_networks(model: nn.Module, names: tuple[str, ...], rng: jax.Array, images: jax.Array) -> tuple[dict, dict]:
    """(params, model_state) by network; the peer alone starts elsewhere."""
    params, model_state = {}, {}
    for name in names:
        variables = dict(model.init(jax.random.fold_in(rng, 2 if name == "peer" else 0), images, train=False))
        params[name], model_state[name] = variables.pop("params"), variables
    return params, model_state


def _apply(
    model: nn.Module, params: Any, model_state: Any, images: jax.Array, dropout: jax.Array | None = None
) -> tuple[jax.Array, Any]:
    return apply_model(model, params, model_state, images, train=dropout is not None, rng=dropout)


def _losses(
    technique: Method,
    logits: dict[str, jax.Array],
    label: jax.Array,
    mask: jax.Array,
    keep_fraction: float | jax.Array,
    q: float | jax.Array,
    transition: np.ndarray,
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """{network: (losses [B], weights [B])}."""
    cross_entropy = {name: softmax_cross_entropy_loss(scores, label) for name, scores in logits.items()}  # [B] each
    # Co-teaching: each network learns from the small-loss examples that its peer selects.
    if technique == "co_teaching":
        small_loss = {
            name: smallest(jax.lax.stop_gradient(cross_entropy[name]), mask, keep_fraction)
            for name in ("technique", "peer")
        }
        weights = {"technique": small_loss["peer"], "peer": small_loss["technique"], PLAIN: mask}
        return {name: (cross_entropy[name], weights[name]) for name in logits}
    if technique == "generalized":
        losses = generalized_cross_entropy_loss(logits["technique"], label, q)
    else:
        losses = forward_corrected_loss(logits["technique"], label, transition)
    return {"technique": (losses, mask), PLAIN: (cross_entropy[PLAIN], mask)}


def _metrics(terms: dict, logits: dict[str, jax.Array], batch: dict) -> Metrics:
    """Loss, accuracies, and the share of wrong labels that are given back."""
    mask, label = mask_of(batch), batch["label"]
    correct = {name: logits[name].argmax(-1) == label for name in ("technique", PLAIN)}
    metrics = {
        "loss": Sum.of(terms["technique"][0], mask),
        "accuracy": Sum.of(correct["technique"], mask),
        "accuracy_cross_entropy": Sum.of(correct[PLAIN], mask),
    }
    if "hidden_label" in batch:
        mislabeled = mask * (batch["hidden_label"] != label)
        metrics["memorized"] = Sum.of(correct["technique"], mislabeled)
        metrics["memorized_cross_entropy"] = Sum.of(correct[PLAIN], mislabeled)
    return metrics


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    transition: Any,
    preprocess: Preprocess = lambda image: image,
    augment: Augmentation | None = None,
    technique: Method = "generalized",
    q: Annotated[float, Range(0, 1)] = 0.7,
    forget_rate: Annotated[float, Range(0, 0.99)] | None = None,
    forget_steps: Annotated[int, Range(0)] = 300,
) -> Learner:
    """Train a classifier of `{"image": [B, H, W, C], "label": [B] int32, "index": [B]}`, where some labels are wrong.

    Args:
      model: `__call__(x, train: bool) -> logits [B, C]`.
      optimizer: any optax transformation.
      transition: [C, C], T, of forward correction.
      preprocess: batch of images to the model's input.
      augment: `(key, preprocessed image) -> image`.
      technique: technique for noisy labels: generalized cross-entropy, forward correction, or co-teaching.
      q: exponent of generalized cross-entropy: 0 is cross-entropy, 1 an absolute error.
      forget_rate: co-teaching's tau, the final fraction of left-out examples; by default the noise's own.
      forget_steps: co-teaching's T, steps until that fraction is reached.

    Returns:
      The learner. With `hidden_label`, which no loss reads, training logs `memorized`, the share of wrong labels that
      the technique gives back, and `memorized_cross_entropy`. `evaluate` returns `accuracy`, `accuracy_cross_entropy`,
      `accuracy_early_stopped`, and by `gain` what the technique adds to the second. `predict` is the technique's.
    """
    check_shapes(transition=(transition, "C C"))
    names, table = ("technique", *(["peer"] * (technique == "co_teaching")), PLAIN), np.asarray(transition, np.float32)
    tau = float(1 - np.diag(table).mean()) if forget_rate is None else forget_rate

    def init(rng: jax.Array, batch: dict) -> NoisyState:
        params, model_state = _init_networks(model, names, rng, preprocess(batch["image"]))
        plain_weights = jax.tree.map(jnp.copy, {"params": params[PLAIN], "model_state": model_state[PLAIN]})
        step, rng = jnp.zeros((), jnp.int32), jax.random.fold_in(rng, 1)
        return NoisyState(step, rng, params, optimizer.init(params), model_state, plain_weights)

    def objective(params, model_state, images, batch, step, dropout=None):
        mask, label, logits, new = mask_of(batch), batch["label"], {}, {}
        for k, name in enumerate(names):
            key = None if dropout is None else jax.random.fold_in(dropout, k if name == "peer" else 0)
            logits[name], new[name] = _apply(model, params[name], model_state[name], images, key)
        keep_fraction = 1 - tau * (jnp.minimum(step / forget_steps, 1.0) if forget_steps else 1.0)
        terms = _losses(technique, logits, label, mask, keep_fraction, q, table)
        value = sum(masked_mean(losses, weights) for losses, weights in terms.values())
        return value, (new, _metrics(terms, logits, batch), logits["technique"])

    def loss(params: Any, state: NoisyState, batch: dict) -> tuple[jax.Array, Metrics]:
        value, (_, metrics, _) = objective(params, state.model_state, preprocess(batch["image"]), batch, state.step)
        return value, metrics

    def update(state: NoisyState, batch: dict) -> tuple[NoisyState, Metrics]:
        rng, images = jax.random.fold_in(state.rng, state.step), preprocess(batch["image"])
        if augment is not None:
            images = jax.vmap(augment)(example_keys(jax.random.fold_in(rng, 0), batch), images)
        # Replicas draw different dropout masks.
        dropout = replica_key(jax.random.fold_in(rng, 1))
        # One gradient for the robust network, its peer (co-teaching) and the cross-entropy baseline.
        gradients, (model_state, metrics, _) = jax.grad(objective, has_aux=True)(
            state.params, state.model_state, images, batch, state.step, dropout
        )
        # Optimizer step of all networks.
        return apply_gradients(state, optimizer, gradients, model_state=model_state), metrics

    def evaluate(state: NoisyState, batch: dict) -> Metrics:
        images, mask, label = preprocess(batch["image"]), mask_of(batch), batch["label"]
        _, (_, metrics, logits) = objective(state.params, state.model_state, images, batch, state.step)
        early_stopped_logits, _ = _apply(model, state.kept["params"], state.kept["model_state"], images)
        technique, plain = metrics["accuracy"], metrics["accuracy_cross_entropy"]
        return {
            **metrics,
            "accuracy_early_stopped": Sum.of(early_stopped_logits.argmax(-1) == label, mask),
            "gain": Sum((technique.total - plain.total).astype(jnp.float32), technique.count),
            "confusion": ConfusionMatrix.of(logits, label, mask),
        }

    def predict(state: NoisyState, batch: dict) -> dict[str, jax.Array]:
        images = preprocess(batch["image"])
        logits, _ = _apply(model, state.params["technique"], state.model_state["technique"], images)
        return {"logits": logits, "probabilities": jax.nn.softmax(logits)}

    def classes(state: NoisyState, batch: dict) -> dict[str, int]:
        return {"label": jax.eval_shape(predict, state, batch)["logits"].shape[-1]}

    return Learner(init=init, update=update, evaluate=evaluate, predict=predict, loss=loss, classes=classes)


class KeepBest:
    """A hook that keeps the network of plain cross-entropy where it knows the validation split best.

    Args:
      monitor: the metric, larger is better.
    """

    def __init__(self, monitor: str = f"valid/accuracy_{PLAIN}"):
        self.monitor = monitor
        self.memory: dict[str, Any] = {"best": None, "step": None}

    def __call__(self, step: int, state: NoisyState, metrics: dict[str, float]) -> NoisyState | None:
        """Compare the metric with its best value so far.

        Args:
          step: steps done.
          state: the learner's state.
          metrics: "split/name" -> number, of this step.

        Returns:
          The state with the kept network replaced, or None.
        """
        value, best = metrics.get(self.monitor), self.memory["best"]
        if value is None or (best is not None and value <= best):
            return None
        self.memory = {"best": value, "step": step}
        new = {"params": state.params[PLAIN], "model_state": state.model_state[PLAIN]}
        return state.replace(kept=jax.tree.map(jnp.copy, new))
