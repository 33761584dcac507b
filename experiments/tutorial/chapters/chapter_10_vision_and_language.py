"""Chapter 10: one space for images and words.

The loss of CLIP on toy embeddings, and what its temperature does.
"""

# %% [markdown]
# ## Pairs on the diagonal
#
# N images and N captions give N × N similarities. The loss is a cross-entropy over rows and over columns whose answer
# is the diagonal. If all similarities are equal, it is $\log N$.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

from dlcore.losses.contrastive import clip_loss

N, D = 16, 32
words = jax.random.normal(jax.random.key(0), (N, D))
noise = jax.random.normal(jax.random.key(1), (N, D))


def unit(x):
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


for name, images in (("unrelated", noise), ("related", words + noise), ("equal", words)):
    print(f"{name:10} loss {clip_loss(unit(images), unit(words), 0.07):.3f}   log N = {jnp.log(N):.3f}")

# %% [markdown]
# ## The temperature
#
# A cosine lies in [-1, 1]. Without a temperature the softmax can never be sharp, and the loss cannot come near 0.

# %%
images = unit(words + noise)
temperatures = jnp.logspace(-2, 0.5, 30)
plt.semilogx(temperatures, [clip_loss(unit(words), unit(words), t) for t in temperatures], label="equal")
plt.semilogx(temperatures, [clip_loss(images, unit(words), t) for t in temperatures], label="related")
plt.axhline(jnp.log(N), color="gray", linestyle=":")
plt.xlabel("temperature")
plt.ylabel("loss")
plt.legend()
plt.show()

# %% [markdown]
# ## Zero-shot classification
#
# Classify an image by the caption that is nearest to it: no label is used.

# %%
scores = images @ unit(words).T
plt.imshow(scores, cmap="RdBu", vmin=-1, vmax=1)
plt.xlabel("caption")
plt.ylabel("image")
plt.show()
print(f"right for {(scores.argmax(-1) == jnp.arange(N)).mean():.0%} of {N} images; chance {1 / N:.0%}")
