"""Figure of dlcore.self_supervised.beit; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from matplotlib import colormaps

from dlcore.classic_ml.kmeans import kmeans
from dlcore.ops import patchify
from dlcore.report.figure import new_figure, show_image
from dlcore.self_supervised.beit import patch_codes
from dlcore.self_supervised.patch_masks import random_mask
from experiments.figure_parts import square_photograph

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["beit"]


def beit() -> "Figure":
    """The targets of BEiT: the code of each masked patch, by a tokenizer with eight codes.

    Left: the input; 40 % of the patches are masked. Middle: the codes that the network must predict. Right: patches
    with the same code, a row for each. A code says what kind of texture a patch shows, and not its exact pixels. This
    tokenizer is k-means on the patches.
    """
    figure, (left, middle, right) = new_figure((7, 2.8), 1, 3)
    photo = square_photograph()
    images = jnp.asarray(photo)[None]
    patches = patchify(images, 16)[0]
    frozen = {"autoencoder": {}, "codebook": kmeans(jax.random.key(0), patches, 8, restarts=1).centers}
    codes = np.asarray(patch_codes(PatchTokenizer(), frozen, images, (14, 14)))[0]
    masked = np.asarray(random_mask(jax.random.key(1), (14, 14), 0.4, 2))
    show_image(left, np.where(np.kron(masked.reshape(14, 14), np.ones((16, 16)))[..., None] > 0, 0.8, photo), "input")
    show_image(middle, np.where(masked, codes, np.nan).reshape(14, 14), "codes to predict", cmap="Set2", vmin=0, vmax=7)
    rows = [np.random.default_rng(0).permutation(np.flatnonzero(codes == code))[:8] for code in range(8)]
    tiles = np.ones((8, 18, 8, 18, 3))
    for code, members in enumerate(rows):
        tiles[code, 1:17, : len(members), 1:17] = np.asarray(patches)[members].reshape(-1, 16, 16, 3).swapaxes(0, 1)
    show_image(right, tiles.reshape(144, 144, 3), "patches by code")
    for code in range(8):
        right.plot(-8, 18 * code + 8, "s", color=colormaps["Set2"](code), markersize=7, clip_on=False)
    return figure


class PatchTokenizer(nn.Module):
    """A tokenizer whose features of a patch are its pixels."""

    def encode(self, x: jax.Array) -> jax.Array:
        """[B, H, W, 3] to [B, H / 16, W / 16, 768]."""
        return patchify(x, 16).reshape(len(x), x.shape[1] // 16, x.shape[2] // 16, -1)
