"""What several figures of docs/figures draw or count."""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.generative.autoregressive import learner
from dlcore.models import create_model
from dlcore.models.registry import example_inputs
from dlcore.report.figure import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "direct_convolution",
    "influence_by_pixel",
    "influence_by_word",
    "parameters_by_part",
    "random_variables",
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


def random_variables(model: Any, *inputs: Any, gain: float = 1.0, **kwargs: Any) -> Any:
    """Normal variables of a network, none of them zero: matrices of deviation gain / sqrt(inputs), others of 0.1."""
    shapes = jax.eval_shape(functools.partial(model.init, **kwargs), jax.random.key(0), *inputs)
    generator = np.random.default_rng(0)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        deviation = gain / np.prod(leaf.shape[:-1]) ** 0.5 if len(leaf.shape) > 1 else 0.1
        is_factor = path[-1].key in ("scale", "var")
        return (is_factor + deviation * generator.normal(size=leaf.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def influence_by_pixel(model: Any, x: jax.Array, variables: Any, place: tuple[int, ...]) -> np.ndarray:
    """Norm [H, W] of the change of the output at a place if one pixel of x [1, H, W, 1] moves by 1."""
    pixels = np.arange(x.size)
    moved = np.repeat(np.asarray(x).reshape(1, -1), x.size, 0)
    moved[pixels, pixels] += 1
    inputs = np.concatenate([x, moved.reshape(-1, *x.shape[1:])])
    outputs = np.asarray(jax.jit(model.apply)(variables, inputs))[(slice(None), *place)].reshape(len(inputs), -1)
    return np.linalg.norm(outputs[1:] - outputs[0], axis=1).reshape(x.shape[1:3])


def autoregressive_params(model: Any, batch: Mapping[str, Any], shape: tuple[int, ...], steps: int) -> Any:
    """Parameters after steps of the learner of autoregressive models, on random batches of 128."""
    train = learner(model=model, optimizer=optax.adam(3e-3), shape=shape, binarization="threshold")
    data = {name: jnp.asarray(rows) for name, rows in batch.items()}
    data["index"] = jnp.arange(len(next(iter(data.values()))))

    def step(state: Any, key: jax.Array) -> tuple[Any, None]:
        rows = jax.random.randint(key, (128,), 0, len(data["index"]))
        return train.update(state, {name: x[rows] for name, x in data.items()})[0], None

    keys = jax.random.split(jax.random.key(0), steps + 1)
    return jax.jit(lambda state: jax.lax.scan(step, state, keys[1:])[0].params)(train.init(keys[0], data))
