"""Are the features before a projection head better than what the head gives?

python -m experiments.studies.projection_head                        (93.2 % off h and off z: the claim does not hold)

A small perceptron f and a head g learn by NT-Xent from two moved, scaled and noisy views of each digit. The loss sees
z = g(h) alone, h = f(x). Afterwards a linear probe with the labels of the training images reads the class off h, off z,
and off h of the untrained net. The claim holds where h is better than z for each seed: the head takes away what views
do not share, which a class may need.

Reference: Chen et al. 2020, arXiv:2002.05709, section 4.2 and figure 8.
"""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classic_ml.logistic_probe import probe_predict
from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Study, StudyResult
from dlcore.losses import nt_xent_loss
from dlcore.main import main
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure, seed_dots
from experiments.studies.decoupled_contrastive import Encoder, train_contrastive
from experiments.studies.small_runs import shuffled_digits

ARMS = {"h": BLUE, "z": VERMILION, "untrained h": GRAY}


def train(seed: int, steps: int, batch_size: int, learning_rate: float, temperature: float) -> tuple[dict, dict]:
    """Parameters before and after training."""
    images, net, key = jnp.asarray(shuffled_digits().images, jnp.float32), Encoder(), jax.random.key(seed)
    params = net.init(jax.random.fold_in(key, 0), images[:2])["params"]
    settings = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate, "temperature": temperature}
    run = jax.jit(lambda params: train_contrastive(nt_xent_loss, params, images, key, **settings))
    return params, run(params)


def probes(before: dict, after: dict) -> dict[str, float]:
    """Accuracy of a linear probe on each arm's vectors."""
    data = shuffled_digits()

    def vectors(params: dict, images: np.ndarray) -> list[np.ndarray]:
        return [np.asarray(part) for part in Encoder().apply({"params": params}, jnp.asarray(images, jnp.float32))]

    parts = {"before": before, "after": after}
    bank = {name: vectors(params, data.images) for name, params in parts.items()}
    test = {name: vectors(params, data.test_images) for name, params in parts.items()}

    def accuracy(name: str, part: int) -> float:
        predicted = probe_predict(bank[name][part], np.asarray(data.labels), test[name][part])
        return float((predicted == np.asarray(data.test_labels)).mean())

    return {"h": accuracy("after", 0), "z": accuracy("after", 1), "untrained h": accuracy("before", 0)}


def report(results: dict[str, np.ndarray]) -> StudyResult:
    """Judge {arm: [seeds]}, accuracies of linear probes."""
    gaps = results["h"] - results["z"]
    holds = bool((gaps > 0).all())
    means = {arm: 100 * values.mean() for arm, values in results.items()}
    verdict = (
        f"A linear probe reads {means['h']:.1f}% off h, before the head, and {means['z']:.1f}% off z, behind it "
        f"(untrained h: {means['untrained h']:.1f}%), the mean of {len(gaps)} seeds. h is "
        f"{'better for each seed' if holds else 'NOT better for each seed'} ({100 * gaps.mean():+.1f} points)."
    )
    numbers = {f"probe accuracy, {arm}": values.tolist() for arm, values in results.items()}
    headline = Headline("probe accuracy gained before the head", gaps, "digits")
    return StudyResult(numbers, verdict, {"probes": draw(results)}, holds, headline)


def draw(results: dict[str, np.ndarray]):
    figure, axes = new_figure((4.5, 3.4), grid="y")
    seed_dots(axes, {arm: results[arm] for arm in ARMS}, list(ARMS.values()), scale=100)
    axes.set(ylabel="accuracy of a linear probe, %")
    return figure


def study(
    *,
    num_seeds: PositiveInt = 3,
    steps: PositiveInt = 400,
    batch_size: PositiveInt = 128,
    learning_rate: NonNegativeFloat = 1e-3,
    temperature: float = 0.1,
) -> StudyResult:
    """Compare what a linear probe reads off features and off the head's output.

    Args:
      temperature: temperature of the loss.
    """
    runs = [probes(*train(seed, steps, batch_size, learning_rate, temperature)) for seed in range(num_seeds)]
    return report({arm: np.array([run[arm] for run in runs]) for arm in ARMS})


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "steps": 5, "batch_size": 8})

if __name__ == "__main__":
    main(experiment)
