"""Unsupervised domain adaptation: labels in the source alone, and features that become alike in source and target.

    L = CE(h(f(x_s)), y_s) + strength(step) * D(f(x_s), f(x_t))

    dann    D = -CE(domain | f): features ascend on the loss of a classifier of domains (gradient reversal)
            Ganin et al. 2016, arXiv:1505.07818
    mmd     D = mean k(s, s') + mean k(t, t') - 2 mean k(s, t),  k(a, b) = 1/5 sum_m exp(-|a - b|^2 / (m w)),
            w the mean squared distance, m in 1/4, 1/2, 1, 2, 4      Gretton et al. 2012; Long et al. 2015,
            arXiv:1502.02791
    coral   D = |Cov(f_s) - Cov(f_t)|^2 / (4 d^2)      Sun & Saenko 2016, arXiv:1607.01719

As in Ganin et al., domains are told apart by the maps of the last convolution, two layers before the classes, and the
network has no normalization: batch statistics over both domains would mix them, and those of the target alone would be
an adaptation that the comparison hides. (With group norm, and domains told apart by the features, DANN ended 23 points
below its twin on blended MNIST after 600 steps; as it stands, 25 above.) Distances compare the features of the layer
before the classes. Beside the adapted network learns its twin: the same weights at first, the same batches, strength 0.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct

from dlcore.learner import Last, Learner, Metrics, Range, State, Sum, check_arguments, mask_of
from dlcore.losses import masked_mean, softmax_cross_entropy_loss
from dlcore.nn import Conv, Dense
from dlcore.ops import max_pool
from dlcore.ops.checks import check_shapes
from dlcore.ops.moments import squared_distances
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import all_gather
from dlcore.optim import apply_gradients
from dlcore.transfer.gradient_reversal import DomainClassifier, domain_losses

__all__ = [
    "MULTIPLES",
    "AdaptationNet",
    "AdaptationState",
    "BackboneAdaptationNet",
    "coral_distance",
    "learner",
    "maps_and_features",
    "mmd_distance",
]

MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of the mean squared distance: widths of the kernels of MMD."""

TWINS = ("adapted", "source_only")


def maps_and_features(
    x: jax.Array, channels: Sequence[int], width: int, dtype: Any = None
) -> tuple[jax.Array, jax.Array]:
    """Build the layers below the heads, in a module's `nn.compact` method: convolutions, then two dense layers.

    Args:
      x: [B, H, W, C].
      channels: number of channels of the convolutional layers; each halves the side.
      width: D, of the dense layers.
      dtype: dtype of the computation; None takes the parameters'.

    Returns:
      (the maps of the last convolution in a row [B, M], which domains are told apart by; the features [B, D]).
    """
    for i, count in enumerate(channels):
        x = nn.relu(Conv(count, (3, 3), dtype=dtype, name=f"conv{i}")(x))
        x = max_pool(x, (2, 2), (2, 2))
    h = maps = x.reshape(x.shape[0], -1)
    for i in range(2):
        h = nn.relu(Dense(width, dtype=dtype, name=f"dense{i}")(h))
    return maps, to_acc_dtype(h)


class AdaptationNet(nn.Module):
    """A small convolutional network with heads for class and domain.

    Args:
      num_classes: number of classes of the source and the target.
      channels: number of channels of the convolutional layers; each halves the side.
      width: D, of the features, and of the classifier of domains.
      dtype: dtype of the computation; None takes the parameters'.
    """

    num_classes: int
    channels: tuple[int, ...] = (32, 64)
    width: Annotated[int, Range(1)] = 128
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, strength: float | jax.Array = 1.0) -> dict[str, jax.Array]:
        """Classify images and their domain.

        Args:
          x: [B, H, W, C].
          strength: strength of the gradient reversal.

        Returns:
          `features: [B, D]`, `logits: [B, num_classes]`, `domain: [B]` logits of the target.
        """
        maps, h = maps_and_features(x, self.channels, self.width, self.dtype)
        return {
            "features": h,
            "logits": Dense(self.num_classes, name="head")(h),
            "domain": DomainClassifier(self.width, name="domain")(maps, strength),
        }


class BackboneAdaptationNet(nn.Module):
    """A backbone of the zoo with heads for class and domain; its batch statistics stay those that it starts with.

    Domains are told apart by the last map, averaged over the image, and distances compare the features of the dense
    layer after it.

    Args:
      backbone: a model of dlcore.models.
      num_classes: number of classes of the source and the target.
      width: D, of the features, and of the classifier of domains.
      dtype: dtype of the dense layer; None takes the parameters'.
    """

    backbone: nn.Module
    num_classes: int
    width: Annotated[int, Range(1)] = 128
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, strength: float | jax.Array = 1.0) -> dict[str, jax.Array]:
        """Classify images and their domain.

        Args:
          x: [B, H, W, C].
          strength: strength of the gradient reversal.

        Returns:
          As `AdaptationNet`.
        """
        last = list(self.backbone.features(x, False).values())[-1]
        averaged = to_acc_dtype(last).mean((1, 2))
        h = nn.relu(Dense(self.width, dtype=self.dtype, name="dense")(averaged))
        h = to_acc_dtype(h)
        return {
            "features": h,
            "logits": Dense(self.num_classes, name="head")(h),
            "domain": DomainClassifier(self.width, name="domain")(averaged, strength),
        }


@struct.dataclass
class AdaptationState(State):
    """State of networks with further collections.

    Args:
      model_state: batch statistics, of both networks; no update changes them.
    """

    model_state: Any


def _fixed(state: State) -> dict:
    return getattr(state, "model_state", {})


def mmd_distance(source: jax.Array, target: jax.Array) -> jax.Array:
    """Measure the squared maximum mean discrepancy of two samples, under five Gaussian kernels.

    Args:
      source: [N, D].
      target: [M, D].

    Returns:
      [], at least 0; 0 where the samples are the same. No gradient goes through the kernels' widths.
    """
    check_shapes(source=(source, "N D"), target=(target, "M D"))
    both = jnp.concatenate([source, target])
    squared = squared_distances(both, both)
    mean = jax.lax.stop_gradient(squared.mean())
    width = jnp.where(mean > 0, mean, 1)
    kernel = sum(jnp.exp(-squared / (multiple * width)) for multiple in MULTIPLES) / len(MULTIPLES)
    n = len(source)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()


def coral_distance(source: jax.Array, target: jax.Array) -> jax.Array:
    """Measure how far the covariances of two samples are apart.

    Args:
      source: [N, D].
      target: [M, D].

    Returns:
      [], the squared Frobenius norm of the difference over 4 D^2.
    """
    check_shapes(source=(source, "N D"), target=(target, "M D"))
    if min(len(source), len(target)) < 2:
        raise ValueError("batch_size=1: no covariance of a single point; allowed: at least 2")

    def covariance(x: jax.Array) -> jax.Array:
        centered = to_acc_dtype(x) - to_acc_dtype(x).mean(0)
        return centered.T @ centered / (len(x) - 1)

    return jnp.square(covariance(source) - covariance(target)).sum() / (4 * source.shape[1] ** 2)


DISTANCES = {"mmd": mmd_distance, "coral": coral_distance}


def _source_and_domain_loss(source: dict, target: dict, batch: dict) -> tuple[jax.Array, Metrics]:
    """Return the mean loss of labels and of domains, by the outputs of both domains."""
    mask = mask_of(batch)
    # Source classification and domain classification.
    losses = softmax_cross_entropy_loss(source["logits"], batch["label"])  # [B]
    domain, is_domain_correct = domain_losses([source["domain"], target["domain"]])
    return masked_mean(losses + domain, mask), {
        "loss": Sum.of(losses, mask),
        "accuracy": Sum.of(source["logits"].argmax(-1) == batch["label"], mask),
        "domain_accuracy": Sum.of(is_domain_correct, mask),
    }


def _target_metrics(logits: jax.Array, source_only_logits: jax.Array, batch: dict) -> Metrics:
    """Accuracy on the target [B], of the baseline, and their difference."""
    mask = mask_of(batch)
    adapted, baseline = (
        (x.argmax(-1) == batch["target_label"]).astype(jnp.float32) for x in (logits, source_only_logits)
    )
    return {
        "target_accuracy": Sum.of(adapted, mask),
        "source_only_accuracy": Sum.of(baseline, mask),
        "gain": Sum.of(adapted - baseline, mask),
    }


@check_arguments
def learner(
    *,
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    ramp: Callable[[jax.Array], jax.Array],
    preprocess: Callable[[jax.Array], jax.Array] = lambda images: images,
    technique: Literal["dann", "mmd", "coral"] = "dann",
    strength: Annotated[float, Range(0)] = 1.0,
) -> Learner:
    """Train on `{"image": source [B, H, W, C], "label": [B], "target": [B, H, W, C], "index"}`.

    Args:
      model: see `AdaptationNet` and `BackboneAdaptationNet`.
      optimizer: any optax transformation.
      ramp: step -> share of `strength`, from 0 at the first step.
      preprocess: batch of images to the model's input.
      technique: how source and target are compared.
      strength: largest weight of the comparison; 0 trains two networks on the source alone.

    Returns:
      The learner. Metrics: `accuracy` on the source, `domain_accuracy` of a classifier of domains on the adapted
      features (0.5: it cannot tell), and where a batch has `target_label` to measure by, which no update sees,
      `target_accuracy`, `source_only_accuracy` of the twin on the target, and `gain`, their difference. `predict`
      returns the target's `logits` and `features`, those of the twin (`source_only_logits`), and `source_features`.
    """

    def describe(params: Any, fixed: dict, batch: dict, factor: float | jax.Array = 0.0) -> tuple[dict, dict]:
        reversal, variables = factor if technique == "dann" else 0.0, {"params": params, **fixed}
        return tuple(model.apply(variables, preprocess(batch[x]), reversal) for x in ("image", "target"))

    def objective(params: Any, fixed: dict, batch: dict, factor: float | jax.Array) -> tuple[jax.Array, Metrics]:
        # Forward on both domains; DANN reverses the gradient before the domain classifier.
        source, target = describe(params, fixed, batch, factor)
        value, metrics = _source_and_domain_loss(source, target, batch)
        if technique in DISTANCES:
            # Distance of the feature distributions (MMD, CORAL) over all replicas.
            value = value + factor * DISTANCES[technique](*(all_gather(x["features"]) for x in (source, target)))
        return value, metrics

    def init(rng: jax.Array, batch: dict) -> State:
        model_state = dict(model.init(jax.random.fold_in(rng, 0), preprocess(batch["image"])))
        params = model_state.pop("params")
        opt_state = {name: optimizer.init(params) for name in TWINS}
        arguments = jnp.zeros((), jnp.int32), jax.random.fold_in(rng, 1), dict.fromkeys(TWINS, params), opt_state
        return AdaptationState(*arguments, model_state) if model_state else State(*arguments)

    def update(state: State, batch: dict) -> tuple[State, Metrics]:
        # Target labels are for evaluation only.
        inputs = {name: rows for name, rows in batch.items() if name != "target_label"}
        # Ramp of the adaptation weight.
        weight = jnp.asarray(strength * ramp(state.step), jnp.float32)  # []
        params, opt_state, metrics = {}, {}, {}
        for name, factor in zip(TWINS, (weight, 0.0), strict=True):
            # The adapted network and the source-only baseline take the same step from the same start.
            one = state.replace(params=state.params[name], opt_state=state.opt_state[name])
            # Gradient of classification, domain loss and distance; the baseline has no adaptation.
            gradient = jax.value_and_grad(objective, has_aux=True)
            (value, measured), gradients = gradient(one.params, _fixed(state), inputs, factor)
            # Optimizer step.
            one = apply_gradients(one, optimizer, gradients, value=value)
            params[name], opt_state[name] = one.params, one.opt_state
            metrics = metrics or measured | {"strength": Last(weight)}
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state), metrics

    def evaluate(state: State, batch: dict) -> Metrics:
        metrics = objective(state.params["adapted"], _fixed(state), batch, 0.0)[1]
        if "target_label" not in batch:
            return metrics
        outputs = predict(state, batch)
        return metrics | _target_metrics(outputs["logits"], outputs["source_only_logits"], batch)

    def predict(state: State, batch: dict) -> dict[str, jax.Array]:
        source, target = describe(state.params["adapted"], _fixed(state), batch)
        _, source_only = describe(state.params["source_only"], _fixed(state), batch)
        return {
            "logits": target["logits"],
            "features": target["features"],
            "source_only_logits": source_only["logits"],
            "source_features": source["features"],
        }

    def classes(state: State, batch: dict) -> dict[str, int]:
        return {"label": model.num_classes}

    # The reversed gradient is that of no scalar, so that there is none to check.
    return Learner(init, update, evaluate, predict, classes=classes)
