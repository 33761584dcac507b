"""Chapter 17: structure without labels.

Principal components and clusters of digits, and a contrastive loss by hand.
"""

# %% [markdown]
# ## Two directions of 64
#
# The first principal components keep most of the variance. Colors are labels, which the method never saw.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from dlcore.classic_ml.kmeans import kmeans
from dlcore.data.digits import digits
from dlcore.losses.contrastive import nt_xent_loss

arrays = digits("train").arrays
x, y = arrays["image"].reshape(-1, 64).astype(np.float64), arrays["label"]
centered = x - x.mean(0)
components = np.linalg.svd(centered, full_matrices=False)[2][:2]
plane = centered @ components.T
plt.scatter(*plane.T, c=y, cmap="tab10", s=5)
plt.colorbar(label="digit")
plt.show()
print(f"two directions keep {plane.var(0).sum() / centered.var(0).sum():.0%} of the variance")

# %% [markdown]
# ## Ten clusters
#
# Give each cluster the digit that is most frequent in it. The number of clusters is a guess: nothing in the data says
# 10.

# %%
clusters = kmeans(jax.random.key(0), x.astype(np.float32), 10)
labels = np.asarray(clusters.labels)
correct = sum(np.bincount(y[labels == cluster]).max() for cluster in range(10))
print(f"purity {correct / len(y):.1%}; the most frequent digit alone: {np.bincount(y).max() / len(y):.1%}")
figure, axes = plt.subplots(1, 10, figsize=(8, 1))
for ax, center in zip(axes, clusters.centers, strict=True):
    ax.imshow(center.reshape(8, 8), cmap="gray_r")
    ax.axis("off")
plt.show()

# %% [markdown]
# ## A contrastive loss
#
# NT-Xent asks which of 2N - 1 views is the other view of the same image. If all embeddings are equal the answer is a
# guess, and the loss is $\log (2N - 1)$: a collapsed network cannot be better.

# %%
a = jax.random.normal(jax.random.key(1), (32, 16))
for name, b in (("collapsed", None), ("unrelated", jnp.roll(a, 1, 0)), ("equal views", a)):
    loss = nt_xent_loss(jnp.ones((32, 16)), jnp.ones((32, 16))) if b is None else nt_xent_loss(a, b)
    print(f"{name:12} {loss:.3f}   log 63 = {np.log(63):.3f}")
