"""Chapter 21: gradients and corners.

What one can find in an image without learning.
"""

# %% [markdown]
# ## Derivatives of an image
#
# An edge changes in one direction, a corner in two. The structure tensor tells them apart by its eigenvalues.

# %%
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from dlcore.classical_vision.corners import detect_corners, harris_response
from dlcore.ops.filters import gaussian_filter, sobel_filter

rows, columns = np.mgrid[:96, :96]
image = 0.2 + 0.5 * ((abs(rows - 40) < 20) & (abs(columns - 34) < 18))
image += 0.3 * (np.hypot(rows - 70, columns - 70) < 14)
image = gaussian_filter(jnp.asarray(image, jnp.float32), 1.0)
down, right = sobel_filter(image)
response = harris_response(image)
corners = detect_corners(response, 8, threshold=0.2)
figure, axes = plt.subplots(1, 3, figsize=(9, 3))
axes[0].imshow(image, cmap="gray")
axes[0].plot(*np.asarray(corners.points)[np.asarray(corners.mask)].T, "r+", markersize=9)
axes[1].imshow(jnp.hypot(down, right), cmap="magma")
axes[2].imshow(response, cmap="RdBu", vmin=-float(response.max()), vmax=float(response.max()))
for ax, title in zip(axes, ("image and corners", "size of the gradient", "Harris' response"), strict=True):
    ax.set_title(title, fontsize=9)
    ax.axis("off")
plt.show()
print(
    f"{int(corners.mask.sum())} corners; response at an edge {response[40, 16]:.1e}, at a corner {response.max():.1e}"
)

# %% [markdown]
# ## Turn the image
#
# A measure made of eigenvalues does not depend on the orientation. Turn the image by 90 degrees: the corners turn
# along.

# %%
rotated = detect_corners(harris_response(jnp.rot90(image)), 8, threshold=0.2)
before = np.asarray(corners.points)[np.asarray(corners.mask)]
after = np.asarray(rotated.points)[np.asarray(rotated.mask)]
mapped = np.stack([before[:, 1], 95 - before[:, 0]], 1)
nearest = np.linalg.norm(mapped[:, None] - after, axis=-1).min(1)
print(f"largest distance of a turned corner from its place: {nearest.max():.4f} px")
