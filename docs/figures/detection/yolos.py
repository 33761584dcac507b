"""Figure of dlcore.detection.yolos; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.layers import layer_costs, total
from dlcore.detection.yolos import YOLOS
from dlcore.report.figure import BLUE, GRAY, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["yolos"]


def yolos() -> "Figure":
    """Patches and detection tokens in one sequence: who changes whom, and what it costs.

    Left: mean change of the tokens of each kind (column) at random weights by a step in those of one kind (row), over
    the change of this kind. Detection tokens even change the patches. Right: multiply-adds with 100 detection tokens
    (blue) and with one (gray).
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    changes = _influence(YOLOS(2, (64, 64), 8, depth=4, width=64, num_heads=4, mlp_features=128, num_queries=10))
    left.imshow(changes, cmap="Blues", vmin=0, vmax=1.5)
    for (i, j), value in np.ndenumerate(changes):
        left.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=9)
    kinds = ["class", "patches", "detection"]
    left.set(xticks=range(3), yticks=range(3), xlabel="tokens that change", ylabel="tokens moved")
    left.set_xticklabels(kinds)
    left.set_yticklabels(kinds)
    sides = np.array([224, 384, 512, 640, 800, 1024])
    for queries, color, style in ((100, BLUE, "o-"), (1, GRAY, "s--")):
        images = [jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32) for side in sides]
        costs = [total(layer_costs(YOLOS(91, num_queries=queries), image)).macs / 1e9 for image in images]
        right.plot(
            sides, costs, style, color=color, label=f"{queries} detection token" + "s" * (queries > 1), markersize=4
        )
    right.set(xlabel="side of the image / pixels", ylabel="billion multiply-adds", ylim=(0, None))
    right.legend(frameon=False, fontsize=8)
    return figure


def _influence(model: YOLOS) -> np.ndarray:
    """Mean change of class, patch and detection tokens (columns) by a step of each (rows), over its own change."""
    keys = jax.random.split(jax.random.key(0), 3)
    image = jax.random.normal(keys[0], (1, 64, 64, 3))
    params = jax.jit(model.init)(keys[1], image)["params"]
    count, ends = model.num_queries, (1, -model.num_queries)

    @jax.jit
    def moved(positions):
        def tokens(table):
            variables = {"params": params | {"position_embeddings": table}}
            return model.apply(variables, image, method="tokens")

        table = params["position_embeddings"]
        step = jax.random.normal(keys[2], table.shape) * positions[:, None]
        return jnp.linalg.norm(jax.jvp(tokens, (table,), (step,))[1][0], axis=-1)

    kinds = np.repeat(np.arange(3), [1, params["position_embeddings"].shape[1] - 1 - count, count])
    rows = [[float(change.mean()) for change in np.split(np.asarray(moved(kinds == kind)), ends)] for kind in range(3)]
    return np.array(rows) / np.diag(rows)[:, None]
