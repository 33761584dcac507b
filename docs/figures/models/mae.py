"""Figure of dlcore.models.mae; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.layers import layer_costs, total
from dlcore.data.sample_images import fit_to, sample_image
from dlcore.models import create_model
from dlcore.models.mae import MAE
from dlcore.ops.patches import patchify, unpatchify
from dlcore.report.figure import GRAY, PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["mae"]


def mae() -> "Figure":
    """A photograph of 224 x 224 pixels, the patches of 16 pixels that the encoder sees, and what the networks cost.

    The encoder computes for the seen patches alone: where three quarters are masked, as here and in the paper (dotted),
    ViT-B needs a third of what it does where one quarter is. The decoder reads all places and costs the same.
    """
    figure, (image, seen, right) = new_figure((7, 2.6), 1, 3, width_ratios=(1, 1, 1.2))
    x = jnp.asarray(fit_to(sample_image("china", 224), (224, 224)))[None] / 255
    noise = jax.random.uniform(jax.random.key(0), (1, 196))
    small = MAE(3, depth=1, width=16, num_heads=1, mlp_features=16, decoder_depth=1, decoder_width=16, decoder_heads=1)
    masked = small.init_with_output(jax.random.key(0), x, noise)[0]["mask"][..., None]
    image.imshow(x[0])
    seen.imshow(unpatchify(jnp.where(masked, 0.75, patchify(x, 16)), 16, 224, 224)[0])
    image.set_axis_off()
    seen.set_axis_off()
    ratios, macs = np.array([0.25, 0.5, 0.75]), {"encoder": [], "decoder": []}
    for ratio in ratios.tolist():
        model = create_model("mae_vit_b_16", mask_ratio=ratio)
        layers = layer_costs(model, jax.ShapeDtypeStruct(x.shape, jnp.float32), noise)
        decoder = sum(layer.macs for layer in layers if layer.path.startswith("decoder")) / 1e9
        macs["decoder"].append(decoder)
        macs["encoder"].append(total(layers).macs / 1e9 - decoder)
    for (label, values), color in zip(macs.items(), PALETTE, strict=False):
        right.plot(100 * ratios, values, "o-", color=color, label=label)
    right.axvline(100 * small.mask_ratio, color=GRAY, linestyle=":")
    right.set(xlabel="masked patches in %", ylabel="multiply-adds in billions", ylim=(0, None), xticks=100 * ratios)
    right.legend(frameon=False, fontsize=8)
    return figure
