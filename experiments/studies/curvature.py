"""Does a penalty on the weights add curvature, and does normalization lower the sensitivity to noise in the weights?

python -m experiments.studies.curvature

Penalty: the small perceptron of the study of convexity is trained by gradient descent on digits of 4 x 4 pixels, with
and without the penalty `--strength` |w|^2 / 2. All eigenvalues of the Hessian are computed at the end. The penalty
adds its strength to each eigenvalue at one point; after training the claim is that the smallest eigenvalue is larger.
Noise: perceptrons of four hidden layers, plain, with batch norm and with layer norm, are trained on digits. Every
kernel then gets Gaussian noise of `--noise` times its own root mean square, drawn `--draws` times. The sensitivity is
the share of the test accuracy that is lost; batch norm is measured with its running statistics, as in use.

The claim holds where on every seed (1) the penalty adds its strength to the smallest eigenvalue at one point, to a
tenth, (2) the smallest eigenvalue after training with the penalty is above that without it, and (3) both
normalizations lose a smaller share of their accuracy than the plain network.

References: Goodfellow, Bengio & Courville 2016, "Deep Learning", section 7.1.1; Arora, Li & Lyu 2018, arXiv:1812.03981.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Range, Study, StudyResult
from dlcore.main import main
from dlcore.nn import BatchNorm, LayerNorm
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure, seed_dots
from experiments.studies.convexity import loss_of
from experiments.studies.small_runs import shuffled_digits, train

NORMS = ("plain", "batch norm", "layer norm")


class DeepNet(nn.Module):
    """A rectified perceptron of four hidden layers with one of NORMS, as `small_runs.train` calls it."""

    norm: str
    width: int = 64

    @nn.compact
    def __call__(self, x, train, dropout_rate=0.0):
        x = x.reshape(x.shape[0], -1)
        for i in range(4):
            x = nn.Dense(self.width, kernel_init=nn.initializers.he_normal(), name=f"dense{i}")(x)
            if self.norm == "batch norm":
                x = BatchNorm(not train, name=f"norm{i}")(x)
            elif self.norm == "layer norm":
                x = LayerNorm(name=f"norm{i}")(x)
            x = nn.relu(x)
        return nn.Dense(10, name="head")(x)


def perturbed(params: dict, key: jax.Array, noise: float) -> dict:
    """Add Gaussian noise to every kernel, of `noise` times its root mean square; other parameters stay."""
    leaves, structure = jax.tree.flatten(params)
    changed = [
        w + noise * jnp.sqrt(jnp.square(w).mean()) * jax.random.normal(jax.random.fold_in(key, i), w.shape)
        if w.ndim > 1
        else w
        for i, w in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, changed)


def lost_share(norm: str, num_seeds: int, steps: int, noise: float, draws: int) -> list[float]:
    """Share of the test accuracy that noise in the weights costs, one a seed."""
    data = shuffled_digits()
    images, labels, net = jnp.asarray(data.images), jnp.asarray(data.labels), DeepNet(norm)

    def accuracy(variables: dict) -> jax.Array:
        return (net.apply(variables, jnp.asarray(data.test_images), False).argmax(-1) == data.test_labels).mean()

    def one(key: jax.Array) -> jax.Array:
        variables, _ = train(key, net, optax.adam(1e-3), images, labels, steps)
        variables = jax.tree.map(lambda v: v[-1], variables)
        keys = jax.random.split(jax.random.fold_in(key, 2), draws)
        noisy = jax.lax.map(lambda k: accuracy({**variables, "params": perturbed(variables["params"], k, noise)}), keys)
        return 1 - noisy.mean() / accuracy(variables)

    return jax.jit(jax.vmap(one))(jax.vmap(jax.random.key)(jnp.arange(num_seeds))).tolist()


def smallest_eigenvalues(seed: int, strength: float, steps: int, hidden: int, count: int) -> dict[str, float]:
    """Smallest eigenvalue after training, by arm; "added": what the penalty adds at the weights of "without"."""
    loss, start = loss_of("network", seed, hidden, count)

    def penalized(w):
        return loss(w) + strength * jnp.square(w).sum() / 2

    def smallest(function, w):
        return np.linalg.eigvalsh(np.asarray(jax.jit(jax.hessian(function))(w), np.float64)).min()

    def descend(function):
        gradient = jax.grad(function)
        return jax.jit(lambda w: jax.lax.fori_loop(0, steps, lambda _, w: w - 0.5 * gradient(w), w))(start)

    without, with_penalty = descend(loss), descend(penalized)
    plain = smallest(loss, without)
    return {
        "without": float(plain),
        "with": float(smallest(penalized, with_penalty)),
        "added": float(smallest(penalized, without) - plain),
    }


def report(eigenvalues: dict[str, list[float]], accuracy_loss: dict[str, list[float]], strength: float) -> StudyResult:
    """Judge smallest eigenvalues {arm: one a seed} and lost shares {norm: one a seed}."""
    added, without, with_penalty = (np.asarray(eigenvalues[name]) for name in ("added", "without", "with"))
    exact = bool((np.abs(added / strength - 1) < 0.1).all())
    raised = bool((with_penalty > without).all())
    plain = np.asarray(accuracy_loss["plain"])
    steadier = all((np.asarray(accuracy_loss[name]) < plain).all() for name in NORMS[1:])
    verdict = (
        f"At one point the penalty adds {added.mean():.4f} to the smallest eigenvalue (its strength is {strength:g}); "
        f"after training the smallest is {without.mean():.4f} without and {with_penalty.mean():.4f} with it. Noise in "
        "the weights costs "
        + ", ".join(f"{100 * np.mean(values):.1f} % ({name})" for name, values in accuracy_loss.items())
        + " of the accuracy."
    )
    figure, (left, right) = new_figure((8, 3), 1, 2)
    seed_dots(left, {"without": without, "with the penalty": with_penalty}, (GRAY, BLUE))
    left.set(ylabel="smallest eigenvalue")
    seed_dots(right, {name: accuracy_loss[name] for name in NORMS}, (GRAY, BLUE, VERMILION))
    right.set(ylabel="lost share of the accuracy")
    numbers = {f"smallest eigenvalue, {name}": values for name, values in eigenvalues.items()}
    numbers |= {f"lost share, {name}": values for name, values in accuracy_loss.items()}
    worst = np.max([accuracy_loss[name] for name in NORMS[1:]], 0)
    baseline = (float(plain.mean()), "plain", "lower")
    headline = Headline("share of accuracy lost by noise, worse normalization", worst, "digits", 0.2, baseline)
    return StudyResult(numbers, verdict, {"curvature and noise": figure}, exact and raised and steadier, headline)


def study(
    *,
    num_seeds: PositiveInt = 3,
    strength: Annotated[float, Range(1e-6)] = 1e-2,
    descent_steps: PositiveInt = 2000,
    hidden: PositiveInt = 8,
    count: Annotated[int, Range(10)] = 300,
    steps: PositiveInt = 500,
    noise: NonNegativeFloat = 0.5,
    draws: PositiveInt = 20,
) -> StudyResult:
    """Measure the curvature that a penalty adds, and what noise in the weights costs with and without normalization.

    Args:
      strength: strength of the penalty |w|^2 / 2.
      descent_steps: steps of gradient descent before the Hessian is computed.
      hidden: units of the perceptron whose Hessian is computed.
      count: digits that it is trained on.
      steps: training steps of the networks that get noise.
      noise: standard deviation of the noise, over a kernel's root mean square.
      draws: number of draws of the noise.
    """
    rows = [smallest_eigenvalues(seed, strength, descent_steps, hidden, count) for seed in range(num_seeds)]
    eigenvalues = {name: [row[name] for row in rows] for name in rows[0]}
    return report(eigenvalues, {norm: lost_share(norm, num_seeds, steps, noise, draws) for norm in NORMS}, strength)


SMOKE = {"num_seeds": 1, "descent_steps": 3, "hidden": 3, "count": 30, "steps": 2, "draws": 2}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)
