"""Figure of dlcore.generative.autoregressive; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.digits import digits
from dlcore.generative.autoregressive import dependence, sample
from dlcore.generative.fvbn import MADE
from dlcore.report.figure import BLUE, GRAY, new_figure, show_image
from experiments.figure_parts import autoregressive_params

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["autoregressive"]


def autoregressive() -> "Figure":
    """What a network of this kind (MADE) predicts after 400 steps on binary digits.

    Left: how strongly each output follows each pixel, in raster order: nothing on or above the diagonal. Middle: test
    digits (top), and three completions of each; their upper halves are given. Right: bits of a test pixel by row. From
    row 2 on, the pixels before it save bits against its frequency alone.
    """
    figure, (left, middle, right) = new_figure((7.2, 2.6), 1, 3, width_ratios=(1.1, 1.3, 1.1))
    train, test = ((digits(part).arrays["image"] > 0.5).astype(np.int32) for part in ("train", "test"))
    model = MADE(levels=2, hidden_sizes=(256,))
    params = autoregressive_params(model, {"image": train.astype(np.float32)}, (8, 8, 1), 400)
    influence = np.asarray(dependence(model, params, (8, 8, 1), jax.random.key(0)))
    image = left.imshow(np.log10(np.where(influence > 0, influence, np.nan)), cmap="viridis", vmin=-3)
    left.set(xlabel="pixel", ylabel="output")
    figure.colorbar(image, ax=left, label="log10 of the gradient", shrink=0.8)
    known = jnp.broadcast_to(jnp.arange(8)[:, None, None] < 4, (8, 8, 1))
    keys = jax.random.split(jax.random.key(1), 18)
    drawn = sample(model, params, keys, (8, 8, 1), given=jnp.repeat(test[:6], 3, 0), known=known)
    rows = [test[:6, ..., 0], *np.asarray(drawn)[..., 0].reshape(6, 3, 8, 8).swapaxes(0, 1)]
    show_image(middle, np.pad(np.block([[np.pad(digit, 1) for digit in row] for row in rows]), 1), cmap="Greys")
    rate = train.mean(0).clip(0.001, 0.999)
    alone = np.where(test, rate, 1 - rate)
    context = np.take_along_axis(jax.nn.softmax(model.apply({"params": params}, test)), test[..., None], -1)[..., 0]
    for share, color, style, name in (
        (alone, GRAY, "s--", "frequency alone"),
        (context, BLUE, "o-", "pixels before it"),
    ):
        right.plot(np.arange(1, 9), -np.log2(share).mean((0, 2, 3)), style, color=color, markersize=4, label=name)
    right.set(xlabel="row", ylabel="bits of a pixel", xticks=(2, 4, 6, 8), ylim=(0, 0.95))
    right.legend(frameon=False, fontsize=8)
    return figure
