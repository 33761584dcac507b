"""What several figures of docs/figures draw or count."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from dlcore.data.sample_images import sample_image
from dlcore.models import create_model
from dlcore.models.registry import example_inputs
from dlcore.report.figure import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "direct_convolution",
    "influence_by_word",
    "parameters_by_part",
    "photograph_tiles",
    "square_photograph",
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


def photograph_tiles(side: int) -> np.ndarray:
    """Four square parts of two photographs, [4, side, side, 3] float32 in [0, 1]."""
    photos = [sample_image(name, 2 * side)[None] / 255 for name in ("china", "flower")]
    tiles = [photo[:, :side, left : left + side] for photo in photos for left in (0, side)]
    return np.concatenate(tiles).astype(np.float32)


def square_photograph() -> np.ndarray:
    """A square part of the photograph of a pagoda, [224, 224, 3] float32 in [0, 1]."""
    return (sample_image("china", 256)[:224, 40:264] / 255).astype(np.float32)
