"""Figures of techniques of dlcore.nn: each function is named as its technique, and its docstring is the caption."""

import math
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.cost.layers import layer_costs
from dlcore.data.sample_images import sample_image
from dlcore.nn.additive_attention import AdditiveAttention as Additive
from dlcore.nn.cache import Cache
from dlcore.nn.conv_pattern import PatternNet
from dlcore.nn.conv_pattern import conv_pattern as write_pattern
from dlcore.nn.rotary import rotary as turn
from dlcore.nn.style_norm import adaptive_instance_norm
from dlcore.report.figure import GREEN, PALETTE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["additive_attention", "cache", "conv_pattern", "rotary", "style_norm"]


def additive_attention() -> "Figure":
    """Weights of 12 queries to 12 keys before and after 300 steps that fit the task of reversing a sequence.

    A query is a position, a key a position beside random content; query t must return the content of key 11 - t. The
    perceptron starts with nearly equal weights and finds the antidiagonal.
    """
    figure, axes = new_figure((7, 2.6), 1, 3, width_ratios=(1, 1, 1.1))
    module, place = Additive(32), jnp.eye(12)

    def loss(variables, key):
        content = jax.random.normal(key, (16, 12, 4))
        keys = jnp.concatenate([content, jnp.broadcast_to(place, (16, 12, 12))], -1)
        context, weights = module.apply(variables, jnp.broadcast_to(place, (16, 12, 12)), keys)
        return jnp.square(context[..., :4] - content[:, ::-1]).mean(), weights[0]

    def step(state, key):
        (value, weights), gradient = jax.value_and_grad(loss, has_aux=True)(state[0], key)
        updates, moments = adam.update(gradient, state[1])
        return (optax.apply_updates(state[0], updates), moments), (value, weights)

    adam, keys = optax.adam(0.02), jax.random.split(jax.random.key(0), 300)
    variables = module.init(keys[0], place[None], jnp.zeros((1, 12, 16)))
    _, (losses, weights) = jax.lax.scan(step, (variables, adam.init(variables)), keys)
    for ax, step_weights, label in zip(axes, (weights[0], weights[-1]), ("before", "after"), strict=False):
        image = ax.imshow(step_weights, cmap="Blues", vmin=0, vmax=1)
        ax.set(xlabel=f"key, {label}", ylabel="query", xticks=range(0, 12, 2), yticks=range(0, 12, 2))
    figure.colorbar(image, ax=axes[:2], label="weight", shrink=0.7)
    axes[2].plot(losses, color=PALETTE[0])
    axes[2].set(xlabel="step", ylabel="mean squared error", yscale="log")
    return figure


def cache() -> "Figure":
    """Left: bytes of the cache of a decoder of 32 layers with 32 heads of 128 features, in bfloat16, for one sequence.

    Grouped queries (8 heads of keys and values) and multi-query attention (one) take less. Right: rows of three
    lengths after one padded prompt, `rewind` and two more tokens: what the last token of each sees.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    tokens = [2**n for n in range(8, 18)]
    for heads, label, color in ((32, "32 heads", VERMILION), (8, "8 heads, grouped", GREEN), (1, "1 head", PALETTE[0])):
        layers = [jax.eval_shape(lambda t=t, h=heads: Cache.zeros(1, t, h, 128, jnp.bfloat16)) for t in tokens]
        left.plot(tokens, [32 * 2 * (c.key.size + c.value.size) / 2**30 for c in layers], color=color, label=label)
    left.set(xlabel="tokens", ylabel="cache (GiB)", xscale="log", yscale="log")
    left.legend(frameon=False)
    prompt = jnp.ones((3, 10, 1, 1))
    stored = Cache.zeros(3, 16, 1, 1).append(prompt, prompt).rewind(jnp.array([4, 10, 7]))
    for _ in range(2):
        stored = stored.append(prompt[:, :1], prompt[:, :1])
    right.imshow(stored.visible(1)[:, 0, 0], cmap="Blues", vmax=1.5, aspect="auto")
    right.set(xlabel="place in the cache", ylabel="row", yticks=range(3))
    right.set_xticks(np.arange(17) - 0.5, minor=True)
    right.set_yticks(np.arange(4) - 0.5, minor=True)
    right.grid(which="minor", color="white")
    return figure


def conv_pattern() -> "Figure":
    """Parameters and activations of the layers of [(CONV-RELU)*2-POOL]*3-(FC-RELU)*1-SOFTMAX on images of 32 x 32 x 3.

    The first convolutions give the largest maps; the first fully connected layer holds the most parameters.
    """
    figure, axes = new_figure((7, 3), 1, 2, sharey=True)
    pattern = write_pattern(n=2, m=3, k=1)
    layers = layer_costs(PatternNet(10, pattern), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))
    layers = [layer for layer in layers if layer.macs]
    names = [layer.path.removesuffix("/dense") for layer in layers]
    values = [layer.parameters / 1e3 for layer in layers], [math.prod(layer.output_shape) / 1e3 for layer in layers]
    for ax, numbers, label, color in zip(axes, values, ("parameters", "output values"), PALETTE, strict=False):
        ax.barh(names, numbers, color=color)
        ax.set(xlabel=f"{label} (thousands)")
    axes[0].invert_yaxis()
    return figure


def rotary() -> "Figure":
    """Inner products of a query and a key, both of ones, after their pairs of channels were turned by their positions.

    They depend on the distance alone: the curves of three positions of the query lie on each other. On the right, the
    angle of each pair: the first turn fast, the last hardly.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    keys = jnp.arange(256)
    ones = jnp.ones((len(keys), 1, 64))
    for query, color in zip((0, 60, 120), PALETTE, strict=False):
        turned = turn(ones[:1], jnp.array([query]))
        scores = jnp.einsum("qhd,khd->k", turned, turn(ones, keys)) / 64
        left.plot(keys - query, scores, color=color, alpha=0.6, label=f"query at {query}")
    left.set(xlabel="position of the key less that of the query", ylabel="inner product / D")
    left.legend(frameon=False)
    pair = jnp.zeros((4, 64)).at[jnp.arange(4), jnp.array([0, 4, 8, 16])].set(1)
    x = turn(jnp.broadcast_to(pair, (len(keys), 4, 64)), keys)
    for row, number in enumerate((0, 4, 8, 16)):
        angle = np.unwrap(np.arctan2(x[:, row, number + 32], x[:, row, number]))
        right.plot(keys[:64], angle[:64] / (2 * np.pi), color=PALETTE[row], label=f"pair {number}")
    right.set(xlabel="position", ylabel="full turns")
    right.legend(frameon=False)
    return figure


def style_norm() -> "Figure":
    """A photograph with the channel means and deviations of another: adaptive instance norm, here of the pixels.

    Below, the distributions of red, green and blue: those of the output have the means (dashed) and the deviations
    of the style, and keep the shape of the content.
    """
    figure, axes = new_figure((7, 3.6), 2, 3, height_ratios=(1.5, 1))
    content, style = (sample_image(name, 160).astype(np.float32)[None] / 255 for name in ("flower", "china"))
    mixed = adaptive_instance_norm(jnp.asarray(content), jnp.asarray(style))
    for (top, below), image, name in zip(axes.T, (content, style, mixed), ("content", "style", "output"), strict=True):
        top.imshow(np.clip(image[0], 0, 1))
        top.set(xticks=[], yticks=[], xlabel=name)
        for channel, color in enumerate((VERMILION, GREEN, PALETTE[0])):
            values = np.ravel(image[0, ..., channel])
            below.hist(values, np.linspace(-0.5, 1.5, 81), density=True, histtype="step", color=color)
            below.axvline(values.mean(), color=color, linestyle="--", linewidth=1)
        below.set(xlabel="value", yticks=[], ylim=(0, 8))
    axes[1, 0].set(ylabel="density")
    return figure
