"""Figure of dlcore.models.vision_encoder_decoder; its docstring is the caption."""

import re
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.cost.layers import layer_costs
from dlcore.models import create_model
from dlcore.report.figure import new_figure
from experiments.figure_parts import stacked_bars

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["vision_encoder_decoder"]


def vision_encoder_decoder() -> "Figure":
    """Multiply-adds of the published captioner for an image of 224 x 224 pixels and texts of 16 and of 64 tokens.

    The ViT reads the image once, whatever the text; the decoder's cost grows with the tokens. To project the image's
    197 tokens to keys and values is the same for every length.
    """
    parts = {
        "ViT": r"^encoder",
        "keys and values of the image": r"cross_attn/(key|value)",
        "attention to the image": "cross_attn",
        "self-attention": "/attn",
        "feed-forward": "/mlp",
        "head": ".",
    }
    figure, axes = new_figure((7, 2.5))
    model, image, rows, lengths = (
        create_model("vit_gpt2"),
        jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32),
        [],
        (16, 64),
    )
    for length in lengths:
        row = dict.fromkeys(parts, 0.0)
        for layer in layer_costs(model, image, jnp.zeros((1, length), int)):
            row[next(part for part, pattern in parts.items() if re.search(pattern, layer.path))] += layer.macs / 1e9
        rows.append(row)
    stacked_bars(axes, [f"{length} tokens" for length in lengths], rows)
    axes.set(xlabel="multiply-adds in billions")
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure
