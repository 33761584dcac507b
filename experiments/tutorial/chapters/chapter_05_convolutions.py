"""Chapter 5: what a convolution does.

One small kernel, slid over the whole image.
"""

# %% [markdown]
# ## Three kernels on one digit
#
# A convolution uses the same few weights everywhere: what it finds moves along with the image.

# %%
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from dlcore.data.digits import digits
from dlcore.ops.convolution import conv_general_dilated

image = digits("train").arrays["image"][:1]
kernels = {
    "blur": np.ones((3, 3)) / 9,
    "horizontal edges": np.array([[1, 2, 1], [0, 0, 0], [-1, -2, -1]]) / 4,
    "vertical edges": np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]]) / 4,
}
stack = jnp.stack(list(kernels.values()), -1)[:, :, None].astype(jnp.float32)  # [3, 3, 1, 3]
maps = conv_general_dilated(image, stack, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
figure, axes = plt.subplots(1, 4, figsize=(8, 2))
axes[0].imshow(image[0, ..., 0], cmap="gray_r")
axes[0].set_title("image", fontsize=9)
for i, name in enumerate(kernels):
    axes[i + 1].imshow(maps[0, ..., i], cmap="RdBu", vmin=-1, vmax=1)
    axes[i + 1].set_title(name, fontsize=9)
for ax in axes:
    ax.axis("off")
plt.show()

# %% [markdown]
# ## Count
#
# The weights do not depend on the image's size; the multiplications do. An output of $H \times W$ with $C$ channels
# costs $H W C \cdot 3 \cdot 3 \cdot C_{in}$ multiply-adds.

# %%
for size in (32, 224):
    dense = (size * size * 3) * (size * size * 16)
    conv = 3 * 3 * 3 * 16
    print(f"{size} x {size} x 3 -> 16 channels: {conv} weights, {conv * size * size:,} multiply-adds; dense: {dense:,}")

# %% [markdown]
# ## Equivariance: shift and filter commute


# %%
def convolve(x):
    return conv_general_dilated(x, stack, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


padded = jnp.pad(image, ((0, 0), (4, 4), (4, 4), (0, 0)))
difference = convolve(jnp.roll(padded, 2, axis=1)) - jnp.roll(convolve(padded), 2, axis=1)
print(f"largest difference inside the border: {jnp.abs(difference[:, 3:-3, 3:-3]).max():.1e}")

# %% [markdown]
# A stride breaks the equality for odd shifts. Set the strides to `(2, 2)` and see which shifts still commute.
