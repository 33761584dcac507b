"""What several figures of docs/figures draw or count."""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from matplotlib.patches import Rectangle

from dlcore.data.digits import digits
from dlcore.data.sample_images import sample_image
from dlcore.generative import autoregressive
from dlcore.learner import Learner, Sum
from dlcore.models import create_model
from dlcore.models.registry import example_inputs
from dlcore.ops import avg_pool
from dlcore.report.figure import BLACK, BLUE, GRAY, PALETTE, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "MeanMaps",
    "Perceptron",
    "cells_that_change",
    "digit_network",
    "direct_convolution",
    "draw_border",
    "draw_boxes",
    "draw_reach",
    "embedded_digits",
    "few_labels",
    "influence_by_pixel",
    "influence_by_word",
    "learning_curves",
    "losses_by_rate",
    "nonzero_variables",
    "parameters_by_part",
    "photograph_tiles",
    "random_variables",
    "square_photograph",
    "stacked_bars",
    "two_moons",
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


def draw_boxes(axes: "Axes", boxes: Any, color: str, style: str = "-", width: float = 1.2) -> None:
    """Outline boxes [N, 4] of corners."""
    for x0, y0, x1, y1 in np.asarray(boxes):
        patch = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color=color, linestyle=style, linewidth=width)
        axes.add_patch(patch)


def cells_that_change(pyramid: Callable, maps: Sequence[jax.Array]) -> list[list[np.ndarray]]:
    """Change of each level [h, w] that a pyramid gives, by a step in the middle cell of each map [1, h, w, C]."""
    changes = []
    for i, source in enumerate(maps):
        step = [jnp.zeros_like(x) for x in maps]
        step[i] = step[i].at[0, source.shape[1] // 2, source.shape[2] // 2].set(1.0)
        moved = jax.jvp(pyramid, (list(maps),), (step,))[1]
        changes.append([np.linalg.norm(level[0], axis=-1) for level in moved])
    return changes


def draw_reach(
    axes: "Axes", changes: Sequence[Sequence[np.ndarray]], maps: Sequence[str], levels: Sequence[str]
) -> None:
    """Table of the cells of each level (column) that change with each map (row)."""
    counts = np.array([[(change > 1e-6).sum() for change in row] for row in changes])
    axes.imshow(counts > 0, cmap="Blues", vmin=0, vmax=2)
    for (i, j), count in np.ndenumerate(counts):
        axes.text(j, i, count, ha="center", va="center")
    axes.set(xticks=range(len(levels)), yticks=range(len(maps)), xlabel="level", ylabel="map that changes")
    axes.set_xticklabels(levels)
    axes.set_yticklabels(maps)


def random_variables(model: Any, seed: int, *args: Any, **kwargs: Any) -> Any:
    """Variables of a model with He's normal kernels, drawn by numpy, which compiles nothing; scales and variances 1."""
    shapes = jax.eval_shape(lambda key: model.init(key, *args, **kwargs), jax.random.key(0))
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        name = path[-1].key
        if name in ("bias", "mean"):
            return np.zeros(leaf.shape, np.float32)
        if name in ("scale", "var"):
            return np.ones(leaf.shape, np.float32)
        deviation = (2 / np.prod(leaf.shape[:-1])) ** 0.5 if name == "kernel" else 1.0
        return (deviation * rng.normal(size=leaf.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


class MeanMaps(nn.Module):
    """A backbone whose maps are means of the image over larger and larger cells, so that only a head mixes places."""

    def features(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Maps of strides 1, 2, 4 and 8, of as many channels as the image."""
        return {f"stage{i + 1}": avg_pool(x, (2**i, 2**i), (2**i, 2**i)) for i in range(4)}


def photograph_tiles(side: int) -> np.ndarray:
    """Four square parts of two photographs, [4, side, side, 3] float32 in [0, 1]."""
    photos = [sample_image(name, 2 * side)[None] / 255 for name in ("china", "flower")]
    tiles = [photo[:, :side, left : left + side] for photo in photos for left in (0, side)]
    return np.concatenate(tiles).astype(np.float32)


def square_photograph() -> np.ndarray:
    """A square part of the photograph of a pagoda, [224, 224, 3] float32 in [0, 1]."""
    return (sample_image("china", 256)[:224, 40:264] / 255).astype(np.float32)


class Perceptron(nn.Module):
    """Hidden layers of tanh over the numbers of an example: [B, ...] -> [B, classes]."""

    classes: int = 2
    width: int = 32
    depth: int = 2

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Scores of the classes."""
        x = x.reshape(len(x), -1)
        for _ in range(self.depth):
            x = nn.tanh(nn.Dense(self.width)(x))
        return nn.Dense(self.classes)(x)


def two_moons(count: int = 600, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Points of two interlocking half circles as images [count, 1, 1, 2], and their classes."""
    from sklearn.datasets import make_moons

    points, labels = make_moons(count, noise=noise, random_state=0)
    return np.float32(points)[:, None, None], np.int32(labels)


def embedded_digits(count: int = 1797) -> tuple[np.ndarray, np.ndarray]:
    """The first of scikit-learn's digits as images [count, 8, 8, 1] in [0, 1], and their classes."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return np.float32(data.images)[:count, ..., None] / 16, np.int32(data.target)[:count]


def few_labels(images: np.ndarray, labels: np.ndarray, count: int, unlabeled: int) -> tuple[dict, dict]:
    """A batch of two streams, `count` labels a class and `unlabeled` images, and a batch of the rest to measure by."""
    labeled = np.concatenate([np.flatnonzero(labels[:unlabeled] == c)[:count] for c in np.unique(labels)])
    index = np.arange(len(labels))
    batch = {
        "labeled": {"image": images[labeled], "label": labels[labeled], "index": labeled},
        "unlabeled": {"image": images[:unlabeled], "hidden_label": labels[:unlabeled], "index": index[:unlabeled]},
    }
    return batch, {"image": images[unlabeled:], "label": labels[unlabeled:], "index": index[unlabeled:]}


def learning_curves(learner: Learner, batch: dict, rest: dict, steps: int) -> tuple[Any, dict[str, np.ndarray]]:
    """The state after updates on one batch, and the means that each logs; rest/NAME are those of `evaluate`."""

    def step(state: Any, _: None) -> tuple[Any, dict]:
        state, metrics = learner.update(state, batch)
        metrics = {**metrics, **{f"rest/{name}": value for name, value in learner.evaluate(state, rest).items()}}
        return state, {name: value.total / value.count for name, value in metrics.items() if isinstance(value, Sum)}

    batch, rest = jax.tree.map(jnp.asarray, (batch, rest))
    first = learner.init(jax.random.key(0), batch)
    state, curves = jax.jit(lambda state: jax.lax.scan(step, state, length=steps))(first)
    return state, {name: np.asarray(values) for name, values in curves.items()}


def draw_border(axes: "Axes", batch: dict, learner: Learner, state: Any) -> None:
    """Points of two streams, and where a classifier of points takes the second of two classes (red)."""
    points, labeled = batch["unlabeled"]["image"].reshape(-1, 2), batch["labeled"]
    sides = (np.linspace(*x, 80, dtype=np.float32) for x in zip(points.min(0) - 0.3, points.max(0) + 0.3, strict=True))
    a, b = np.meshgrid(*sides)
    grid = {"image": np.stack([a, b], -1).reshape(-1, 1, 1, 2), "index": np.arange(a.size)}
    probs = np.asarray(learner.predict(state, grid)["probabilities"][:, 1]).reshape(a.shape)
    axes.contourf(a, b, probs, [0, 0.5, 1], colors=[BLUE, VERMILION], alpha=0.15)
    axes.plot(*points.T, ".", color=GRAY, markersize=2)
    colors = np.where(labeled["label"], VERMILION, BLUE)
    axes.scatter(*labeled["image"].reshape(-1, 2).T, marker="X", s=50, c=colors, edgecolors=BLACK)
    axes.set(xlabel="x1", ylabel="x2")


def nonzero_variables(model: Any, *inputs: Any, gain: float = 1.0, **kwargs: Any) -> Any:
    """Normal variables of a network, none of them zero: matrices of deviation gain / sqrt(inputs), others of 0.1."""
    shapes = jax.eval_shape(functools.partial(model.init, **kwargs), jax.random.key(0), *inputs)
    generator = np.random.default_rng(0)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        deviation = gain / np.prod(leaf.shape[:-1]) ** 0.5 if len(leaf.shape) > 1 else 0.1
        is_factor = path[-1].key in ("scale", "var")
        return (is_factor + deviation * generator.normal(size=leaf.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def influence_by_pixel(model: Any, x: jax.Array, variables: Any, position: tuple[int, ...]) -> np.ndarray:
    """Norm [H, W] of the change of the output at a place if one pixel of x [1, H, W, 1] moves by 1."""
    pixels = np.arange(x.size)
    moved = np.repeat(np.asarray(x).reshape(1, -1), x.size, 0)
    moved[pixels, pixels] += 1
    inputs = np.concatenate([x, moved.reshape(-1, *x.shape[1:])])
    outputs = np.asarray(jax.jit(model.apply)(variables, inputs))[(slice(None), *position)].reshape(len(inputs), -1)
    return np.linalg.norm(outputs[1:] - outputs[0], axis=1).reshape(x.shape[1:3])


def autoregressive_params(model: Any, batch: Mapping[str, Any], shape: tuple[int, ...], steps: int) -> Any:
    """Parameters after steps of the learner of autoregressive models, on random batches of 128."""
    train = autoregressive.learner(model=model, optimizer=optax.adam(3e-3), shape=shape, binarization="threshold")
    data = {name: jnp.asarray(rows) for name, rows in batch.items()}
    data["index"] = jnp.arange(len(next(iter(data.values()))))

    def step(state: Any, key: jax.Array) -> tuple[Any, None]:
        rows = jax.random.randint(key, (128,), 0, len(data["index"]))
        return train.update(state, {name: x[rows] for name, x in data.items()})[0], None

    keys = jax.random.split(jax.random.key(0), steps + 1)
    return jax.jit(lambda state: jax.lax.scan(step, state, keys[1:])[0].params)(train.init(keys[0], data))


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
