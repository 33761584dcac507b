"""Figure of dlcore.models.llama; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.models import create_model
from dlcore.report.figure import PALETTE, new_figure
from experiments.figure_parts import parameters_by_part, stacked_bars

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["llama"]


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
    rows = [{part: n / 1e3 for part, n in parameters_by_part(name, parts).items()} for name in names]
    stacked_bars(right, names, rows)
    right.set(xlabel="parameters in billions")
    right.legend(frameon=False, fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.4, 1))
    return figure
