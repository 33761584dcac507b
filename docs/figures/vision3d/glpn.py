"""Figure of dlcore.vision3d.glpn; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.ops.resize import resize
from dlcore.report.figure import new_figure
from dlcore.vision3d.glpn import SelectiveFusion

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["glpn"]


def glpn() -> "Figure":
    """GLPN's fusion of a local and a global map of six channels, fitted for 300 steps to the true map.

    The local map is sharp but noisy, and the global one is blurred. One weight a place serves all channels. The fitted
    weight of the local map is large at the edges of the boxes, where the global map is wrong, and small on flat parts,
    where the noise would do harm.
    """
    figure, axes = new_figure((7.4, 2.2), 1, 5)
    rng = np.random.default_rng(0)
    truth = np.zeros((16, 32, 32, 6), np.float32) + rng.normal(size=(16, 1, 1, 6))
    for image in truth:
        for row, column in rng.integers(2, 16, (2, 2)):
            image[row : row + 13, column : column + 13] = rng.normal(size=6)
    blurred = resize(resize(jnp.asarray(truth), (8, 8)), (32, 32))
    noisy = truth + rng.normal(0, 0.4, truth.shape).astype(np.float32)
    marks = np.eye(8, dtype=np.float32)[6:]  # two constant channels, which give the weights themselves
    pad = ((0, 0),) * 3 + ((0, 2),)
    local, coarse = jnp.pad(noisy, pad) + marks[0], jnp.pad(blurred, pad) + marks[1]
    fusion, optimizer = SelectiveFusion(axis_name=None), optax.adam(0.03)
    variables = fusion.init(jax.random.key(0), local, coarse, False)

    def loss(params: dict) -> tuple[jax.Array, jax.Array]:
        fused, _ = fusion.apply({**variables, "params": params}, local, coarse, True, mutable=["batch_stats"])
        return jnp.mean((fused[..., :6] - truth) ** 2), fused

    def step(carry: tuple, _: None) -> tuple:
        gradient, _ = jax.grad(loss, has_aux=True)(carry[0])
        updates, state = optimizer.update(gradient, carry[1])
        return (optax.apply_updates(carry[0], updates), state), None

    params = jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), None, 300)[0][0])(variables["params"])
    fused = np.asarray(loss(params)[1])
    for ax, name, x in zip(axes, ("true", "local", "global", "fused"), (truth, noisy, blurred, fused), strict=False):
        ax.imshow(x[0, ..., 0], cmap="gray", vmin=truth[0, ..., 0].min() - 0.5, vmax=truth[0, ..., 0].max() + 0.5)
        error = np.sqrt(np.mean((np.asarray(x)[..., :6] - truth) ** 2))
        ax.set(xticks=[], yticks=[], xlabel=f"{name}: error {error:.2f}")
    axes[4].imshow(fused[0, ..., 6], cmap="Purples", vmin=0, vmax=1)
    axes[4].set(xticks=[], yticks=[], xlabel="weight of local")
    return figure
