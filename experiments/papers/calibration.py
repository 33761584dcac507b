"""Calibration of LeNet-5 on CIFAR-10: the expected calibration error, and what five methods make of it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from dlcore.classification import supervised
from dlcore.data.augment.color import to_float
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.metrics import Calibration
from dlcore.models.lenet import LeNet5
from dlcore.run.evaluate import predict
from experiments.papers.table import Run, Table
from experiments.papers.training import source, subset, train

__all__ = ["TABLES", "fit_scaling", "histogram_binning"]

BINS = 15


def fit_scaling(logits: np.ndarray, labels: np.ndarray, weight: np.ndarray, has_bias: bool) -> Callable:
    """Fit a scaling of logits by the mean cross-entropy on validation data.

    Args:
      logits: [N, C].
      labels: [N] int.
      weight: what it starts from: [] a factor of all logits (temperature scaling), [C] one of each (vector scaling), or
        [C, C] a matrix (matrix scaling).
      has_bias: whether a bias [C] is added.

    Returns:
      (logits [N, C]) -> logits [N, C].
    """
    num_weights, num_classes = weight.size, logits.shape[-1]

    def scale(parameters: jax.Array, x: jax.Array) -> jax.Array:
        w, bias = parameters[:num_weights].reshape(weight.shape), parameters[num_weights:]
        scaled = x @ w if weight.ndim == 2 else x * w
        return scaled + bias if has_bias else scaled

    def loss(parameters: jax.Array) -> jax.Array:
        return softmax_cross_entropy_loss(scale(parameters, jnp.asarray(logits)), jnp.asarray(labels)).mean()

    start = np.append(weight.ravel(), np.zeros(num_classes * has_bias))
    value_and_slope = jax.jit(jax.value_and_grad(loss))

    def on_host(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = value_and_slope(jnp.asarray(parameters, jnp.float32))
        return float(value), np.asarray(slope, np.float64)

    weights = minimize(on_host, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    return lambda x: np.asarray(scale(jnp.asarray(weights, jnp.float32), jnp.asarray(x)))


def histogram_binning(probabilities: np.ndarray, is_class: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Replace each probability by the share of the class in its bin of validation data.

    Args:
      probabilities: [N] of one class, on validation data.
      is_class: [N] bool, which of them are of the class.
      new: [M], probabilities to replace.

    Returns:
      [M]; those of a bin without validation data stay.
    """
    inner_edges = np.linspace(0, 1, BINS + 1)[1:-1]
    bin_idx, new_idx = np.digitize(probabilities, inner_edges), np.digitize(new, inner_edges)
    count = np.bincount(bin_idx, minlength=BINS)
    fraction = np.bincount(bin_idx, is_class, minlength=BINS) / np.maximum(count, 1)
    return np.where(count[new_idx] > 0, fraction[new_idx], new)


def isotonic(probabilities: np.ndarray, is_class: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Replace each probability by an increasing function of it that fits validation data best."""
    return IsotonicRegression(out_of_bounds="clip").fit(probabilities, is_class).predict(new)


def each_class(method: Callable, probabilities: np.ndarray, labels: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Apply a method of two classes to each class against the rest, and normalize: [M, C]."""
    columns = [method(probabilities[:, c], labels == c, new[:, c]) for c in range(probabilities.shape[1])]
    return np.stack(columns, 1) / np.maximum(np.sum(columns, 0)[:, None], 1e-12)


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Measure the expected calibration error of 15 bins, %."""
    is_correct = jnp.asarray(probabilities.argmax(1) == labels)
    confidence = jnp.asarray(probabilities.max(1), jnp.float32).clip(0, 1)
    measures = Calibration.of_confidence(confidence, is_correct, num_bins=BINS).compute()
    assert measures is not None
    return 100 * measures["ece"]


def lenet(seed: int) -> dict[str, float]:
    """Train LeNet-5 on 45,000 images, and calibrate it on 5,000."""
    whole, test = source("cifar10"), source("cifar10", "test")
    valid = subset(whole, np.arange(45_000, 50_000))
    optimizer = optax.sgd(optax.cosine_decay_schedule(0.02, 12 * 352), 0.9)
    learner = supervised.learner(
        model=LeNet5(activation="relu", pooling="max"), optimizer=optimizer, preprocess=to_float
    )
    state = train(learner, subset(whole, np.arange(45_000)), epochs=12, batch_size=128, seed=seed)
    logits, test_logits = (predict(learner, state, part, batch_size=1000)["logits"] for part in (valid, test))
    labels, test_labels = valid.arrays["label"], test.arrays["label"]
    probabilities, test_probabilities = (np.asarray(jax.nn.softmax(jnp.asarray(x))) for x in (logits, test_logits))
    results = {
        "uncalibrated": test_probabilities,
        "histogram binning": each_class(histogram_binning, probabilities, labels, test_probabilities),
        "isotonic": each_class(isotonic, probabilities, labels, test_probabilities),
    }
    starts = {"temperature": (np.ones(()), False), "vector": (np.ones(10), True), "matrix": (np.eye(10), True)}
    for name, (weight, has_bias) in starts.items():
        scaled = fit_scaling(logits, labels, weight, has_bias)(test_logits)
        results[f"{name} scaling"] = np.asarray(jax.nn.softmax(jnp.asarray(scaled)))
    return {name: calibration_error(values, test_labels) for name, values in results.items()}


TABLES = (
    Table(
        key="cifar10-calibration",
        paper="Guo, Pleiss, Sun & Weinberger 2017, On calibration of modern neural networks",
        place="Table 1, CIFAR-10 with LeNet 5",
        source="arXiv 1706.04599",
        setting="LeNet 5 on 45,000 images of CIFAR-10; methods are fitted on 5,000 more; 15 bins.",
        metric="expected calibration error on 10,000 test images, %",
        better="lower",
        margin=0.7,
        runs=(
            Run(
                "LeNet 5",
                lenet,
                {
                    "uncalibrated": 3.02,
                    "histogram binning": 1.56,
                    "isotonic": 1.85,
                    "temperature scaling": 0.93,
                    "vector scaling": 1.15,
                    "matrix scaling": 1.16,
                },
                seeds=(0,),
            ),
        ),
        differs="LeNet-5 with ReLU and maxima, 12 epochs of SGD with momentum, no augmentation; the copy does "
        "not name the paper's training. Images are recompressed.",
        verdict="All five methods bring the error down to 1.5 to 1.8 %, where the paper has 0.9 to 1.9 %: four are "
        "met. Our network is further from calibrated at the start (5.0 and not 3.0 %), and temperature "
        "scaling is not the best of them here.",
    ),
)
