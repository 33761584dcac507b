"""Chapter 12: measures of masks.

Why the accuracy of pixels misleads, and what IoU and Dice measure instead.
"""

# %% [markdown]
# ## A small object
#
# The disc covers 3 % of the image. A network that answers "background" everywhere is right for 97 % of the pixels.

# %%
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from dlcore.losses.segmentation import dice_loss
from dlcore.metrics.segmentation import iou_per_class

rows, columns = np.mgrid[:64, :64]


def disc(row, column, radius):
    return (np.hypot(rows - row, columns - column) < radius).astype(int)


target = disc(32, 32, 6.3)
candidates = {"nothing": 0 * target, "shifted": disc(32, 36, 6.3), "too large": disc(32, 32, 10), "perfect": target}
figure, axes = plt.subplots(1, 4, figsize=(8, 2.2))
for ax, (name, mask) in zip(axes, candidates.items(), strict=True):
    confusion = np.bincount((2 * target + mask).ravel(), minlength=4).reshape(2, 2)
    iou = iou_per_class(confusion)[1]
    dice = 2 * (mask * target).sum() / (mask.sum() + target.sum())
    print(f"{name:10} accuracy {np.trace(confusion) / target.size:.1%}, IoU {iou:.2f}, Dice {dice:.2f}")
    ax.imshow(np.stack([mask, target, target], -1) * 255)
    ax.set_title(f"{name}: IoU {iou:.2f}", fontsize=8)
    ax.axis("off")
plt.show()

# %% [markdown]
# White is right, red is too much, cyan is missing. For one object Dice = 2 IoU / (1 + IoU): both order masks in the
# same way. They differ as soon as one averages over images.
#
# ## Dice as a loss
#
# The cross-entropy of a small object is nearly all background. The Dice loss of soft masks looks at the object alone.

# %%
for name, mask in candidates.items():
    logits = jnp.where(mask == 1, 4.0, -4.0)
    cross_entropy = jnp.logaddexp(0, jnp.where(target == 1, -logits, logits)).mean()
    print(f"{name:10} cross-entropy {cross_entropy:.3f}, Dice loss {dice_loss(logits, jnp.asarray(target)):.3f}")
