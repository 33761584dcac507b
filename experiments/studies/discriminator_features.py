"""A GAN's discriminator learns features of digits that k-NN and a linear probe read better than untrained ones.

python -m experiments.studies.discriminator_features

A DCGAN learns from the training digits without their labels. The maps of its discriminator's layers, pooled to a grid
and concatenated, are then read by k-NN and by a linear probe with a few labels of each class; beside them stand the
same discriminator with its initial weights, and the pixels. The claim holds where, for both readers, the trained
features are ahead of both by more than the spread (largest less smallest) of the seeds.

Reference: Radford, Metz & Chintala 2016, arXiv:1511.06434, section 5.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.classic_ml.logistic_probe import probe_predict
from dlcore.evaluators.knn import knn_predict
from dlcore.experiment import Headline, PositiveInt, Range, Study, StudyResult
from dlcore.generative import dcgan, gan
from dlcore.generative.discriminator_features import discriminator_features
from dlcore.main import main
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure, seed_dots
from experiments.studies.small_runs import Digits, shuffled_digits

READERS = ("k-NN", "linear probe")


def discriminators(seed: int, digits: Digits, *, steps: int, width: int) -> tuple[dcgan.Discriminator, dict, dict]:
    """Train a DCGAN on the digits without labels: (discriminator, its initial variables, its trained variables)."""
    discriminator = dcgan.Discriminator(width)
    learner = gan.learner(
        generator=dcgan.Generator((8, 8, 1), max(1, width // 2)),
        discriminator=discriminator,
        generator_optimizer=optax.adam(optax.linear_schedule(2e-4, 0.0, steps), b1=0.5),
        discriminator_optimizer=optax.adam(optax.linear_schedule(2e-4, 0.0, steps), b1=0.5),
    )
    images = jnp.asarray(digits.images)

    @jax.jit
    def run(key):
        def step(state, key):
            index = jax.random.randint(key, (64,), 0, len(images))
            return learner.update(state, {"image": images[index], "index": index})[0], None

        first = learner.init(key, {"image": images[:64], "index": jnp.arange(64)})
        return first, jax.lax.scan(step, first, jax.random.split(key, steps))[0]

    before, after = (
        {"params": state.params["discriminator"], **state.model_state["discriminator"]}
        for state in run(jax.random.key(seed))
    )
    return discriminator, before, after


def accuracies(bank: np.ndarray, labels: np.ndarray, queries: np.ndarray, query_labels: np.ndarray) -> list[float]:
    """Accuracies of each of READERS for query features [M, D], from the bank [N, D] with labels [N]."""
    predictions = (knn_predict(bank, labels, queries, min(20, len(bank))), probe_predict(bank, labels, queries, 1.0))
    return [float((classes == query_labels).mean()) for classes in predictions]


def judge(results: dict[str, np.ndarray]) -> tuple[str, bool]:
    """Judge {features: accuracies [seeds, readers]}."""
    held, sentences = [], []
    for i, reader in enumerate(READERS):
        trained, baselines = results["trained"][:, i], {n: v[:, i] for n, v in results.items() if n != "trained"}
        spread = max(np.ptp(values) for values in (trained, *baselines.values()))
        ahead = {n: trained.mean() - values.mean() for n, values in baselines.items()}
        held.append(all(gain > spread for gain in ahead.values()))
        sentences.append(
            f"{reader}: trained {100 * trained.mean():.1f} %, "
            + ", ".join(f"{n} {100 * v.mean():.1f} % ({100 * ahead[n]:+.1f} points)" for n, v in baselines.items())
            + f", spread of the seeds {100 * spread:.1f} points: {'ahead' if held[-1] else 'not ahead of both'}."
        )
    return " ".join(sentences), all(held)


def draw(results):
    figure, axes = new_figure((6, 3.2))
    for k, (name, color) in enumerate(zip(results, (BLUE, VERMILION, GRAY), strict=True)):
        groups = dict(zip(READERS, results[name].T, strict=True))
        seed_dots(axes, groups, color, scale=100, label=name, shift=0.27 * (k - 1))
    axes.set(ylabel="test accuracy, %")
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.15))
    return figure


def study(
    *,
    num_seeds: PositiveInt = 3,
    steps: PositiveInt = 2000,
    width: Annotated[int, Range(2)] = 48,
    labels_per_class: PositiveInt = 10,
) -> StudyResult:
    """Train GANs, and read the features of their discriminators.

    Args:
      steps: steps of both players.
      width: channels of the discriminator's first layer.
      labels_per_class: labeled training digits of each class that k-NN and the probe are given.
    """
    digits = shuffled_digits()
    results = {"trained": [], "untrained": [], "pixels": []}
    for seed in range(num_seeds):
        discriminator, before, after = discriminators(seed, digits, steps=steps, width=width)
        order = np.random.default_rng(seed).permutation(len(digits.labels))
        labeled_idx = np.concatenate([order[digits.labels[order] == c][:labels_per_class] for c in range(10)])
        features = jax.jit(lambda variables, x, net=discriminator: discriminator_features(net, variables, 2 * x - 1))
        for name, variables in (("trained", after), ("untrained", before), ("pixels", None)):
            bank, queries = (
                np.asarray(x.reshape(len(x), -1) if variables is None else features(variables, x))
                for x in (digits.images[labeled_idx], digits.test_images)
            )
            results[name].append(accuracies(bank, digits.labels[labeled_idx], queries, digits.test_labels))
    results = {name: np.array(values) for name, values in results.items()}
    verdict, holds = judge(results)
    numbers = {f"{name}: {reader}": v[:, i].tolist() for name, v in results.items() for i, reader in enumerate(READERS)}
    headline = Headline(
        "linear probe of the trained discriminator",
        results["trained"][:, 1].tolist(),
        "digits",
        baseline=(float(results["untrained"][:, 1].mean()), "the untrained discriminator", "higher"),
    )
    return StudyResult(numbers, verdict, {"discriminator_features": draw(results)}, holds, headline=headline)


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "steps": 2, "width": 4, "labels_per_class": 2})

if __name__ == "__main__":
    main(experiment)
