"""Chapter 14: points and surfaces.

Refine a surface, measure its volume, and measure a distance between point sets.
"""

# %% [markdown]
# ## A sphere from twenty triangles
#
# Each subdivision splits a triangle into four. The Euler characteristic of a closed surface without holes stays 2.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from dlcore.losses.geometry import chamfer_loss
from dlcore.ops.mesh import euler_characteristic, icosphere, mesh_volume
from dlcore.report.shapes import render_mesh

figure, axes = plt.subplots(1, 4, figsize=(8, 2.2))
for level, ax in enumerate(axes):
    vertices, faces = icosphere(level)
    volume = float(mesh_volume(jnp.asarray(vertices, jnp.float32), faces))
    euler = euler_characteristic(faces)
    print(f"{len(faces):5} faces, Euler characteristic {euler}, volume {volume:.3f} of {4 / 3 * np.pi:.3f}")
    ax.imshow(render_mesh(np.asarray(vertices), np.asarray(faces)))
    ax.axis("off")
plt.show()

# %% [markdown]
# ## The chamfer distance
#
# For each point take the squared distance to the nearest point of the other set, and average over both sides. Two
# samples of one sphere are close; a moved sphere is farther.


# %%
def sphere(key, count=512):
    points = jax.random.normal(jax.random.key(key), (count, 3))
    return points / jnp.linalg.norm(points, axis=-1, keepdims=True)


for shift in (0.0, 0.1, 0.3, 1.0):
    distance = chamfer_loss(sphere(0), sphere(1) + jnp.array([shift, 0, 0]))
    print(f"moved by {shift:.1f}: {float(distance):.4f}")

# %% [markdown]
# The first number is not 0: finite samples of one surface differ. It falls with the number of points; measure it
# before you judge a generator.
