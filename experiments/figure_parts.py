"""What several figures of docs/figures draw or count."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.data.digits import digits
from dlcore.models import create_model
from dlcore.models.registry import example_inputs
from dlcore.report.figure import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "digit_network",
    "direct_convolution",
    "influence_by_word",
    "losses_by_rate",
    "parameters_by_part",
    "stacked_bars",
]


def parameters_by_part(name: str, parts: Mapping[str, str]) -> dict[str, float]:
    """Millions of parameters of the published model by part: the first pattern that its path matches."""
    shapes = jax.eval_shape(create_model(name).init, jax.random.key(0), *example_inputs(name, {}))
    sums = dict.fromkeys(parts, 0.0)
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        named = "/".join(key.key for key in path)
        sums[next(part for part, pattern in parts.items() if re.search(pattern, named))] += leaf.size / 1e6
    return sums


def stacked_bars(axes: "Axes", names: Sequence[str], rows: Sequence[Mapping[str, float]]) -> None:
    """A horizontal bar for each name, stacked of its parts."""
    left = np.zeros(len(names))
    for part, color in zip(rows[0], PALETTE, strict=False):
        widths = np.array([row[part] for row in rows])
        axes.barh(names, widths, left=left, color=color, label=part, height=0.7)
        left += widths
    axes.invert_yaxis()


def influence_by_word(model: Any) -> np.ndarray:
    """Change of the logits of each of 20 words by a random step of what `encode` gives, mean of four captions."""
    keys = jax.random.split(jax.random.key(0), 4)
    images, tokens = jax.random.normal(keys[0], (4, 32, 32, 3)), jax.random.randint(keys[1], (4, 20), 4, 50)

    @jax.jit
    def moved() -> jax.Array:
        variables = model.init(keys[2], images, tokens)
        memory = model.apply(variables, images, method="encode")
        step = jax.tree.map(lambda x: jax.random.normal(keys[3], x.shape), memory)
        return jax.jvp(lambda memory: model.apply(variables, memory, tokens, method="decode"), (memory,), (step,))[1]

    return np.linalg.norm(moved(), axis=-1).mean(0)


def direct_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolve by XLA's own convolution."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def digit_network(steps: int, hidden: int = 32) -> tuple[Callable, list[jax.Array], tuple[jax.Array, jax.Array]]:
    """A network of one hidden layer on digits: (loss of (weights, batch), weights, a batch of 32 for each step)."""
    arrays, keys = digits("train").arrays, jax.random.split(jax.random.key(0))
    rows = np.random.default_rng(0).integers(len(arrays["label"]), size=(steps, 32))
    batches = jnp.asarray(arrays["image"][rows].reshape(steps, 32, -1)), jnp.asarray(arrays["label"][rows])

    def loss(weights: list[jax.Array], batch: tuple[jax.Array, jax.Array]) -> jax.Array:
        logits = jnp.tanh(batch[0] @ weights[0]) @ weights[1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()

    shapes = (batches[0].shape[-1], hidden), (hidden, 10)
    weights = [jax.random.normal(key, shape) / shape[0] ** 0.5 for key, shape in zip(keys, shapes, strict=True)]
    return loss, weights, batches


def losses_by_rate(loss: Callable, weights: Any, batches: Any, rates: Sequence[float]) -> np.ndarray:
    """Losses [rates, steps] of plain gradient steps at each constant rate, one step a batch."""

    def run(rate: jax.Array) -> jax.Array:
        def step(weights: Any, batch: Any) -> tuple[Any, jax.Array]:
            value, gradient = jax.value_and_grad(loss)(weights, batch)
            return jax.tree.map(lambda w, g: w - rate * g, weights, gradient), value

        return jax.lax.scan(step, weights, batches)[1]

    return np.asarray(jax.jit(jax.vmap(run))(jnp.asarray(rates)))
