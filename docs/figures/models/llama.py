"""Figure of dlcore.models.llama; its docstring is the caption."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.models import create_model
from dlcore.models.registry import example_inputs
from dlcore.report.figure import PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["llama"]


def _parameters(name: str, parts: Mapping[str, str]) -> dict[str, float]:
    """Millions of parameters of the published model by part: the first pattern that its path matches."""
    shapes = jax.eval_shape(create_model(name).init, jax.random.key(0), *example_inputs(name, {}))
    sums = dict.fromkeys(parts, 0.0)
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        named = "/".join(key.key for key in path)
        sums[next(part for part, pattern in parts.items() if re.search(pattern, named))] += leaf.size / 1e6
    return sums


def _stack(axes: "Axes", names: Sequence[str], rows: Sequence[Mapping[str, float]]) -> None:
    """A horizontal bar for each name, stacked of its parts."""
    left = np.zeros(len(names))
    for part, color in zip(rows[0], PALETTE, strict=False):
        widths = np.array([row[part] for row in rows])
        axes.barh(names, widths, left=left, color=color, label=part, height=0.7)
        left += widths
    axes.invert_yaxis()


def llama() -> "Figure":
    """Memory of the keys and values of one text in bfloat16 by its length, and parameters by part.

    Llama 3 of 8 billion parameters has 32 heads of queries but 8 of keys and values, so that its cache takes a quarter
    of the memory of the same network with 32. Its vocabulary is four times as large, and so are its embeddings.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2, width_ratios=(1, 1.1))
    names, lengths = ("llama2_7b", "llama2_13b", "llama3_8b"), np.array([1, 2048, 4096])
    variants = {name: create_model(name, dtype=jnp.bfloat16) for name in names}
    variants["llama3_8b, 32 heads"] = create_model("llama3_8b", num_kv_heads=32, dtype=jnp.bfloat16)
    for (name, model), color, line in zip(variants.items(), PALETTE, ("-", "-", "-", ":"), strict=False):
        caches = [jax.eval_shape(lambda model=model, n=n: model.init_cache(1, n)) for n in lengths.tolist()]
        sizes = [sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(cache)) for cache in caches]
        left.plot(lengths, np.array(sizes) / 2**30, line, color=color, label=name)
    left.set(xlabel="tokens", ylabel="cache in GiB", ylim=(0, 5))
    left.legend(frameon=False, fontsize=8)
    parts = {"embeddings, head": "embed_tokens|head", "attention": "/attn/", "feed-forward": "/mlp/", "norms": "norm"}
    rows = [{part: n / 1e3 for part, n in _parameters(name, parts).items()} for name in names]
    _stack(right, names, rows)
    right.set(xlabel="parameters in billions")
    right.legend(frameon=False, fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.4, 1))
    return figure
