"""Figure of dlcore.generative.vq_vae_prior; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.digits import digits
from dlcore.generative.autoregressive import sample
from dlcore.generative.fvbn import MADE
from dlcore.generative.vq_vae import codebook_from, codebook_usage, nearest_codes, prior_loss, update_codebook
from dlcore.generative.vq_vae_prior import HistogramBits
from dlcore.ops.patches import patchify, unpatchify
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure, show_image
from experiments.figure_parts import autoregressive_params

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["vq_vae_prior"]


def vq_vae_prior() -> "Figure":
    """Digits as 4 x 4 codes of patches of 2 x 2 pixels, out of a table of 16.

    Left: codes drawn evenly, and looked up. Middle: codes drawn by a prior (MADE, 400 steps) that predicts each from
    those before it; strokes join. Right: bits of a code of a test digit: even codes take 4, their frequencies alone
    save some, and the context saves more.
    """
    figure, (left, middle, right) = new_figure((7.2, 2.6), 1, 3, width_ratios=(1.2, 1.2, 1))
    train, test = (patchify(jnp.asarray(digits(part).arrays["image"]), 2) for part in ("train", "test"))
    table = _table(train.reshape(-1, 4))
    codes, test_codes = (nearest_codes(x, table).reshape(-1, 4, 4) for x in (train, test))
    model = MADE(levels=16, hidden_sizes=(512,))
    params = autoregressive_params(model, {"codes": codes}, (4, 4, 1), 400)
    keys = jax.random.split(jax.random.key(1), 15)
    even = jax.random.randint(keys[0], (15, 4, 4), 0, 16)
    drawn = sample(model, params, keys, (4, 4, 1))[..., 0]
    for ax, grid, name in ((left, even, "codes drawn evenly"), (middle, drawn, "drawn by the prior")):
        pictures = np.asarray(unpatchify(table[grid].reshape(15, 16, 4), 2, 8, 8))[..., 0].reshape(3, 5, 8, 8)
        show_image(ax, np.block([[np.pad(picture, 1) for picture in row] for row in pictures]), name, cmap="Greys")
    mask = jnp.ones(len(test_codes))
    counts = codebook_usage(test_codes, mask, 16)["perplexity"].counts
    bits = {
        "even": np.log2(16),
        "frequencies": HistogramBits(counts).compute(),
        "prior": prior_loss(model, params, test_codes, mask)[1]["prior_bits"].compute(),
    }
    bars = right.bar(list(bits), list(bits.values()), color=(GRAY, VERMILION, BLUE))
    right.bar_label(bars, fmt="%.2f", fontsize=8)
    right.set(ylabel="bits of a code")
    right.tick_params(axis="x", labelsize=8)
    return figure


def _table(patches: jax.Array) -> jax.Array:
    """Vectors [16, 4] of the codes after 60 updates, from dark to bright."""

    def step(book, key):
        some = patches[jax.random.randint(key, (2000,), 0, len(patches))]
        chosen = nearest_codes(some, book.vectors)
        return update_codebook(book, some, chosen, jnp.ones(2000), key, decay=0.9, restart_below=0.03), None

    keys = jax.random.split(jax.random.key(0), 61)
    book = jax.jit(lambda book: jax.lax.scan(step, book, keys[1:])[0])(codebook_from(keys[0], patches, 16))
    return book.vectors[book.vectors.sum(1).argsort()]
