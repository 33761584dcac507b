"""How far does a standard network fall under attack, by its gradients and by queries alone?

python -m experiments.studies.attacks

A perceptron learns the digits, and its test images are attacked within 0.3 of each pixel (images in [0, 1]): by FGSM,
by PGD (40 steps, untargeted, and towards the class after the true one), by NES with at most 3,000 queries and no
gradient, and by images that PGD found on a network of another seed. Random signs of the same size are what they must
beat. Images of noise are changed until the network is sure of a class. Robust accuracy is that under the worst attack.

The claim holds where in every seed PGD leaves less than 10 % right, more than 90 % of the targeted attacks and at least
90 % of those by NES succeed, random signs leave at least 20 points more than NES does, and every image of noise is
taken for its class at 0.99. Two checks tell a robust network from one that hides its gradients: no attack by queries
succeeds where PGD fails, and PGD leaves nothing right in the largest ball.

References: Goodfellow et al. 2014; Madry et al. 2017; Ilyas et al. 2018; Nguyen et al. 2015; Athalye et al. 2018,
arXiv:1802.00420 (gradient masking).
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.adversarial.gradient import attack_loss, check_images, fgsm, fool_from_noise, pgd
from dlcore.adversarial.queries import nes, random_signs
from dlcore.data.digits import digits
from dlcore.experiment import Headline, PositiveInt, Range, Study, StudyResult
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.main import main
from dlcore.nn import Dense
from dlcore.ops.checks import check_class_ids
from dlcore.report.figure import BLUE, VERMILION, new_figure
from experiments.studies.small_runs import minimize

FALLEN, TARGETED, BY_QUERIES, AHEAD, SURE = 0.1, 0.9, 0.9, 0.2, 0.99


class Perceptron(nn.Module):
    """Images [B, H, W, C] -> scores [B, 10], by one hidden layer."""

    width: int = 128

    def setup(self):
        self.hidden, self.head = Dense(self.width), Dense(10)

    def features(self, x):
        """Of the hidden layer, [B, width]."""
        return nn.relu(self.hidden(x.reshape(x.shape[0], -1)))

    def __call__(self, x):
        return self.head(self.features(x))


def images(split: str) -> tuple[jax.Array, jax.Array]:
    """Digits in [0, 1]: (images [N, 8, 8, 1], labels [N])."""
    arrays = digits(split).arrays
    x = np.asarray(arrays["image"], np.float32)
    return jnp.asarray(x / x.max()).reshape(-1, 8, 8, 1), jnp.asarray(arrays["label"], jnp.int32)


def trained(seed: int, steps: int, batch_size: int = 64, data: tuple | None = None) -> dict:
    """Train a perceptron by Adam, on the digits or on other (images, labels)."""
    net, (x, y) = Perceptron(), map(jnp.asarray, data or images("train"))
    optimizer = optax.adam(optax.cosine_decay_schedule(3e-3, steps))

    def loss(params, key):
        rows = jax.random.randint(key, (batch_size,), 0, len(x))
        return softmax_cross_entropy_loss(net.apply({"params": params}, x[rows]), y[rows]).mean()

    @jax.jit
    def run(key):
        return minimize(loss, net.init(key, x[:1])["params"], optimizer, jax.random.split(key, steps))[0]

    return run(jax.random.key(seed))


def score_fn(params: dict):
    """Scores [K] of one image."""
    return lambda image: Perceptron().apply({"params": params}, image[None])[0]


def attack_network(seed: int, epsilon: float, steps: int, count: int, max_queries: int) -> tuple[dict, dict]:
    """Train two networks, attack the first, transfer attacks from the second: ({measure: number}, {name: images})."""
    params, other = trained(2 * seed, steps), trained(2 * seed + 1, steps)
    (x, y), score = images("test"), score_fn(params)
    x, y = x[:count], y[:count]
    check_images(x)
    check_class_ids("labels", y, 10)
    keys = jax.random.split(jax.random.key(seed), count)
    target = (y + 1) % 10

    def each(attack):
        return jax.jit(jax.vmap(attack))(keys, x, y, target)

    def classes(adversarial):
        return jax.vmap(score)(adversarial).argmax(-1)

    adversarial = {
        "none": x,
        "FGSM": each(lambda k, x, y, t: fgsm(score, k, x, y, epsilon)),
        "PGD": each(lambda k, x, y, t: pgd(score, k, x, y, epsilon)),
        "PGD, largest ball": each(lambda k, x, y, t: pgd(score, k, x, y, 1.0, 0.05)),
        "transfer": each(lambda k, x, y, t: pgd(score_fn(other), k, x, y, epsilon)),
    }
    targeted = each(lambda k, x, y, t: pgd(score, k, x, y, epsilon, target=t))
    queried = each(lambda k, x, y, t: nes(score, k, x, y, epsilon, max_queries=max_queries))
    signs = each(lambda k, x, y, t: random_signs(score, k, x, y, epsilon))
    adversarial |= {"NES": queried.image, "random signs": signs.image}
    for name, changed in adversarial.items():
        radius = 1.0 if "largest" in name else epsilon
        if not (float(jnp.abs(changed - x).max()) <= radius + 1e-6 and 0 <= changed.min() <= changed.max() <= 1):
            raise AssertionError(f"{name}: left its ball or [0, 1]")
    right = {name: np.asarray(classes(changed) == y) for name, changed in adversarial.items()}
    noise = jax.jit(jax.vmap(lambda k, t: fool_from_noise(score, k, (8, 8, 1), t)))(keys[:10], jnp.arange(10))
    sure = jax.vmap(lambda image, t: jnp.exp(-attack_loss(score(image), t)))(noise, jnp.arange(10))
    worst = np.logical_and.reduce([right[name] for name in ("FGSM", "PGD", "NES", "transfer")])
    numbers = {f"accuracy, {name}": float(ok.mean()) for name, ok in right.items()}
    numbers |= {
        "accuracy, worst attack": float(worst.mean()),
        "targeted success": float((classes(targeted) == target).mean()),
        "success of NES": float((~right["NES"])[right["none"]].mean()),
        "median queries of NES": float(np.median(np.asarray(queried.queries)[right["none"]])),
        "only NES succeeds": float((right["PGD"] & ~right["NES"]).mean()),
        "least certainty on noise": float(sure.min()),
    }
    examples = {
        "digits": x[:8],
        "PGD": adversarial["PGD"][:8],
        "change, gray is 0": 0.5 + (adversarial["PGD"] - x)[:8] / (2 * epsilon),
    }
    return numbers, {name: np.asarray(rows) for name, rows in examples.items()} | {"from noise": np.asarray(noise[:8])}


def report(results: list[dict], examples: dict, epsilon: float) -> StudyResult:
    """Judge the numbers of each seed."""
    values = {name: [r[name] for r in results] for name in results[0]}
    holds = (
        max(values["accuracy, PGD"]) < FALLEN
        and min(values["targeted success"]) > TARGETED
        and min(values["success of NES"]) >= BY_QUERIES
        and min(np.subtract(values["accuracy, random signs"], values["accuracy, NES"])) >= AHEAD
        and min(values["least certainty on noise"]) >= SURE
    )
    masked = max(values["only NES succeeds"]) > 0.01 or max(values["accuracy, PGD, largest ball"]) > 0.01
    mean = {name: float(np.mean(v)) for name, v in values.items()}

    def left(arm):
        return f"{100 * mean[f'accuracy, {arm}']:.1f} %"

    verdict = (
        f"Of {left('none')} right, FGSM at {epsilon:g} leaves {left('FGSM')}, PGD {left('PGD')}, NES {left('NES')} "
        f"(median {mean['median queries of NES']:.0f} queries), transferred images {left('transfer')}, random signs "
        f"{left('random signs')}. Gradients {'ARE' if masked else 'are not'} masked."
    )
    arms = ["none", "random signs", "FGSM", "transfer", "NES", "PGD", "worst attack"]
    figure, axes = new_figure((6.5, 3))
    axes.bar(arms, [mean[f"accuracy, {arm}"] for arm in arms], color=[BLUE] * 2 + [VERMILION] * 5)
    axes.set(ylabel="accuracy", ylim=(0, 1))
    axes.tick_params(axis="x", labelrotation=20)
    pictures, grid = new_figure((8, 1.1 * len(examples)), len(examples), 1)
    for ax, (name, rows) in zip(np.ravel(grid), examples.items(), strict=True):
        ax.imshow(
            np.concatenate([np.pad(row[..., 0], 1, constant_values=1) for row in rows], 1), cmap="gray", vmin=0, vmax=1
        )
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    headline = Headline(
        f"accuracy under PGD-40 at {epsilon:g}",
        values["accuracy, PGD"],
        "digits",
        tolerance=0.5,
        baseline=(mean["accuracy, random signs"], "random signs of the same size", "lower"),
    )
    return StudyResult(values, verdict, {"accuracy under attack": figure, "images": pictures}, holds, headline)


def study(
    *,
    num_seeds: PositiveInt = 3,
    epsilon: Annotated[float, Range(0, 1)] = 0.3,
    steps: PositiveInt = 1500,
    count: Annotated[int, Range(10)] = 200,
    max_queries: PositiveInt = 3000,
) -> StudyResult:
    """Attack networks that were trained without any defense.

    Args:
      epsilon: largest change of a pixel, of images in [0, 1].
      count: test images that are attacked.
      max_queries: most queries of NES, for an image.
    """
    results = [attack_network(seed, epsilon, steps, count, max_queries) for seed in range(num_seeds)]
    return report([numbers for numbers, _ in results], results[0][1], epsilon)


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "steps": 20, "count": 10, "max_queries": 100})

if __name__ == "__main__":
    main(experiment)
