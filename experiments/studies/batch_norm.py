"""Does batch norm allow higher learning rates and worse initial weights, and is it because layers' inputs shift less?

python -m experiments.studies.batch_norm
python -m experiments.studies.batch_norm --steps=200

Perceptrons learn the digits by plain gradient descent, with and without batch norm, at every learning rate of a ladder
and from four initializations. The largest stable learning rate is the upper end of the interval around the best one in
which the loss ends below half of log 10. Two theories say why batch norm helps. Ioffe & Szegedy (2015): it keeps the
distribution of a layer's inputs from shifting. That is tested by a third net, whose batch norm is followed by a scale
and a shift of every unit, drawn anew at each step (Santurkar, Tsipras, Ilyas & Madry 2018). Santurkar et al.: it makes
the loss smoother. That is measured along the gradient: how much the gradient changes, relative to its norm, within half
a step to four steps of the plain net's best learning rate.

References: Ioffe & Szegedy 2015, arXiv:1502.03167; Santurkar, Tsipras, Ilyas & Madry 2018, arXiv:1805.11604.

Measured over three seeds: the largest stable learning rate is 4x to 8x as high with batch norm; with 200 steps, 4x to
16x (49 s of one core).
"""

import functools
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.data.digits import digits
from dlcore.experiment import Headline, PositiveInt, Range, Study, StudyResult
from dlcore.main import main
from dlcore.nn import BatchNorm, GroupNorm, initializers
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure

INITS = {
    "0.01 randn": initializers.normal(0.01),
    "0.05 randn": initializers.normal(0.05),
    "Xavier": initializers.xavier_normal(),
    "Kaiming": initializers.kaiming_normal(),
}
COLORS = {"none": VERMILION, "batch": BLUE, "noisy": GREEN}
NAMES = {"none": "plain", "batch": "batch norm", "noisy": "noisy batch norm"}


class Net(nn.Module):
    """A ReLU perceptron. norm: "none", "batch", "noisy" (see above) or "group" (two groups).

    before: normalize before the ReLU, else after it.
    """

    norm: str = "batch"
    before: bool = True
    hidden: int = 64
    depth: int = 4

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, rng: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Map x [B, D] to (logits [B, 10], inputs of the ReLUs [depth, B, hidden])."""
        relu_inputs = []
        for i in range(self.depth):
            x = nn.Dense(self.hidden, name=f"dense{i}")(x)
            if self.before:
                x = self._normalize(x, train, jax.random.fold_in(rng, i), i)
            relu_inputs.append(x)
            x = nn.relu(x)
            if not self.before:
                x = self._normalize(x, train, jax.random.fold_in(rng, i), i)
        return nn.Dense(10, name="head")(x), jnp.stack(relu_inputs)

    def _normalize(self, x, train, rng, i):
        if self.norm == "none":
            return x
        if self.norm == "group":
            return GroupNorm(2, name=f"norm{i}")(x)
        x = BatchNorm(not train, name=f"norm{i}")(x)
        if self.norm == "noisy" and train:
            scale, shift = jax.random.normal(rng, (2, self.hidden))
            x = x * jnp.exp(0.2 * scale) + 0.3 * shift
        return x


def data() -> dict[str, tuple[jax.Array, jax.Array]]:
    """Load standardized digits of both splits: x [N, 64] and labels [N]."""
    splits = {split: digits(split).arrays for split in ("train", "test")}
    flat = {split: arrays["image"].reshape(-1, 64) for split, arrays in splits.items()}
    mean, std = flat["train"].mean(), flat["train"].std()
    return {s: (jnp.asarray((flat[s] - mean) / std), jnp.asarray(splits[s]["label"])) for s in splits}


def starts(net: Net, names: list[str], num_seeds: int) -> dict:
    """Initialize variables, each leaf [names, seeds, ...]; a seed has the same kernels in every net."""
    key = jax.random.key(0)
    shapes = jax.eval_shape(lambda: net.init(key, jnp.zeros((2, 64)), True, key))

    def stacked(path, leaf):
        kind = path[-1].key
        if kind != "kernel":
            fill = 1.0 if kind in ("scale", "var") else 0.0
            return jnp.full((len(names), num_seeds, *leaf.shape), fill)
        path_hash = sum(map(ord, jax.tree_util.keystr(path)))
        keys = [jax.random.fold_in(jax.random.key(seed), path_hash) for seed in range(num_seeds)]
        return jnp.stack([jnp.stack([INITS[name](key, leaf.shape) for key in keys]) for name in names])

    return jax.tree_util.tree_map_with_path(stacked, shapes)


def loss_of(net: Net, params, stats, x, labels, rng):
    (logits, relu_inputs), updates = net.apply({"params": params, **stats}, x, True, rng, mutable=list(stats))
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), (updates, relu_inputs)


def descend(net: Net, learning_rate, key, x, labels, batch_size: int, variables: dict, steps) -> tuple[dict, jax.Array]:
    """Train over `steps`, the numbers that seed the batches: (variables after them, their losses)."""

    def step(variables, t):
        batch_idx = jax.random.randint(jax.random.fold_in(key, t), (batch_size,), 0, len(x))
        stats = {k: v for k, v in variables.items() if k != "params"}
        grad = jax.value_and_grad(functools.partial(loss_of, net), has_aux=True)
        noise = jax.random.fold_in(key, -1 - t)
        (loss, (stats, _)), g = grad(variables["params"], stats, x[batch_idx], labels[batch_idx], noise)
        return {"params": jax.tree.map(lambda p, g: p - learning_rate * g, variables["params"], g), **stats}, loss

    return jax.lax.scan(step, variables, steps)


def measured(net: Net, variables: dict, train: tuple, test: tuple) -> dict:
    """Measure test accuracy, and the share of ReLUs that are off for all training examples."""
    key = jax.random.key(0)
    logits, _ = net.apply(variables, test[0], False, key)
    stats = [k for k in variables if k != "params"]
    (_, relu_inputs), _ = net.apply(variables, train[0], True, key, mutable=stats)
    return {"accuracy": (logits.argmax(-1) == test[1]).mean(), "dead": (relu_inputs <= 0).all(1).mean()}


@functools.partial(jax.jit, static_argnames=("net", "steps", "batch_size"))
def train_all(
    net: Net, variables: dict, learning_rates, train: tuple, test: tuple, steps: int, batch_size: int
) -> dict:
    """Train all leaves [I, S, ...] at every learning rate [R]: measures [I, S, R].

    `loss` is the mean of the last 20 steps, infinite where the run ended in something not finite.
    """

    def one(variables, seed, learning_rate):
        key = jax.random.fold_in(jax.random.key(1), seed)
        variables, losses = descend(net, learning_rate, key, *train, batch_size, variables, jnp.arange(steps))
        loss = losses[-20:].mean()
        return {"loss": jnp.where(jnp.isfinite(loss), loss, jnp.inf), **measured(net, variables, train, test)}

    over_rates = jax.vmap(one, (None, None, 0))
    over_seeds = jax.vmap(over_rates, (0, 0, None))
    num_seeds = jnp.arange(jax.tree.leaves(variables)[0].shape[1])
    return jax.vmap(over_seeds, (0, None, None))(variables, num_seeds, learning_rates)


def largest_stable(loss: np.ndarray, learning_rates: np.ndarray, limit: float) -> float:
    """Walk up from the learning rate of least loss [R] while the loss is below the limit: the last, 0 if none."""
    best = int(np.argmin(loss))
    good = np.append(loss[best:] < limit, False)
    steps = int(np.argmin(good))
    return float(learning_rates[best + steps - 1]) if steps else 0.0


@functools.partial(jax.jit, static_argnames=("net", "steps", "num_probes", "batch_size"))
def probe_all(
    net: Net, variables: dict, learning_rate, reach, train: tuple, steps: int, num_probes: int, batch_size: int
) -> dict:
    """Train from variables [S, ...], and measure the loss along the negative gradient, [S, num_probes] each.

    turn: the largest |g(w - r g) - g| / |g| of r in `reach`. loss: the range of the loss there, over the loss at w.
    shift: how far the mean of what the last ReLUs see has moved since the step before, in its deviations.
    """

    def one(variables, seed):
        key = jax.random.fold_in(jax.random.key(1), seed)

        def look(variables, first):
            variables, _ = descend(
                net, learning_rate, key, *train, batch_size, variables, first + jnp.arange(steps // num_probes)
            )
            params, stats = variables["params"], {k: v for k, v in variables.items() if k != "params"}
            t = first + steps // num_probes
            batch_idx = jax.random.randint(jax.random.fold_in(key, t), (batch_size,), 0, len(train[0]))
            x, labels, noise = train[0][batch_idx], train[1][batch_idx], jax.random.fold_in(key, -1 - t)

            def at(params):
                value = jax.value_and_grad(functools.partial(loss_of, net), has_aux=True)
                return value(params, stats, x, labels, noise)

            def ahead(r):
                (loss, _), gradient = at(jax.tree.map(lambda p, d: p - r * d, params, g))
                return loss, optax.tree.norm(jax.tree.map(jnp.subtract, gradient, g)) / optax.tree.norm(g)

            (here, (_, relu_inputs)), g = at(params)
            losses, turns = jax.lax.map(ahead, reach)
            stepped = jax.tree.map(lambda p, d: p - learning_rate * d, params, g)
            after = loss_of(net, stepped, stats, x, labels, jax.random.fold_in(noise, 0))[1][1]
            moved = jnp.abs(after[-1].mean(0) - relu_inputs[-1].mean(0)) / (relu_inputs[-1].std(0) + 1e-6)
            spread = jnp.maximum(losses.max(), here) - jnp.minimum(losses.min(), here)
            return variables, {"turn": turns.max(), "loss": spread / here, "shift": moved.mean()}

        return jax.lax.scan(look, variables, jnp.arange(num_probes) * (steps // num_probes))[1]

    return jax.vmap(one)(variables, jnp.arange(jax.tree.leaves(variables)[0].shape[0]))


def study(
    *,
    num_seeds: PositiveInt = 3,
    steps: PositiveInt = 300,
    batch_size: PositiveInt = 64,
    depth: PositiveInt = 4,
    hidden: PositiveInt = 32,
    min_log2_learning_rate: Annotated[int, Range(-32, 32)] = -5,
    max_log2_learning_rate: Annotated[int, Range(-32, 32)] = 6,
    num_probes: PositiveInt = 30,
) -> StudyResult:
    """Compare learning rates, initializations and the loss along the gradient with and without batch norm.

    Args:
      num_probes: number of measurements of the loss along the gradient in a run.
    """
    splits = data()
    learning_rates = 2.0 ** np.arange(min_log2_learning_rate, max_log2_learning_rate + 1)
    half = float(np.log(10) / 2)
    results, stable, tuned, names = {}, {}, {}, list(INITS)
    for norm in ("none", "batch"):
        net = Net(norm, depth=depth, hidden=hidden)
        runs = train_all(
            net, starts(net, names, num_seeds), learning_rates, splits["train"], splits["test"], steps, batch_size
        )
        results[norm] = {k: np.asarray(v, np.float64) for k, v in runs.items()}
        kaiming = results[norm]["loss"][names.index("Kaiming")]
        stable[norm] = [largest_stable(loss, learning_rates, half) for loss in kaiming]
        tuned[norm] = int(np.argmin(kaiming.mean(0)))
    reach = jnp.asarray(learning_rates[tuned["none"]] * np.array([0.5, 1, 2, 4]))
    ahead = {}
    for norm in NAMES:
        net = Net(norm, depth=depth, hidden=hidden)
        variables = jax.tree.map(lambda v: v[0], starts(net, ["Kaiming"], num_seeds))
        rows = probe_all(
            net, variables, learning_rates[tuned["none"]], reach, splits["train"], steps, num_probes, batch_size
        )
        ahead[norm] = {k: np.asarray(v, np.float64) for k, v in rows.items()}
    net = Net("noisy", depth=depth, hidden=hidden)
    at_best = learning_rates[tuned["batch"]][None]
    noisy = train_all(
        net, starts(net, ["Kaiming"], num_seeds), at_best, splits["train"], splits["test"], steps, batch_size
    )
    results["noisy"] = {k: np.asarray(v, np.float64) for k, v in noisy.items()}
    return report(names, learning_rates, results, stable, tuned, ahead)


def report(
    names: list, learning_rates: np.ndarray, results: dict, stable: dict, tuned: dict, ahead: dict
) -> StudyResult:
    """Judge the numbers of the study; `results` [I, S, R], `ahead` [S, num_probes], `stable` [S], by norm."""
    kaiming = names.index("Kaiming")
    ratio = [b / p if p else float("inf") for p, b in zip(stable["none"], stable["batch"], strict=True)]
    spread = {n: np.ptp(results[n]["loss"][:, :, tuned[n]].clip(max=10), axis=0) for n in tuned}
    turn = {n: np.median(rows["turn"], 1) for n, rows in ahead.items()}
    shift = {n: np.median(rows["shift"], 1) for n, rows in ahead.items()}
    last = {n: results[n]["loss"][kaiming, :, tuned[n]] for n in tuned} | {"noisy": results["noisy"]["loss"][0, :, 0]}
    higher = min(ratio) >= 3
    robust = bool((spread["batch"] < spread["none"]).all())
    smoother = bool((turn["batch"] < turn["none"]).all())
    plain = results["none"]["loss"][kaiming, :, tuned["batch"]]
    shifting = bool((shift["noisy"] > shift["none"]).all() and (last["noisy"] < plain).all())
    verdict = (
        f"The largest stable rate is {min(ratio):.3g} to {max(ratio):.3g} times as high with batch norm (best rates "
        f"{learning_rates[tuned['batch']]:g} and {learning_rates[tuned['none']]:g}): {'at least' if higher else 'NOT'} "
        f"three times. Over {len(names)} starts the final loss spreads by {spread['batch'].mean():.2g} with it and "
        f"{spread['none'].mean():.2g} without: {'less' if robust else 'NOT less'} on every seed. Ahead of the step the "
        f"gradient turns by {turn['batch'].mean():.2g} of its length with it and {turn['none'].mean():.2g} without: "
        f"{'smoother' if smoother else 'NOT smoother'}. With noise that shifts what a layer sees by "
        f"{shift['noisy'].mean():.2g} deviations a step ({shift['none'].mean():.2g} in the plain net, "
        f"{shift['batch'].mean():.2g} with batch norm) the loss at batch norm's best rate ends at "
        f"{last['noisy'].mean():.2g} ({last['batch'].mean():.2g} without noise, {plain.mean():.2g} plain): a steady "
        f"distribution {'is not what batch norm needs' if shifting else 'may be what batch norm needs'}."
    )
    numbers = {"ratio of the largest stable rates": ratio, "plain net at batch norm's best rate": plain.tolist()}
    for norm in tuned:
        numbers[f"largest stable rate, {NAMES[norm]}"] = stable[norm]
        numbers[f"best rate, {NAMES[norm]}"] = float(learning_rates[tuned[norm]])
        numbers[f"spread of the final loss over starts, {NAMES[norm]}"] = spread[norm].tolist()
        for i, name in enumerate(names):
            numbers[f"final loss from {name}, {NAMES[norm]}"] = results[norm]["loss"][i, :, tuned[norm]].tolist()
    for norm in ahead:
        numbers[f"final loss, {NAMES[norm]}"] = last[norm].tolist()
        numbers[f"turn of the gradient, {NAMES[norm]}"] = turn[norm].tolist()
        numbers[f"range of the loss ahead, {NAMES[norm]}"] = np.median(ahead[norm]["loss"], 1).tolist()
        numbers[f"shift of the last layer's inputs, {NAMES[norm]}"] = shift[norm].tolist()
    headline = Headline("largest stable learning rate with batch norm, over without", ratio, "digits", tolerance=0.5)
    figures = {"batch_norm": draw(names, learning_rates, results, tuned, ahead)}
    return StudyResult(numbers, verdict, figures, higher and robust and smoother, headline)


def draw(names: list, learning_rates: np.ndarray, results: dict, tuned: dict, ahead: dict):
    """Draw loss by learning rate, loss by initialization, and the turn of the gradient along training."""
    figure, (by_rate, by_start, along) = new_figure((11, 3.4), 1, 3, grid="both")
    for norm in tuned:
        loss = results[norm]["loss"].clip(max=3)
        by_rate.plot(learning_rates, loss[names.index("Kaiming")].T, "o-", color=COLORS[norm], alpha=0.6, markersize=3)
        by_start.plot(loss[:, :, tuned[norm]], "o-", color=COLORS[norm], alpha=0.6, markersize=3)
    for norm, rows in ahead.items():
        along.plot(rows["turn"].T, color=COLORS[norm], alpha=0.4)
        along.plot(np.median(rows["turn"], 0), color=COLORS[norm], linewidth=2, label=NAMES[norm])
    by_rate.set_xscale("log", base=2)
    by_rate.set(xlabel="learning rate", ylabel="final training loss (cut at 3)")
    by_start.set_xticks(range(len(names)), names, fontsize=8)
    by_start.set_xlabel("start, each net at its best rate")
    along.set(yscale="log", xlabel="probe", ylabel="turn of the gradient ahead of the step")
    along.legend(frameon=False, fontsize=8)
    return figure


SMOKE = {
    "num_seeds": 1,
    "steps": 30,
    "batch_size": 32,
    "depth": 2,
    "hidden": 16,
    "min_log2_learning_rate": -2,
    "max_log2_learning_rate": 0,
    "num_probes": 3,
}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)
