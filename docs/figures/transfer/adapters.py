"""Figure of dlcore.transfer.adapters; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.models import create_model
from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.transfer.adapters import IA3, Adapted, BitFit, Bottleneck, Prompts
from dlcore.transfer.lora import LoRA

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["adapters"]


def adapters() -> "Figure":
    """What adapters of ViT-B/16 train, and what many tasks need.

    Left: each kind trains less than 0.4 % of the network's 87 million parameters. Right: memory for the weights of many
    tasks. A copy of the network for each (red) needs 6.4 GiB for 20 tasks; one frozen network with bottlenecks for each
    (blue) stays near 0.33 GiB, so a task costs nearly nothing.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    model, images = create_model("vit_b_16"), jnp.zeros((1, 224, 224, 3))
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    sizes = {"whole network": _size(shapes["params"])}
    methods = {
        "LoRA, rank 8": LoRA(8),
        "bottleneck of 8": Bottleneck(8),
        "prompts, 10 a block": Prompts(10, deep=True),
        "biases": BitFit(),
        "IA3": IA3(),
    }
    for name, method in methods.items():
        adapted = Adapted(model, method, trained=())
        new = jax.eval_shape(adapted.adapt, jax.random.key(0), shapes, images)
        sizes[name] = _size(new["params"])
    left.barh(list(sizes), list(sizes.values()), color=[VERMILION] + [BLUE] * 5)
    for row, size in enumerate(sizes.values()):
        left.text(size * 1.2, row, f"{100 * size / sizes['whole network']:.3g} %", va="center", fontsize=8)
    left.set(xlabel="trained parameters", xscale="log", xlim=(1e4, 2e9))
    left.invert_yaxis()
    tasks = np.arange(1, 21)
    whole = sizes["whole network"] * 4 / 2**30
    right.plot(tasks, whole * tasks, "--", color=VERMILION, label="a network each")
    right.plot(tasks, whole + sizes["bottleneck of 8"] * 4 / 2**30 * tasks, color=BLUE, label="one, with bottlenecks")
    right.set(xlabel="tasks", ylabel="GiB in float32", ylim=(0, None))
    right.legend(frameon=False, fontsize=8)
    return figure


def _size(params: dict) -> int:
    """Number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
