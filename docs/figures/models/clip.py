"""Figure of dlcore.models.clip; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.layers import layer_costs, total
from dlcore.models import create_model
from dlcore.report.figure import PALETTE, new_figure
from experiments.figure_parts import parameters_by_part, stacked_bars

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["clip"]


def clip() -> "Figure":
    """Parameters of both towers of published CLIP and SigLIP models, and the multiply-adds of an image and of a text.

    Smaller patches cost no parameters but more tokens: ViT-B/16 has about as many as ViT-B/32, at about four times
    the multiply-adds of an image. A text is of the full window.
    """
    parts = {"blocks of texts": "text_(?!pos)", "table of tokens": "token_embed|text_pos", "images": "."}
    names = ("clip_vit_b_32", "clip_vit_b_16", "clip_vit_l_14", "siglip_base_patch16_224")
    figure, (left, right) = new_figure((7, 2.8), 1, 2, sharey=True)
    stacked_bars(left, names, [parameters_by_part(name, parts) for name in names])
    left.set(xlabel="parameters in millions")
    left.legend(frameon=False, fontsize=9, loc="upper right")
    macs = {"an image": [], "a text": []}
    for name in names:
        model = create_model(name)
        image = jax.ShapeDtypeStruct((1, model.image_size, model.image_size, 3), jnp.float32)
        text = jax.ShapeDtypeStruct((1, model.window), jnp.int32)
        macs["an image"].append(total(layer_costs(model, image, method="encode_image")).macs / 1e9)
        macs["a text"].append(total(layer_costs(model, text, method="encode_text")).macs / 1e9)
    for shift, (label, values) in zip((-0.2, 0.2), macs.items(), strict=True):
        right.barh(np.arange(len(names)) + shift, values, height=0.4, label=label, color=PALETTE[3 if shift < 0 else 4])
    right.set(xlabel="multiply-adds in billions")
    right.legend(frameon=False, fontsize=9, loc="upper right")
    return figure
