"""Chapter 13: motion between two frames.

Optical flow of a known motion, by windows and by one smooth field.
"""

# %% [markdown]
# ## A pair with a known answer
#
# The second frame is the first one, moved by 0.8 pixels to the right and 0.6 up.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from dlcore.classical_vision.optical_flow import dense_lucas_kanade, endpoint_error, horn_schunck
from dlcore.ops.filters import gaussian_filter
from dlcore.report.flow import flow_colors

noise = gaussian_filter(jax.random.uniform(jax.random.key(0), (72, 72)), 1.5)
texture = (noise - noise.min()) / (noise.max() - noise.min())
rows, columns = jnp.mgrid[4:68, 4:68].astype(jnp.float32)
sample = jax.scipy.ndimage.map_coordinates
first = sample(texture, [rows, columns], order=1)
second = sample(texture, [rows + 0.6, columns - 0.8], order=1)
target = jnp.array([0.8, -0.6])

# %% [markdown]
# ## Two methods
#
# Lucas and Kanade solve a 2 × 2 system in each window. Horn and Schunck minimize one energy over the whole image.

# %%
detections = {
    "Lucas-Kanade": dense_lucas_kanade(first, second).flow,
    "Horn-Schunck": horn_schunck(first, second),
}
figure, axes = plt.subplots(1, 3, figsize=(8, 2.6))
axes[0].imshow(first, cmap="gray")
axes[0].set_title("first frame", fontsize=9)
for ax, (name, flow) in zip(axes[1:], detections.items(), strict=True):
    error = endpoint_error(flow, jnp.broadcast_to(target, flow.shape))[8:-8, 8:-8]
    ax.imshow(flow_colors(np.asarray(flow), 1.5))
    ax.set_title(name, fontsize=9)
    print(f"{name:13} mean error {error.mean():.3f} px; no motion at all: {jnp.hypot(*target):.3f} px")
for ax in axes:
    ax.axis("off")
plt.show()

# %% [markdown]
# Replace the texture by vertical stripes: only the motion across them can be seen. That is the aperture problem.
