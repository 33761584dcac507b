"""Figures of techniques of dlcore.cost: each function is named as its technique, and its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.patches import Rectangle

from dlcore.cost.collectives import Collective, by_kind
from dlcore.cost.layers import layer_costs, total
from dlcore.cost.roofline import CHIPS
from dlcore.cost.roofline import roofline as bound
from dlcore.cost.step_flops import step_flops as count_flops
from dlcore.models.registry import create_model
from dlcore.report.figure import GRAY, PALETTE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["collectives", "receptive_field", "roofline", "step_flops"]


def collectives() -> "Figure":
    """Left: what a device sends for each byte of a buffer, by the collective and the number of devices.

    An all-reduce sends twice as much as an all-gather. Right: a training step of ResNet-50 on 8
    devices in float32: data parallelism reduces the gradients; with sharded weights they are gathered twice too.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    devices = range(2, 65)
    for kind, color, style in zip(("all-reduce", "all-gather", "collective-permute"), PALETTE, "--:", strict=False):
        sent = [Collective(kind, 10**6, n).sent / 10**6 for n in devices]
        left.plot(devices, sent, style, color=color, label=kind)
    left.set(xlabel="devices", ylabel="sent / buffer", ylim=(0, 2.9))
    left.legend(frameon=False, fontsize=9)
    layers = layer_costs(create_model("resnet50"), jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32))
    size = 4 * total(layers).parameters
    steps = {
        "data parallel": [Collective("all-reduce", size, 8)],
        "sharded weights": [Collective("all-gather", size, 8, times=2), Collective("reduce-scatter", size, 8)],
    }
    for row, operations in enumerate(steps.values()):
        start = 0.0
        for kind, (_, _, sent) in by_kind(operations).items():
            color = PALETTE[("all-reduce", "all-gather", "reduce-scatter").index(kind)]
            right.bar(row, sent / 1e6, 0.6, start / 1e6, color=color)
            right.text(row, (start + sent / 2) / 1e6, kind, ha="center", va="center", color="white", fontsize=9)
            start += sent
    right.set(ylabel="sent by a device (MB)", xticks=range(2))
    right.set_xticklabels(steps)
    return figure


def receptive_field() -> "Figure":
    """Left: the receptive fields of the layers of three networks, counted from their programs; their images
    have 224 pixels (dashed).

    Right: how much the pixels count for one output of 10 random convolutions of 3 x 3 with ReLU: the root of the mean
    squared gradient over 20 draws. The field is 21 pixels wide (dashed), and its border hardly counts.
    """
    figure, (left, right) = new_figure((7, 3), 1, 2, width_ratios=(1.3, 1))
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    for (name, label), color in zip(
        (("resnet50", "ResNet-50"), ("resnet18", "ResNet-18"), ("vgg16", "VGG-16")), PALETTE, strict=False
    ):
        layers = [layer for layer in layer_costs(create_model(name), image) if layer.macs and layer.receptive_field]
        fields = [layer.receptive_field[0] for layer in layers]
        left.plot(np.arange(len(fields)) + 1, fields, "o", markersize=4, color=color, label=label)
    left.axhline(224, color=GRAY, linestyle="--")
    left.set(xlabel="convolution", ylabel="receptive field (pixels)")
    left.legend(frameon=False)

    def central(x, kernels):
        for kernel in kernels:
            x = jax.nn.relu(jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_LAYOUT))
        return x[0, 15, 15, 0]

    kernels = jax.random.normal(jax.random.key(0), (20, 10, 3, 3, 16, 16)) / 8
    gradients = jax.jit(jax.vmap(jax.grad(central), (None, 0)))(jnp.ones((1, 31, 31, 16)), kernels)
    shown = right.imshow(jnp.sqrt(jnp.square(gradients).mean((0, 1, 4))), cmap="viridis")
    right.add_patch(Rectangle((4.5, 4.5), 21, 21, fill=False, color="white", linestyle="--"))
    right.set(xlabel="pixel", ylabel="pixel")
    figure.colorbar(shown, ax=right, label="gradient", shrink=0.8)
    return figure


def roofline() -> "Figure":
    """The speed that an H100 can reach at most for the layers of ResNet-50 and ViT-S/16, 64 images in bfloat16.

    Each point is a layer with products; left of the bend memory binds. The gray line is a TPU v5e's.
    """
    figure, ax = new_figure((7, 3.4))
    chip, x = CHIPS["h100"], jax.ShapeDtypeStruct((64, 224, 224, 3), jnp.bfloat16)
    for name, label, color in (("resnet50", "ResNet-50", VERMILION), ("vit_s_16", "ViT-S/16", PALETTE[0])):
        layers = [layer for layer in layer_costs(create_model(name, dtype=jnp.bfloat16), x) if layer.macs]
        bounds = [bound(layer, chip) for layer in layers]
        speeds = [layer.flops / b.seconds / 1e12 for layer, b in zip(layers, bounds, strict=True)]
        ax.scatter([b.intensity for b in bounds], speeds, 15, color=color, alpha=0.4, label=label)
    intensity = np.geomspace(1, 3000, 200)
    for name, color in (("h100", "black"), ("v5e", GRAY)):
        speed = np.minimum(CHIPS[name].flops, intensity * CHIPS[name].bandwidth) / 1e12
        ax.plot(intensity, speed, color=color, linewidth=1, label=name.upper(), zorder=0)
    ax.set(xlabel="intensity (FLOPs / byte)", ylabel="TFLOP/s", xscale="log", yscale="log")
    ax.legend(frameon=False)
    return figure


def step_flops() -> "Figure":
    """Left: a loop of n products of 256 x 256 matrices: XLA counts its body once, `step_flops` n times.

    Right: a step of ResNet-18 on one image. The gradient takes nearly three times the forward pass; where that is
    recomputed, nearly four times.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    matrix, turns = jax.ShapeDtypeStruct((256, 256), jnp.float32), [1, 2, 4, 8, 16, 32]
    loops = [lambda a, n=n: jax.lax.scan(lambda x, _: (a @ x, None), a, None, n)[0] for n in turns]
    by_xla = [jax.jit(loop).lower(matrix).cost_analysis()["flops"] for loop in loops]
    by_jaxpr = [count_flops(loop, matrix).flops for loop in loops]
    left.plot(turns, np.array(by_jaxpr) / 1e6, "o-", color=PALETTE[0], label="step_flops")
    left.plot(turns, np.array(by_xla) / 1e6, "o--", color=VERMILION, label="XLA")
    left.set(xlabel="turns of the loop", ylabel="FLOPs (millions)")
    left.legend(frameon=False)
    model, image = create_model("resnet18"), jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)

    def loss(variables, image):
        return model.apply(variables, image).sum()

    names = ("forward", "gradient", "gradient,\nrecomputed")
    steps = loss, jax.value_and_grad(loss), jax.value_and_grad(jax.checkpoint(loss))
    counts = [count_flops(step, variables, image).flops / 1e9 for step in steps]
    bars = right.bar(names, counts, 0.6, color=PALETTE[0])
    right.bar_label(bars, fmt="%.2f")
    right.set(ylabel="FLOPs (billions)")
    return figure


_LAYOUT = ("NHWC", "HWIO", "NHWC")
