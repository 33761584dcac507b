"""What do initial weights do to the activations and gradients of a deep net, before any training?

python -m experiments.studies.initialization_depth

Perceptrons of one width on standard normal inputs: mean and standard deviation of the activations of each layer, the
share of units that saturate (tanh) or never fire (ReLU), and the gradient that arrives at each layer. 0.01 and
0.05 randn are measured at a second width too, since 0.05 randn saturates a layer of 4,096 units and not one of 512.
Residual nets of the same blocks follow, with Kaiming weights throughout and with the last layer of each block at zero;
last, perceptrons learn the digits from each initialization. The claim holds where every number lies in its interval of
BANDS, zero weights never move, constant ones stay equal, a bias leaves fewer units dead, and variance grows over
residual blocks unless their last layer is zero.

References: Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks"; He et al.
2015, arXiv:1502.01852.

Measured in 1.6 minutes of two busy cores: all 8 bands held. A third of the units of the wide net with 0.05 randn have
next to no local gradient. The whole gradient grows on its way down all the same, 7x over six layers: the weights, 0.05
sqrt(4096) = 3.2, outweigh the slopes.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.digits import digits
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.nn import initializers
from dlcore.report.figure import BLUE, VERMILION, new_figure

INITS = {
    "0.01 randn": initializers.normal(0.01),
    "0.05 randn": initializers.normal(0.05),
    "Xavier": initializers.xavier_normal(),
    "Kaiming": initializers.kaiming_normal(),
}
STARTS = {"zero": initializers.zeros, "constant": initializers.constant(0.03), **INITS}
ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu}
DEPTHS = {"tanh": 6, "relu": 20}
# (quantity, activation, start, width) -> what it must lie in, at those depths
BANDS = {
    ("deviation of the last layer", "tanh", "0.01 randn", 512): (0.0, 3e-4),  # (0.01 sqrt(512))^6 = 1.3e-4
    ("deviation of the last layer", "tanh", "0.01 randn", 4096): (0.02, 0.08),  # less than 0.64^6 = 0.069
    ("saturated in the last layer", "tanh", "0.05 randn", 512): (0.0, 0.05),
    ("saturated in the last layer", "tanh", "0.05 randn", 4096): (0.30, 0.45),
    ("deviation of the last layer", "tanh", "Xavier", 512): (0.25, 0.36),
    ("second moment, last over first", "relu", "0.01 randn", 512): (0.0, 1e-20),  # (512 (0.01)^2 / 2)^19 = 9e-31
    ("second moment, last over first", "relu", "Xavier", 512): (4e-7, 1e-5),  # 2^-19 = 1.9e-6
    ("second moment, last over first", "relu", "Kaiming", 512): (0.4, 2.5),
}


def draw(name: str, key, count: int, width: int):
    """Draw kernels [count, width, width] of an initialization."""
    return jnp.stack([STARTS[name](key, (width, width)) for key in jax.random.split(key, count)])


@functools.partial(jax.jit, static_argnums=1)
def look(kernels, kind: str, x, cotangent, bias) -> tuple[jax.Array, jax.Array]:
    """Compute activations [depth, examples, width], and the norm of the gradient at the input of each layer [depth].

    kernels: [depth, width, width]; x and cotangent, of the output: [examples, width].
    """

    def layer(h, kernel):
        h = ACTIVATIONS[kind](h @ kernel + bias)
        return h, h

    def back(gradient, inputs):
        kernel, h = inputs
        gradient = (gradient * (1 - jnp.square(h) if kind == "tanh" else h > 0)) @ kernel.T
        return gradient, jnp.linalg.norm(gradient)

    h = jax.lax.scan(layer, x, kernels)[1]
    norms = jax.lax.scan(back, cotangent, (kernels, h), reverse=True)[1]
    return h, norms / jnp.linalg.norm(cotangent)


def statistics(h: np.ndarray) -> dict[str, np.ndarray]:
    """Describe activations h [depth, examples, width] in float64: [depth] each, and histograms [depth, 40]."""
    low = -1.0 if h.min() < 0 else 0.0
    high = 1.0 if h.min() < 0 else 3 * float(h.std((1, 2)).max()) + 1e-30
    edges = np.linspace(low, high, 41)
    return {
        "mean": h.mean((1, 2)),
        "deviation": h.std((1, 2)),
        "second moment": np.square(h).mean((1, 2)),
        "saturated": (np.abs(h) > 0.99).mean((1, 2)),
        "median slope": np.median(1 - np.square(h), (1, 2)),
        "dead": (h <= 0).all(1).mean(1),
        "histogram": np.stack([np.histogram(layer, edges)[0] for layer in h]),
        "edges": edges,
    }


def measure(name: str, kind: str, width: int, depth: int, num_examples: int, num_seeds: int, bias: float = 0.0) -> dict:
    """Measure the activations' statistics and the gradient of nets of one initialization: [seeds, depth] each."""
    rows = []
    for seed in range(num_seeds):
        weights, inputs = jax.random.split(jax.random.key(seed))
        x, cotangent = jax.random.normal(inputs, (2, num_examples, width))
        h, gradient = look(draw(name, weights, depth, width), kind, x, cotangent, bias)
        rows.append({**statistics(np.asarray(h, np.float64)), "gradient": np.asarray(gradient, np.float64)})
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


def residual(last: str, width: int, blocks: int, num_seeds: int) -> np.ndarray:
    """Measure the variance after each block x + relu(x W1) W2 over the input's, [seeds, blocks]; W1 is Kaiming's."""
    rows = []
    for seed in range(num_seeds):
        first, second, inputs = jax.random.split(jax.random.key(seed), 3)
        x = jax.random.normal(inputs, (32, width))
        rows.append(variances(x, draw("Kaiming", first, blocks, width), draw(last, second, blocks, width)))
    return np.asarray(rows, np.float64)


@jax.jit
def variances(x, first, second):
    def block(x, kernels):
        x = x + jax.nn.relu(x @ kernels[0]) @ kernels[1]
        return x, x.var()

    return jax.lax.scan(block, x, (first, second))[1] / x.var()


def balanced_digits() -> tuple[jax.Array, jax.Array]:
    """Load a hundred of each digit, [1000, 64], and labels: on balanced classes a net of zeros has no gradient."""
    data = digits("train").arrays
    rows = np.concatenate([np.flatnonzero(data["label"] == c)[:100] for c in range(10)])
    return jnp.asarray(data["image"].reshape(-1, 64)[rows]), jnp.asarray(data["label"][rows])


def descend(name: str, steps: int, num_seeds: int) -> dict:
    """Train ReLU perceptrons: last loss [seeds], how much units differ, and how far weights moved."""
    x, labels = balanced_digits()
    rows = []
    for seed in range(num_seeds):
        hidden, head = jax.random.split(jax.random.key(seed))
        kernels = draw(name, hidden, 3, 64), STARTS[name](head, (64, 10))
        rows.append(jax.device_get(learn(kernels, steps, x, labels)))
    return {key: [float(row[key]) for row in rows] for key in rows[0]}


@jax.jit
def learn(kernels, steps, x, labels) -> dict:
    """Descend from kernels ([3, 64, 64], [64, 10]) and biases of 0."""

    def loss(params):
        (hidden, head), (biases, last) = params
        h = x
        for w, b in zip(hidden, biases, strict=True):
            h = jax.nn.relu(h @ w + b)
        scores = jax.nn.log_softmax(h @ head + last)
        return -jnp.take_along_axis(scores, labels[:, None], 1).mean()

    def step(_, params):
        return jax.tree.map(lambda p, g: p - 0.2 * g, params, jax.grad(loss)(params))

    after = jax.lax.fori_loop(0, steps, step, (kernels, (jnp.zeros((3, 64)), jnp.zeros(10))))
    moved = jnp.stack([jnp.abs(a - b).max() for a, b in zip(kernels, after[0], strict=True)]).max()
    return {"loss": loss(after), "units differ by": after[0][0][0].std(1).max(), "weights moved": moved}


def check_bands(results: dict) -> tuple[int, list[str]]:
    """Count the bands that apply, and describe the numbers outside theirs; other widths and depths have none."""
    tried, misses = 0, []
    for (quantity, kind, name, width), (low, high) in BANDS.items():
        rows = results.get((kind, name, width))
        if rows is None or rows["mean"].shape[1] != DEPTHS[kind]:
            continue
        tried += 1
        value = summary(rows)[quantity]
        if not (low <= value.min() and value.max() <= high):
            misses.append(f"{quantity}, {name} in {kind} at width {width}, is {value.min():.3g} to {value.max():.3g}")
    return tried, misses


def summary(rows: dict) -> dict[str, np.ndarray]:
    """Compute the quantities of BANDS, [seeds] each."""
    second = rows["second moment"]
    return {
        "deviation of the last layer": rows["deviation"][:, -1],
        "saturated in the last layer": rows["saturated"][:, -1],
        "second moment, last over first": second[:, -1] / second[:, 0],
    }


def judge(learned: dict, unbiased: dict, biased: dict, kaiming_last: np.ndarray, zero_last: np.ndarray) -> tuple:
    """Whether zero weights stay, constant ones stay alike, a bias saves units, and a last layer of 0 the variance."""
    stuck = max(learned["zero"]["weights moved"]) < 1e-6
    same = max(learned["constant"]["units differ by"]) < 1e-4 < min(learned["Kaiming"]["units differ by"])
    fewer = all((biased[name][:, 0] <= unbiased[name][:, 0]).all() for name in INITS)
    fewer = fewer and sum(b[:, 0].sum() for b in biased.values()) < sum(b[:, 0].sum() for b in unbiased.values())
    return stuck, same, bool(fewer), bool(np.allclose(zero_last, 1) and kaiming_last[:, -1].min() > 100)


def study(
    *,
    num_seeds: PositiveInt = 3,
    width: PositiveInt = 512,
    large_width: PositiveInt = 4096,
    tanh_depth: PositiveInt = 6,
    relu_depth: PositiveInt = 20,
    num_examples: PositiveInt = 64,
    steps: PositiveInt = 300,
) -> StudyResult:
    """Measure activations, gradients and learning from each initialization.

    Args:
      num_seeds: networks of each kind.
      width: units of each layer.
      large_width: units of each layer where 0.01 and 0.05 randn are measured again.
      tanh_depth: layers of the tanh networks.
      relu_depth: layers of the ReLU networks, and blocks of the residual ones.
      num_examples: random inputs of each network.
      steps: steps of gradient descent on the digits.
    """
    depths = {"tanh": tanh_depth, "relu": relu_depth}
    results = {
        (kind, name, width): measure(name, kind, width, depth, num_examples, num_seeds)
        for kind, depth in depths.items()
        for name in INITS
    }
    for name in ("0.01 randn", "0.05 randn"):
        results["tanh", name, large_width] = measure(
            name, "tanh", large_width, tanh_depth, min(num_examples, 16), num_seeds
        )
    biased = {name: measure(name, "relu", width, relu_depth, 4, num_seeds, 0.01)["dead"] for name in INITS}
    unbiased = {name: measure(name, "relu", width, relu_depth, 4, num_seeds)["dead"] for name in INITS}
    kaiming_last = residual("Kaiming", min(width, 256), relu_depth, num_seeds)
    zero_last = residual("zero", min(width, 256), relu_depth, num_seeds)
    learned = {name: descend(name, steps, num_seeds) for name in STARTS}

    numbers = {}
    for (kind, name, at), rows in results.items():
        quantities = ("saturated", "median slope") if kind == "tanh" else ("dead",)
        for quantity in ("mean", "deviation", *quantities, "gradient"):
            numbers[f"{kind} {name} {at}: {quantity} per layer"] = [float(f"{v:.4g}") for v in rows[quantity].mean(0)]
    for name in INITS:
        for bias, dead in ((0, unbiased[name]), (0.01, biased[name])):
            numbers[f"dead of four examples, {name}, bias {bias}: first layer"] = dead[:, 0].tolist()
            numbers[f"dead of four examples, {name}, bias {bias}: all layers"] = dead.mean(1).tolist()
    for what, rows in (("Kaiming", kaiming_last), ("last layer zero", zero_last)):
        numbers[f"variance after the residual blocks over the input's, {what}"] = rows[:, -1].tolist()
    numbers |= {f"digits from {name}: {key}": values for name, rows in learned.items() for key, values in rows.items()}
    tried, misses = check_bands(results)
    stuck, same, fewer, stays = judge(learned, unbiased, biased, kaiming_last, zero_last)
    holds = not misses and stuck and same and fewer and stays
    at = {key: rows["deviation"].mean(0)[-1] for key, rows in results.items()}
    saturated = {w: results["tanh", "0.05 randn", w]["saturated"][:, -1].mean() for w in (width, large_width)}
    slope = np.median(results["tanh", "0.05 randn", large_width]["median slope"][:, -1])
    second = {name: summary(results["relu", name, width])["second moment, last over first"].mean() for name in INITS}
    verdict = (
        f"After {tanh_depth} tanh layers of width {width} the deviation is {at['tanh', '0.01 randn', width]:.2g} from "
        f"0.01 randn and {at['tanh', 'Xavier', width]:.2f} from Xavier; 0.05 randn saturates {saturated[width]:.1%} of "
        f"the last layer's units, and {saturated[large_width]:.0%} at width {large_width}, where the local gradient's "
        f"median is {slope:.2f}. From the first to the last of {relu_depth} ReLU layers the second moment changes "
        f"{second['Xavier']:.1g} times with Xavier, {second['Kaiming']:.2f} times with Kaiming. Of {tried} numbers "
        f"with a band {tried - len(misses)} lie in it{'; outside: ' if misses else ''}{'; '.join(misses)}. Zero "
        f"weights {'never moved' if stuck else 'MOVED'}, constant ones "
        f"{'stayed the same in all units' if same else 'did NOT stay the same in all units'}. A bias of 0.01 leaves "
        f"{'fewer' if fewer else 'NOT fewer'} units dead in the first layer. Variance grows "
        f"{kaiming_last[:, -1].mean():.2g} times over {relu_depth} residual blocks, and {zero_last[:, -1].mean():.2g} "
        "times where their last layer is zero."
    )
    figures = {"histograms": histograms(results), "depth": curves(results, width)}
    headline = Headline(
        "second moment after the ReLU layers over before, Kaiming",
        summary(results["relu", "Kaiming", width])["second moment, last over first"],
        "normal inputs",
    )
    return StudyResult(numbers, verdict, figures, bool(holds), headline)


def histograms(results: dict):
    """Draw the activations of the first seed, a row a net, a column a layer; the bar of ReLUs' zeros is cut off."""
    rows = [(k, n, w) for k, n, w in results if k == "tanh"] + [(k, n, w) for k, n, w in results if k == "relu"]
    columns = max(results[key]["histogram"].shape[1] for key in rows if key[0] == "tanh")
    figure, grid = new_figure((1.5 * columns, 1.1 * len(rows)), len(rows), columns, squeeze=False)
    for line, (kind, name, at) in zip(grid, rows, strict=True):
        counts, edges = results[kind, name, at]["histogram"][0], results[kind, name, at]["edges"][0]
        layer_idx = np.linspace(0, len(counts) - 1, columns).round().astype(int)
        for axes, layer in zip(line, layer_idx, strict=True):
            axes.stairs(counts[layer], edges, fill=True, color=BLUE if kind == "tanh" else VERMILION)
            if kind == "relu" and counts[layer][1:].any():
                axes.set_ylim(0, 1.5 * counts[layer][1:].max())
            axes.set_yticks([])
            axes.tick_params(labelsize=6)
            axes.set_title(f"layer {layer + 1}", fontsize=6, pad=2)
        line[0].set_ylabel(f"{kind}, {at}\n{name}", fontsize=7)
    return figure


def curves(results: dict, width: int):
    """Draw deviation and gradient by layer."""
    figure, grid = new_figure((9, 5.5), 2, 2)
    for column, kind in enumerate(ACTIVATIONS):
        for row, quantity in enumerate(("deviation", "gradient")):
            axes = grid[row, column]
            for (other, name, at), rows in results.items():
                if other == kind:
                    mean = rows[quantity].mean(0).clip(1e-30)
                    axes.plot(np.arange(1, len(mean) + 1), mean, "-" if at == width else "--", label=f"{name}, {at}")
            axes.set_yscale("log")
            axes.set_title(f"{kind}: {quantity if row == 0 else 'gradient that arrives'}", fontsize=9)
            axes.set_xlabel("layer")
            axes.grid(alpha=0.3)
        grid[0, column].legend(frameon=False, fontsize=7)
    return figure


SMOKE = {
    "num_seeds": 1,
    "width": 64,
    "large_width": 96,
    "tanh_depth": 3,
    "relu_depth": 4,
    "num_examples": 8,
    "steps": 20,
}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)
