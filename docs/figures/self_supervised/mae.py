"""Figure of dlcore.self_supervised.mae; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.models.mae import visible_count
from dlcore.nn import TransformerEncoderBlock
from dlcore.ops import patchify
from dlcore.report.figure import BLUE, GRAY, SKY, new_figure, show_image
from dlcore.self_supervised.mae import patch_targets
from experiments.figure_parts import square_photograph

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["mae"]


def mae() -> "Figure":
    """What MAE sees, what it predicts, and what it computes.

    Left: the encoder sees 49 of 196 patches. Middle: its targets in the hidden places, each patch with mean 0 and
    variance 1. Right: operations of the published model's blocks by the share that is masked. The encoder reads visible
    patches alone; at 75 % encoder and decoder together need 19 GFLOP, and an encoder that reads all patches (dashes)
    35.
    """
    figure, (left, middle, right) = new_figure((7, 2.5), 1, 3, width_ratios=[1, 1, 1.5])
    photo = square_photograph()
    seen = np.argsort(jax.random.uniform(jax.random.key(1), (196,)))[: visible_count(196, 0.75)]
    is_seen = np.kron(np.isin(np.arange(196), seen).reshape(14, 14), np.ones((16, 16), bool))[..., None]
    show_image(left, np.where(is_seen, photo, 0.8), "input")
    targets = patch_targets(patchify(photo[None], 16), norm_pix_loss=True)[0]
    targets = np.asarray(targets).reshape(14, 14, 16, 16, 3).swapaxes(1, 2).reshape(224, 224, 3)
    show_image(middle, np.where(is_seen, 0.8, np.clip(0.5 + 0.2 * targets, 0, 1)), "targets")
    ratios = np.array([0.25, 0.5, 0.75, 0.9])
    encoder = [operations(1 + visible_count(196, ratio), 12, 768, 12) for ratio in ratios]
    right.bar(range(4), encoder, color=BLUE, label="encoder")
    right.bar(range(4), [operations(197, 16, 512, 8)] * 4, bottom=encoder, color=SKY, label="decoder")
    right.axhline(operations(197, 12, 768, 12), color=GRAY, linestyle="--", label="encoder, all patches")
    right.set(xlabel="patches masked (%)", ylabel="GFLOP per image", ylim=(0, 62))
    right.set_xticks(range(4), [f"{100 * r:.0f}" for r in ratios])
    right.legend(frameon=False, fontsize=8)
    return figure


def operations(tokens: int, heads: int, width: int, depth: int) -> float:
    """Billions of operations of `depth` transformer blocks."""
    block, x = TransformerEncoderBlock(heads, 4 * width, pre_norm=True), jnp.zeros((1, tokens, width))
    params = jax.eval_shape(block.init, jax.random.key(0), x)
    return depth * jax.jit(lambda params: block.apply(params, x)).lower(params).cost_analysis()["flops"] / 1e9
