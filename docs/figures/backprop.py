"""Figures of techniques of dlcore.backprop: each function is named as its technique; its docstring is the caption."""

import itertools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.backprop import layers as layer
from dlcore.backprop.custom_op import sigmoid
from dlcore.backprop.mlp import mlp_gradients, mlp_loss
from dlcore.data.digits import digits
from dlcore.report.figure import BLUE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["custom_op", "layers", "mlp"]


def custom_op() -> "Figure":
    """Derivative of the sigmoid in float32 with its own backward pass and as autodiff of 1 / (1 + exp(-x)) gives it.

    The second is NaN (shaded) where exp(-x) overflows. The first is finite everywhere and keeps one array for the
    backward pass, its output (the legend counts them); where the output rounds to 1, its derivative is 0.
    """
    figure, ax = new_figure((7, 2.8))
    x = jnp.linspace(-120, 120, 961)

    def written(x):
        return 1 / (1 + jnp.exp(-x))

    for function, name, style in ((written, "as written", (VERMILION, 5, 0.5)), (sigmoid, "by hand", (BLUE, 1.5, 1))):
        kept = len(jax.tree.leaves(jax.vjp(function, x)[1]))
        slope = jax.vmap(jax.grad(function))(x)
        color, width, alpha = style
        ax.plot(
            x, slope, color=color, linewidth=width, alpha=alpha, label=f"{name}, keeps {kept} array{'s' * (kept > 1)}"
        )
        ax.fill_between(x, 1e-40, 1, where=jnp.isnan(slope), color=color, alpha=0.15, linewidth=0)
    ax.set(xlabel="x", ylabel="derivative", yscale="log", ylim=(1e-40, 1))
    ax.legend(frameon=False)
    return figure


def layers() -> "Figure":
    """A digit through a convolution with an edge filter, a ReLU and max pooling (above), and gradients (below).

    The gradient of the sum of the pooled values reaches only the largest pixel of each window, passes the ReLU where
    its input was positive, and is spread by the transposed convolution over the pixels. Blue is negative, red positive.
    """
    x = np.float64(digits("train").arrays["image"][:1])
    edge = np.array([[-1.0, 0, 1]] * 3)[:, :, None, None]
    conv, conv_cache = layer.conv_forward(x, edge, np.zeros(1), pad=1)
    relu, relu_cache = layer.relu_forward(conv)
    pool, pool_cache = layer.max_pool_forward(relu)
    d_pool = np.ones_like(pool)
    d_relu = layer.max_pool_backward(d_pool, pool_cache)
    d_conv = layer.relu_backward(d_relu, relu_cache)
    d_x = layer.conv_backward(d_conv, conv_cache)[0]
    figure, axes = new_figure((7, 3.8), 2, 4)
    rows = ((x, conv, relu, pool), (d_x, d_conv, d_relu, d_pool))
    for ax, values in zip(axes.ravel(), [v for row in rows for v in row], strict=True):
        limit = np.abs(values).max()
        ax.imshow(values[0, :, :, 0], cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(True)
    for ax, name in zip(axes[0], ("image", "convolution", "ReLU", "max pooling"), strict=True):
        ax.set_title(name, fontsize=10)
    axes[0, 0].set_ylabel("forward")
    axes[1, 0].set_ylabel("gradient")
    return figure


def mlp() -> "Figure":
    """Norms of the gradients of a sigmoid network of 8 layers on 100 digits, and a check by central differences.

    Each layer of width 30 takes the gradient times σ' <= 1/4, so that the first layers of a network with usual initial
    weights learn little. Right: the relative error of (L(w + h) - L(w - h)) / 2h for one weight of the last layer is
    least between truncation (large h) and rounding (small h).
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    data = digits("train")
    x, label = np.float64(data.arrays["image"][:100].reshape(100, -1)), data.arrays["label"][:100]
    sizes = [64, *[30] * 7, 10]
    for scale, color in ((1, VERMILION), (4, BLUE)):
        rng = np.random.default_rng(0)
        net = [(rng.normal(size=(a, b)) * scale / np.sqrt(a), np.zeros(b)) for a, b in itertools.pairwise(sizes)]
        gradients = mlp_gradients(net, x, label)
        norms = [np.linalg.norm(dw) for dw, _ in gradients]
        left.plot(range(1, 9), norms, "o-", color=color, label=f"weights of deviation {scale} / √inputs")
    left.set(xlabel="layer", ylabel="norm of ∂L/∂W", yscale="log", ylim=(3e-7, 3))
    left.legend(frameon=False, loc="lower right")
    steps, weight, errors = np.logspace(-12, 0, 49), net[-1][0], []
    for h in steps:
        weight[0, 0] += h
        above = mlp_loss(net, x, label)
        weight[0, 0] -= 2 * h
        errors.append(abs((above - mlp_loss(net, x, label)) / (2 * h) / gradients[-1][0][0, 0] - 1))
        weight[0, 0] += h
    right.plot(steps, errors, color=BLUE)
    right.set(xlabel="h", ylabel="relative error", xscale="log", yscale="log")
    return figure
