"""The fast gradient sign method on linear classifiers of MNIST."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.adversarial.gradient import fgsm
from dlcore.classification import supervised
from dlcore.data.augment.color import to_float
from dlcore.data.source import Source
from dlcore.models.mlp import MLP
from experiments.papers.table import Run, Table
from experiments.papers.training import source, subset, train

__all__ = ["TABLES", "attacked"]


def attacked(model: Any, params: Any, examples: Source, epsilon: float) -> np.ndarray:
    """Attack all images of a source by FGSM, and classify them: probabilities [N, C]."""

    def probabilities(image: jax.Array) -> jax.Array:
        return jax.nn.softmax(model.apply({"params": params}, image[None], train=False)[0])

    def attack(example: tuple[jax.Array, jax.Array]) -> jax.Array:
        image, label = example

        def scores(x: jax.Array) -> jax.Array:
            return model.apply({"params": params}, x[None], train=False)[0]

        return probabilities(fgsm(scores, jax.random.key(0), image, label, epsilon))

    images, labels = to_float(jnp.asarray(examples.arrays["image"])), jnp.asarray(examples.arrays["label"])
    return np.asarray(jax.jit(lambda pairs: jax.lax.map(attack, pairs, batch_size=500))((images, labels)))


def softmax_regression(seed: int) -> dict[str, float]:
    """Train a linear classifier, and measure its errors on attacked digits and its confidence in them."""
    model, test = MLP(hidden=()), source("mnist", "test")
    learner = supervised.learner(model=model, optimizer=optax.adam(1e-3), preprocess=to_float)
    state = train(learner, source("mnist"), epochs=5, batch_size=100, seed=seed)
    probabilities = attacked(model, state.params, test, 0.25)
    wrong = probabilities.argmax(1) != test.arrays["label"]
    confidence = 100 * probabilities.max(1)[wrong].mean()
    return {"shallow softmax: error": 100 * wrong.mean(), "shallow softmax: confidence of errors": confidence}


def threes_and_sevens(seed: int) -> dict[str, float]:
    """Train logistic regression to tell threes from sevens, and measure its errors before and after the attack."""
    parts = []
    for split in ("train", "test"):
        label = source("mnist", split).arrays["label"]
        rows = np.isin(label, (3, 7))
        parts.append(subset(source("mnist", split), rows, label=(label[rows] == 7).astype(np.int32)))
    model = MLP(hidden=(), num_classes=2)
    learner = supervised.learner(model=model, optimizer=optax.adam(1e-3), preprocess=to_float)
    state = train(learner, parts[0], epochs=10, batch_size=100, seed=seed)

    def error(epsilon: float) -> float:
        return 100 * float(
            np.mean(attacked(model, state.params, parts[1], epsilon).argmax(1) != parts[1].arrays["label"])
        )

    return {"logistic, 3 and 7: clean error": error(0.0), "logistic, 3 and 7: error": error(0.25)}


TABLES = (
    Table(
        key="mnist-fgsm",
        paper="Goodfellow, Shlens & Szegedy 2014, Explaining and harnessing adversarial examples",
        place="sections 4 and 5",
        source="arXiv 1412.6572, as quoted by copies",
        setting="Linear classifiers of MNIST; test digits changed by the fast gradient sign method with epsilon 0.25.",
        metric="error, and mean confidence of the errors, %",
        better="neither",
        margin=2.0,
        runs=(
            Run(
                "shallow softmax",
                softmax_regression,
                {"shallow softmax: error": 99.9, "shallow softmax: confidence of errors": 79.3},
            ),
            Run(
                "logistic, 3 and 7",
                threes_and_sevens,
                {"logistic, 3 and 7: clean error": 1.6, "logistic, 3 and 7: error": 99.0},
            ),
        ),
        differs="Adam 0.001, batch 100, 5 and 10 epochs; the paper names no training. Images stay in [0, 1].",
    ),
)
