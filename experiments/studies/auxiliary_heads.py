"""Are auxiliary heads needed once there is batch norm?

python -m experiments.studies.auxiliary_heads

GoogLeNet (Szegedy et al. 2014) was trained with two auxiliary classifiers, so that its early layers get a gradient. A
small one, all 22 layers with an eighth of the channels, learns the digits with and without them and with and without
batch norm, by SGD with momentum at every learning rate of a ladder; each of the four is compared at the learning rate
at which its last layer's loss ends lowest. Loss and accuracy are always those of the last layer. The heads help where
test accuracy is higher with them on every seed, and by at least a point on average; the claim holds where they help
without batch norm and not with it. The gradient of the first module at the start, relative to the last's, is reported
too: it is what the heads are for.

References: Szegedy et al. 2014, arXiv:1409.4842 (GoogLeNet); Ioffe & Szegedy 2015, arXiv:1502.03167 (batch norm).

Measured on two CPU cores in 13 minutes of one, 3 seeds: the claim does not hold. Without batch norm the heads give 1.9
points of test accuracy on average, and -5.8, 1.4 and 10.2 by seed; with batch norm -1.7 points. 400 steps are too few
to tell: at one setting the seeds differ by more than the heads change. At the start the first module's gradient is
0.068 of the last's without heads, 0.22 with them and 16 with batch norm, so the heads do what they are for.
"""

import functools
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.experiment import Headline, PositiveInt, Range, Study, StudyResult
from dlcore.main import main
from dlcore.models.googlenet import MODULES, GoogLeNet, auxiliary_loss
from dlcore.report.figure import BLUE, GREEN, ORANGE, VERMILION, new_figure, seed_dots
from experiments.studies.small_runs import shuffled_digits

NETS = {"neither": (False, False), "heads": (True, False), "norm": (False, True), "both": (True, True)}
NAMES = {"neither": "neither", "heads": "auxiliary heads", "norm": "batch norm", "both": "both"}
COLORS = {"neither": VERMILION, "heads": ORANGE, "norm": BLUE, "both": GREEN}
POINT = 0.01


def data() -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """Load standardized digits [N, 8, 8, 1] and labels [N] of both splits: (training, test)."""
    digits = shuffled_digits()
    mean, std = digits.images.mean(), digits.images.std()
    pairs = (digits.images, digits.labels), (digits.test_images, digits.test_labels)
    train, test = ((jnp.asarray((images - mean) / std), jnp.asarray(labels)) for images, labels in pairs)
    return train, test


def small_googlenet(aux: bool, norm: bool, width: float, modules: tuple[str, ...] = tuple(MODULES)) -> GoogLeNet:
    """Build a narrow GoogLeNet whose head is not zero, so that gradients pass it from the first step on."""
    fields = {"stem": "cifar", "width_mult": width, "head_init": nn.initializers.lecun_normal()}
    return GoogLeNet(num_classes=10, aux=aux, batch_norm=norm, modules=modules, **fields)


def loss_of(
    net: GoogLeNet, auxiliary_weight: float, params: dict, stats: dict, x: jax.Array, labels: jax.Array, rng: jax.Array
):
    """Compute (the loss, (that of the last layer alone, batch statistics))."""
    method = "auxiliary" if net.aux else lambda net, x, train: (net(x, train), {})
    (logits, heads), stats = net.apply(
        {"params": params, **stats}, x, True, method=method, rngs={"dropout": rng}, mutable=["batch_stats"]
    )
    return auxiliary_loss(logits, heads, labels, auxiliary_weight), (auxiliary_loss(logits, {}, labels), dict(stats))


@functools.partial(jax.jit, static_argnames=("net", "steps", "batch_size"))
def train_one(
    net: GoogLeNet, seed, learning_rate, auxiliary_weight, train: tuple, test: tuple, steps: int, batch_size: int
) -> dict:
    """Train once: the last layer's loss [steps], its test accuracy, and the ratio of gradient norms at the start."""
    key, optimizer = jax.random.fold_in(jax.random.key(0), seed), optax.sgd(learning_rate, 0.9)
    variables = dict(net.init({"params": key}, train[0][:2]))
    params = variables.pop("params")
    gradient = jax.value_and_grad(functools.partial(loss_of, net, auxiliary_weight), has_aux=True)

    def step(carry, t):
        params, stats, state = carry
        rng = jax.random.fold_in(key, t + 1)
        batch_idx = jax.random.randint(rng, (batch_size,), 0, len(train[1]))
        (_, (loss, stats)), g = gradient(params, stats, train[0][batch_idx], train[1][batch_idx], rng)
        sizes = jnp.stack([optax.tree.norm(g[f"inception{name}"]) for name in (net.modules[0], net.modules[-1])])
        updates, state = optimizer.update(g, state, params)
        return (optax.apply_updates(params, updates), stats, state), (loss, sizes)

    carry = (params, variables, optimizer.init(params))
    (params, stats, _), (losses, sizes) = jax.lax.scan(step, carry, jnp.arange(steps))
    accuracy = (net.apply({"params": params, **stats}, test[0]).argmax(-1) == test[1]).mean()
    return {"loss": losses, "accuracy": accuracy, "ratio": sizes[0, 0] / sizes[0, 1]}


def study(
    *,
    num_seeds: PositiveInt = 3,
    steps: PositiveInt = 400,
    batch_size: PositiveInt = 32,
    min_log2_learning_rate: Annotated[int, Range(-32, 32)] = -8,
    max_log2_learning_rate: Annotated[int, Range(-32, 32)] = -4,
    width: float = 0.125,
    modules: tuple[str, ...] = tuple(MODULES),
    auxiliary_weight: float = 0.3,
) -> StudyResult:
    """Measure loss and accuracy with and without auxiliary heads and batch norm.

    Args:
      width: factor of GoogLeNet's channels.
      modules: Inception modules of the network, of 3a to 5b; auxiliary heads stand behind 4a and 4d.
      auxiliary_weight: weight of the auxiliary losses.
    """
    learning_rates, (train, test), results = (
        2.0 ** np.arange(min_log2_learning_rate, max_log2_learning_rate + 1),
        data(),
        {},
    )
    for name, (aux, norm) in NETS.items():
        net = small_googlenet(aux, norm, width, modules)
        runs = [
            [train_one(net, s, r, auxiliary_weight, train, test, steps, batch_size) for r in learning_rates]
            for s in range(num_seeds)
        ]
        results[name] = {k: np.array([[run[k] for run in row] for row in runs], np.float64) for k in runs[0][0]}
    return report(learning_rates, results)


def report(learning_rates: np.ndarray, results: dict) -> StudyResult:
    """Judge `results`: net -> {"loss": [S, R, steps], "accuracy" and "ratio": [S, R]}."""
    last = {name: _final(rows["loss"]) for name, rows in results.items()}
    best = {name: int(np.argmin(loss.mean(0))) for name, loss in last.items()}
    accuracy = {name: rows["accuracy"][:, best[name]] for name, rows in results.items()}
    ratio = {name: float(rows["ratio"][:, 0].mean()) for name, rows in results.items()}
    gain = {"without": accuracy["heads"] - accuracy["neither"], "with": accuracy["both"] - accuracy["norm"]}
    helps = {name: bool((g > 0).all() and g.mean() >= POINT) for name, g in gain.items()}
    holds = helps["without"] and not helps["with"]
    numbers = {"learning_rates": learning_rates.tolist()}
    for name, label in NAMES.items():
        numbers[f"test accuracy, {label}"] = accuracy[name].tolist()
        numbers[f"final loss, {label}"] = last[name][:, best[name]].tolist()
        numbers[f"best rate, {label}"] = float(learning_rates[best[name]])
        numbers[f"test accuracy by rate, {label}"] = results[name]["accuracy"].mean(0).tolist()
        numbers[f"gradient of the first module over the last's at the start, {label}"] = ratio[name]
    words = {name: "help" if helps else "do NOT help" for name, helps in helps.items()}
    mean = {name: f"{values.mean():.1%}" for name, values in accuracy.items()}
    verdict = (
        f"Without batch norm the heads {words['without']}: {mean['heads']} of the test digits right with them, "
        f"{mean['neither']} without ({_signed(gain['without'])} points by seed). With batch norm they {words['with']}: "
        f"{mean['both']} and {mean['norm']} ({_signed(gain['with'])}). At the start the gradient of the first module "
        f"is {ratio['neither']:.2g} of the last's in the plain net, {ratio['heads']:.2g} with heads, "
        f"{ratio['norm']:.2g} with batch norm. Needed before batch norm and not after it: the claim "
        f"{'holds' if holds else 'does NOT hold'}."
    )
    headline = Headline("test accuracy gained by heads without batch norm", gain["without"], "digits")
    return StudyResult(numbers, verdict, {"auxiliary_heads": draw(results, best, accuracy)}, holds, headline)


def _final(loss: np.ndarray) -> np.ndarray:
    """Average the last tenth of the steps; infinite where that is not finite."""
    last = loss[..., -max(1, loss.shape[-1] // 10) :].mean(-1)
    return np.where(np.isfinite(last), last, np.inf)


def _signed(gain: np.ndarray) -> str:
    return ", ".join(f"{100 * g:+.1f}" for g in gain)


def draw(results: dict, best: dict, accuracy: dict):
    """Draw the last layer's loss along training, and test accuracy."""
    figure, (left, right) = new_figure((8.5, 3.2), 1, 2, width_ratios=(3, 2), grid="both")
    for name in NETS:
        curves = results[name]["loss"][:, best[name]].clip(max=4)
        window = max(1, curves.shape[1] // 20)
        smooth = np.array([np.convolve(curve, np.ones(window) / window, "valid") for curve in curves])
        left.plot(smooth.T, color=COLORS[name], alpha=0.3, linewidth=0.8)
        left.plot(smooth.mean(0), color=COLORS[name], label=NAMES[name])
    left.set(xlabel="step", ylabel="training loss of the last layer")
    left.legend(frameon=False, fontsize=8)
    groups = {NAMES[name].replace(" ", "\n"): accuracy[name] for name in NETS}
    seed_dots(right, groups, [COLORS[name] for name in NETS], scale=100)
    right.set_ylabel("test accuracy, %")
    return figure


SMOKE = {
    "num_seeds": 1,
    "steps": 3,
    "batch_size": 8,
    "min_log2_learning_rate": -6,
    "max_log2_learning_rate": -6,
    "width": 0.02,
    "modules": ("4a",),
}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)
