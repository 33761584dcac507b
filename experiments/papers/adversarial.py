"""Attacks on MNIST: linear classifiers, and a small network with and without adversarial training."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.adversarial import training
from dlcore.adversarial.gradient import fgsm, pgd
from dlcore.classification import supervised
from dlcore.data.augment.color import to_float
from dlcore.data.source import Source
from dlcore.models.mlp import MLP
from dlcore.models.small_cnn import SmallCNN
from experiments.papers.table import Run, Table
from experiments.papers.training import source, subset, train

__all__ = ["TABLES", "attacked"]


def attacked(model: Any, params: Any, examples: Source, attack: Callable[..., jax.Array], **settings) -> np.ndarray:
    """Attack all images of a source, and classify them: probabilities [N, C].

    Args:
      model: a network of images in [0, 1].
      params: its weights.
      examples: images and labels.
      attack: `fgsm` or `pgd`.
      **settings: settings of the attack.
    """

    def scores(image: jax.Array) -> jax.Array:
        return model.apply({"params": params}, image[None], train=False)[0]

    def classify(example: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        return jax.nn.softmax(scores(attack(scores, *example, **settings)))

    images, labels = to_float(jnp.asarray(examples.arrays["image"])), jnp.asarray(examples.arrays["label"])
    keys = jax.random.split(jax.random.key(0), len(labels))
    return np.asarray(jax.jit(lambda of: jax.lax.map(classify, of, batch_size=500))((keys, images, labels)))


def softmax_regression(seed: int) -> dict[str, float]:
    """Train a linear classifier, and measure its errors on attacked digits and its confidence in them."""
    model, test = MLP(hidden=()), source("mnist", "test")
    learner = supervised.learner(model=model, optimizer=optax.adam(1e-3), preprocess=to_float)
    state = train(learner, source("mnist"), epochs=5, batch_size=100, seed=seed)
    probabilities = attacked(model, state.params, test, fgsm, epsilon=0.25)
    incorrect = probabilities.argmax(1) != test.arrays["label"]
    confidence = 100 * probabilities.max(1)[incorrect].mean()
    return {"shallow softmax: error": 100 * incorrect.mean(), "shallow softmax: confidence of errors": confidence}


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
            np.mean(
                attacked(model, state.params, parts[1], fgsm, epsilon=epsilon).argmax(1) != parts[1].arrays["label"]
            )
        )

    return {"logistic, 3 and 7: clean error": error(0.0), "logistic, 3 and 7: error": error(0.25)}


PGD = {"epsilon": 0.3, "step_size": 0.01}
ATTACKS: dict[str, tuple[Callable[..., jax.Array], dict]] = {
    "natural": (fgsm, {"epsilon": 0.0}),
    "FGSM": (fgsm, {"epsilon": 0.3}),
    "PGD, 40 steps": (pgd, {**PGD, "steps": 40}),
    "CW loss, 40 steps": (pgd, {**PGD, "steps": 40, "loss": "margin"}),
}


def small_network(defense: training.Defense, title: str, names: tuple[str, ...]) -> Callable[[int], dict[str, float]]:
    """Train a small network for five epochs, and measure its accuracy on the first 1,000 test digits under attacks."""
    steps = 5 * 600

    def rate(step: Any) -> jax.Array:
        """Return the learning rate, which rises for two fifths of the training and falls again."""
        return jnp.interp(step, jnp.array([0.0, 0.4 * steps, steps]), jnp.array([0.0, 5e-3, 0.0]))

    def measure(seed: int) -> dict[str, float]:
        model, test = SmallCNN(), subset(source("mnist", "test"), np.arange(1000))
        learner = training.learner(
            model=model, optimizer=optax.adam(rate), defense=defense, epsilon=0.3, step_size=0.375
        )
        state = train(learner, source("mnist"), steps=steps, batch_size=100, seed=seed)
        accuracies = {}
        for name in names:
            attack, settings = ATTACKS[name]
            predictions = attacked(model, state.params, test, attack, **settings).argmax(1)
            accuracies[f"{title}: {name}"] = 100 * float(np.mean(predictions == test.arrays["label"]))
        return accuracies

    return measure


def row(defense: training.Defense, title: str, published: dict[str, float]) -> Run:
    """One training, with the paper's accuracies under attacks."""
    numbers = {f"{title}: {name}": value for name, value in published.items()}
    return Run(title, small_network(defense, title, tuple(published)), numbers, seeds=(0,))


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
        verdict="Both classifiers fail on the attacked digits as in the paper, and logistic regression has its clean "
        "error. Ours is surer of its errors, 88 % and not 79 %; the paper does not say how long or with which penalty "
        "its classifier was trained, and we have not tried others.",
    ),
    Table(
        key="mnist-adversarial-training",
        paper="Madry et al. 2017, Towards deep learning models resistant to adversarial attacks",
        place="Table 1",
        source="arXiv 1706.06083; training of arXiv 2001.03994 by locuslab/fast_adversarial@54f7287",
        setting="Convolutions of 32 and 64 channels and 1024 units, trained by PGD of 40 steps for 100,000 steps; "
        "accuracy under white-box attacks with epsilon 0.3.",
        metric="test accuracy, %",
        better="higher",
        margin=3.0,
        runs=(
            row("standard", "naturally trained", {"natural": 99.2, "FGSM": 6.4}),
            row(
                "fast",
                "adversarially trained",
                {
                    "natural": 98.8,
                    "FGSM": 95.6,
                    "PGD, 40 steps": 93.2,
                    "CW loss, 40 steps": 94.0,
                },
            ),
        ),
        differs="The network is Wong's, of 166,406 weights, and so is the training: FGSM from a random start for five "
        "epochs, Adam up to 0.005. The attacks see 1,000 test digits.",
        verdict="No: training on single steps fails here. The network withstands most of FGSM and nothing of PGD, "
        "which is known as catastrophic overfitting.",
    ),
)
