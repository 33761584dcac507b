"""Chapter 19: noise and back.

The forward process of a diffusion model, its schedules, and the best denoiser of a known density.
"""

# %% [markdown]
# ## Noise in one step
#
# $x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon$: no simulation is needed to reach step t.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from dlcore.data.digits import digits
from dlcore.generative.schedules import add_noise, alphas_cumprod, cosine_betas, linear_betas

T = 1000
linear, cosine = alphas_cumprod(linear_betas(T)), alphas_cumprod(cosine_betas(T))
image = 2 * digits("train").arrays["image"][0, ..., 0] - 1
noise = jax.random.normal(jax.random.key(0), image.shape)
steps = (0, 100, 250, 500, 750, 999)
figure, axes = plt.subplots(2, len(steps), figsize=(8, 3))
for line, schedule, name in zip(axes, (linear, cosine), ("linear", "cosine"), strict=True):
    for ax, t in zip(line, steps, strict=True):
        ax.imshow(add_noise(image, noise, schedule[t]), cmap="gray_r", vmin=-2, vmax=2)
        ax.set_title(f"{name} {t}", fontsize=8)
        ax.axis("off")
plt.show()

# %% [markdown]
# ## Compare the schedules
#
# The curves show the share of the variance that is the image's. Its root is the image's factor: where the share is 1 %,
# the image is still there with a tenth of its strength. The linear schedule spends its last third below this, and the
# cosine schedule was made to avoid that.

# %%
plt.plot(linear, label="linear")
plt.plot(cosine, label="cosine")
plt.xlabel("t")
plt.ylabel("share of the variance")
plt.legend()
plt.show()
for name, schedule in (("linear", linear), ("cosine", cosine)):
    print(f"{name}: below 1 % from step {int(np.argmax(schedule < 0.01))}, at the end {schedule[-1]:.1e}")

# %% [markdown]
# ## The best denoiser
#
# If the data are a few points, the best prediction of $x_0$ is their mean, weighted by how likely each made $x_t$. Far
# from all of them it is an average; a network that minimizes the squared error learns just that. DDIM follows it back.

# %%
points = jnp.array([[np.cos(a), np.sin(a)] for a in np.linspace(0, 2 * np.pi, 8, endpoint=False)])


def denoise(x, alpha):
    squared = jnp.square(x[:, None] - jnp.sqrt(alpha) * points).sum(-1)
    return jax.nn.softmax(-squared / (2 * (1 - alpha))) @ points


x = jax.random.normal(jax.random.key(1), (64, 2))
path = [x]
for t in range(T - 20, -1, -20):
    alpha, before = cosine[t], (cosine[t - 20] if t >= 20 else 1.0)
    clean = denoise(x, alpha)
    epsilon = (x - jnp.sqrt(alpha) * clean) / jnp.sqrt(1 - alpha)
    x = add_noise(clean, epsilon, before)
    path.append(x)
for one in np.stack(path, 1):
    plt.plot(*one.T, color="gray", linewidth=0.4)
plt.plot(*points.T, "o", label="data")
plt.plot(*x.T, ".", label="samples")
plt.gca().set_aspect("equal")
plt.legend()
plt.show()
distance = jnp.linalg.norm(x[:, None] - points, axis=-1)
print(f"points reached: {len(np.unique(distance.argmin(1)))} of 8, largest distance {distance.min(1).max():.3f}")
