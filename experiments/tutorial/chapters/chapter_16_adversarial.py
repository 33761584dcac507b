"""Chapter 16: the smallest change that fools a classifier.

One step along the sign of the gradient, against random noise of the same size.
"""

# %% [markdown]
# ## A linear classifier of digits
#
# For a linear score $w \cdot x$, a change of every pixel by $\epsilon$ along the sign of $w$ changes it by $\epsilon$
# times the sum of $|w|$: it grows with the number of pixels, while the change of each stays small.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

from dlcore.adversarial.gradient import fgsm
from dlcore.data.digits import digits
from dlcore.losses import softmax_cross_entropy_loss

train, test = digits("train").arrays, digits("test").arrays
x, y = jnp.asarray(train["image"]).reshape(-1, 64), jnp.asarray(train["label"])


def loss(w):
    return softmax_cross_entropy_loss(x @ w, y).mean() + 1e-3 * jnp.square(w).sum()


def score(image):
    return image.ravel() @ w


@jax.jit
def step(w, _):
    return w - 0.5 * jax.grad(loss)(w), None


w, _ = jax.lax.scan(step, jnp.zeros((64, 10)), length=300)

# %% [markdown]
# ## Attack it, and compare with noise

# %%
images, labels = jnp.asarray(test["image"]), jnp.asarray(test["label"])


def accuracy(changed):
    return float((jax.vmap(score)(changed).argmax(-1) == labels).mean())


keys = jax.random.split(jax.random.key(0), len(labels))
epsilons = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)
attacked, noisy = [], []
for epsilon in epsilons:
    changed = images
    if epsilon:
        changed = jax.vmap(lambda key, image, label, e=epsilon: fgsm(score, key, image, label, e))(keys, images, labels)
    signs = jax.random.rademacher(jax.random.key(1), images.shape, jnp.float32)
    attacked.append(accuracy(changed))
    noisy.append(accuracy(jnp.clip(images + epsilon * signs, 0, 1)))
    print(f"epsilon {epsilon:.2f}: attacked {attacked[-1]:.1%}, noise {noisy[-1]:.1%}")
plt.plot(epsilons, attacked, "o-", label="gradient sign")
plt.plot(epsilons, noisy, "o-", label="random signs")
plt.xlabel("epsilon, of pixels in [0, 1]")
plt.ylabel("test accuracy")
plt.legend()
plt.show()

# %% [markdown]
# Random signs of the same size do little: it is the direction that counts, not the size.

# %%
changed = jax.vmap(lambda key, image, label: fgsm(score, key, image, label, 0.2))(keys[:8], images[:8], labels[:8])
figure, axes = plt.subplots(2, 8, figsize=(8, 2.2))
for line, row in zip(axes, (images, changed), strict=True):
    for ax, image in zip(line, row, strict=False):
        ax.imshow(image.squeeze(), cmap="gray_r")
        ax.set_title(int(score(image).argmax()), fontsize=8)
        ax.axis("off")
plt.show()
