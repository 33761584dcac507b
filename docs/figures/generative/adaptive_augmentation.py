"""Figure of dlcore.generative.adaptive_augmentation; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.sample_images import fit_to, sample_image
from dlcore.generative.adaptive_augmentation import augment_images, update_probability
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["adaptive_augmentation"]


def adaptive_augmentation() -> "Figure":
    """The control of the probability p against a discriminator that knows 16 training images by heart.

    It calls an image real where the nearest of the 16 is close. Left: an image at three p. Right: without augmentation
    the mean sign r of its answers is 1; p rises, augmented images are unknown, and p stays where r is at its target of
    0.6 (dashed).
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2, width_ratios=(1.15, 1))
    photo = jnp.asarray(fit_to(sample_image("flower", 128), (96, 96)), jnp.float32) / 127.5 - 1
    images = photo.reshape(4, 24, 4, 24, 3).transpose(0, 2, 1, 3, 4).reshape(16, 24, 24, 3)
    small = jax.image.resize(photo, (32, 32, 3), "linear")[None]
    rows = [augment_images(jax.random.split(jax.random.key(3), 5), small.repeat(5, 0), p) for p in (0.1, 0.4, 0.8)]
    grid = np.stack([np.concatenate(list(row), 1) for row in rows]).reshape(96, 160, 3)
    left.imshow(np.clip(grid / 2 + 0.5, 0, 1))
    left.set(xticks=[], yticks=[16, 48, 80], yticklabels=["p = 0.1", "0.4", "0.8"])

    def step(p, key):
        seen = augment_images(jax.random.split(key, 64), jnp.tile(images, (4, 1, 1, 1)), p)
        nearest = jnp.abs(seen[:, None] - images).mean((2, 3, 4)).min(1)
        r = jnp.sign(0.1 - nearest).mean()
        return update_probability(p, r, 64, 0.6, 10_000), (p, r)

    _, (p, r) = jax.jit(lambda keys: jax.lax.scan(step, jnp.zeros(()), keys))(jax.random.split(jax.random.key(0), 60))
    right.plot(r, color=VERMILION, linewidth=1, label="mean sign r")
    right.plot(p, color=BLUE, linewidth=2, label="probability p")
    right.axhline(0.6, color=GRAY, linestyle="--")
    right.set(xlabel="step of 64 images", ylim=(-0.05, 1.3), yticks=[0, 0.2, 0.4, 0.6, 0.8, 1])
    right.legend(frameon=False, ncols=2, loc="upper center")
    return figure
