"""Figure of dlcore.metrics.feature_similarity; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import gaussian_filter

from dlcore.data.sample_images import fit_to, sample_image
from dlcore.metrics.feature_similarity import LAYERS, clip_score, lpips
from dlcore.models import create_model
from dlcore.report.figure import BLUE, PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["feature_similarity"]


def feature_similarity() -> "Figure":
    """Distances in a VGG-16 of four changes with the same squared error, and the CLIP score.

    Left: each layer's part of LPIPS, at random weights. Less contrast hardly counts, since each vector is scaled to
    length 1. The others count alike at first; in deeper layers a shift by one pixel counts least. Right: the CLIP score
    by the angle of image and text.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2, width_ratios=(1.5, 1))
    photo = np.asarray(fit_to(sample_image("flower", 192), (96, 96)), np.float32) / 255
    inner = photo[24:72, 24:72]
    shifted = photo[24:72, 25:73] - inner
    blurred = gaussian_filter(photo, (2, 2, 0))[24:72, 24:72] - inner
    noise = np.random.default_rng(0).normal(size=inner.shape)
    changes = {"blur": blurred, "noise": noise, "shift": shifted, "less contrast": inner.mean() - inner}
    scale = np.sqrt(np.square(shifted).mean())
    images = [inner, *(inner + scale * step / np.sqrt(np.square(step).mean()) for step in changes.values())]
    maps = _maps(2 * jnp.asarray(np.stack(images), jnp.float32) - 1)
    for i, (name, color, style) in enumerate(zip(changes, PALETTE, ("o-", "s--", "^-.", "d:"), strict=False), 1):
        parts = [float(lpips({k: maps[k][:1]}, {k: maps[k][i : i + 1]})[0]) for k in LAYERS]
        left.semilogy(range(5), parts, style, color=color, label=name, markersize=4)
    left.set(xlabel="layer", ylabel="distance", xticks=range(5), ylim=(1e-4, 2))
    left.set_xticklabels(LAYERS, fontsize=8)
    left.legend(frameon=False, fontsize=8, ncols=2, loc="upper right")
    angles = jnp.linspace(0, 180, 91)
    texts = jnp.stack([jnp.cos(jnp.radians(angles)), jnp.sin(jnp.radians(angles))], 1)
    right.plot(angles, clip_score(jnp.tile(jnp.array([1.0, 0.0]), (91, 1)), texts), color=BLUE)
    right.set(xlabel="angle of image and text / degrees", ylabel="CLIP score", xticks=[0, 45, 90, 135, 180])
    return figure


@jax.jit
def _maps(images: jax.Array) -> dict[str, jax.Array]:
    """Maps of the layers of LPIPS, at random weights."""
    model = create_model("vgg16")
    variables = model.init(jax.random.key(0), images[:1], method="features")
    return {name: model.apply(variables, images, method="features")[name] for name in LAYERS}
