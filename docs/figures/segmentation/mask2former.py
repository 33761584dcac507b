"""Figure of dlcore.segmentation.mask2former; its docstring is the caption."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.data.sample_images import sample_image
from dlcore.report.figure import new_figure, show_image
from dlcore.segmentation.mask2former import Mask2Former
from experiments.figure_parts import MeanMaps, random_variables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["mask2former"]


def mask2former() -> "Figure":
    """What one query of a random network may read in its first three layers: the white cells.

    Each layer reads a finer map, of 8, 16 and 32 cells a side, and only the cells of the mask that the query predicted
    just before. A number is their share of the map. In MaskFormer a query reads all cells of one coarse map in every
    layer.
    """
    figure, axes = new_figure((7, 2), 1, 4)
    image = jnp.asarray(sample_image("flower", 64)[None, :, 16:80] / 127.5 - 1, jnp.float32)
    show_image(axes[0], image[0] / 2 + 0.5, "image")
    for ax, mask in zip(axes[1:], masks_of_layers(image, 10), strict=True):
        show_image(ax, mask, f"{len(mask)} x {len(mask)}: {mask.mean():.0%}", cmap="Greys_r", vmin=-0.5, vmax=1)
    return figure


def masks_of_layers(image: jax.Array, seed: int) -> list[np.ndarray]:
    """Masks [side, side] bool that the layers of a network of one query give to their attention."""
    widths = dict.fromkeys(("features", "hidden_features", "pixel_features", "mask_features"), 32)
    layers = {"num_queries": 1, "num_heads": 4, "decoder_layers": 3, "encoder_layers": 0}
    model, masks = Mask2Former(MeanMaps(), 2, stage_norms=False, **widths, **layers), []

    def listen(call: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
        if context.module.name == "cross_attn":
            mask = np.asarray(kwargs["mask"][0, 0, 0])
            masks.append(mask.reshape(int(mask.size**0.5), -1))
        return call(*args, **kwargs)

    variables = random_variables(model, seed, image)
    with nn.intercept_methods(listen):
        model.apply(variables, image)
    return masks
