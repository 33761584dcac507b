"""Figures of techniques of dlcore.ops: each function is named as its technique, and its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.patches import Rectangle

from dlcore.data.sample_images import sample_image
from dlcore.data.scenes import scenes
from dlcore.ops.arithmetic import conv_macs, receptive_field
from dlcore.ops.assignment import assign
from dlcore.ops.boxes import box_iou
from dlcore.ops.fft_convolution import conv_fft
from dlcore.ops.nms import nms as suppress
from dlcore.ops.transposed_convolution import conv_transpose
from dlcore.ops.winograd import conv_winograd, winograd_multiplications
from dlcore.report.figure import GRAY, PALETTE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["arithmetic", "assignment", "fft_convolution", "nms", "transposed_convolution", "winograd"]


def arithmetic() -> "Figure":
    """Left: the receptive field of stacks of convolutions against their depth.

    Right: multiply-adds of layers with as many input as output channels and maps of 56 x 56. Three layers of 3 x 3 see
    as much as one of 7 x 7 and cost about half; a depthwise layer with one of 1 x 1 costs least.
    """
    figure, (left, right) = new_figure((7, 3), 1, 2)
    depth, channels = np.arange(9), 2 ** np.arange(5, 10)
    stacks = {
        "3 x 3, stride 2": [receptive_field([3] * n, [2] * n) for n in depth],
        "3 x 3, dilation 1, 2, 4, ...": [receptive_field([2 * 2**i + 1 for i in range(n)]) for n in depth],
        "7 x 7": [receptive_field([7] * n) for n in depth],
        "3 x 3": [receptive_field([3] * n) for n in depth],
    }
    for (label, fields), color, style in zip(stacks.items(), PALETTE, ["-", "--", "-", "-"], strict=False):
        left.plot(depth, fields, style, marker="o", markersize=3, color=color, label=label)
    left.set(xlabel="layers", ylabel="receptive field (pixels)", yscale="log")
    layers = {
        "7 x 7": [conv_macs(56, c, c, 7) for c in channels.tolist()],
        "three of 3 x 3": [3 * conv_macs(56, c, c, 3) for c in channels.tolist()],
        "3 x 3": [conv_macs(56, c, c, 3) for c in channels.tolist()],
        "depthwise 3 x 3, then 1 x 1": [conv_macs(56, c, c, 3, c) + conv_macs(56, c, c, 1) for c in channels.tolist()],
    }
    for (label, macs), color in zip(layers.items(), PALETTE, strict=False):
        right.plot(channels, np.array(macs) / 1e6, marker="o", markersize=3, color=color, label=label)
    right.set(xlabel="channels", ylabel="multiply-adds (millions)", xscale="log", yscale="log", ylim=(2, 1e7))
    right.set_xticks(channels, channels)
    right.minorticks_off()
    for ax in (left, right):
        ax.legend(frameon=False, fontsize=8)
    return figure


def assignment() -> "Figure":
    """Eight targets (circles) and twelve predictions (dots): the distances, and who gets whom.

    The assignment of least total distance beats the greedy one, which gives each target in turn the nearest prediction
    that is left: the greedy one saves a little at first and pays at the end.
    """
    figure, (left, right) = new_figure((7, 3.2), 1, 2, width_ratios=(1, 1.2))
    rng = np.random.default_rng(0)
    targets, predictions = rng.random((8, 2)), rng.random((12, 2))
    cost = np.linalg.norm(predictions[:, None] - targets, axis=-1)
    best, greedy = np.asarray(assign(jnp.asarray(cost))), []
    for column in range(8):
        greedy.append(min(set(range(12)) - set(greedy), key=lambda row, column=column: cost[row, column]))
    image = left.imshow(cost, cmap="Greys")
    figure.colorbar(image, ax=left, label="distance", shrink=0.9)
    left.plot(range(8), greedy, "x", color=VERMILION, markersize=9)
    left.plot(range(8), best, "o", color=PALETTE[0], markersize=6, markerfacecolor="none", markeredgewidth=2)
    left.set(xlabel="target", ylabel="prediction")
    for rows, color, style, name in ((greedy, VERMILION, "--", "greedy"), (best, PALETTE[0], "-", "least total")):
        for column, row in enumerate(rows):
            label = f"{name}: {cost[rows, range(8)].sum():.2f}" if column == 0 else None
            right.plot(*zip(targets[column], predictions[row], strict=True), style, color=color, label=label)
    right.plot(*predictions.T, "o", color="black", markersize=4)
    right.plot(*targets.T, "o", color="black", markersize=9, markerfacecolor="none")
    right.set(xlabel="x", ylabel="y", ylim=(None, 1.25))
    right.legend(frameon=False, loc="upper center", ncols=2)
    return figure


def fft_convolution() -> "Figure":
    """A photograph, and what a disk of 31 x 31 pixels makes of it by a product of spectra.

    Right: operations for 64 x 64 pixels and 16 channels, as XLA counts them. Those of the direct convolution grow with
    the kernel's area; those of the Fourier transforms do not depend on it.
    """
    figure, (before, after, right) = new_figure((7, 2.6), 1, 3, width_ratios=(1, 1, 1.3))
    y, x = np.mgrid[-15:16, -15:16]
    disk = (x**2 + y**2 <= 15**2).astype(np.float32)
    photograph = sample_image("flower", 160)[:, 40:200].astype(np.float32) / 255
    blurred = conv_fft(photograph.transpose(2, 0, 1)[..., None], disk[..., None, None] / disk.sum(), padding="SAME")
    for ax, pixels, label in ((before, photograph, "before"), (after, blurred[..., 0].transpose(1, 2, 0), "after")):
        ax.imshow(np.clip(pixels, 0, 1))
        ax.set(xticks=[], yticks=[], xlabel=label)
    sizes, image = range(1, 32, 2), jax.ShapeDtypeStruct((1, 64, 64, 16), jnp.float32)
    for conv, label, color in ((_direct, "direct", VERMILION), (conv_fft, "by spectra", PALETTE[0])):
        kernels = [jax.ShapeDtypeStruct((k, k, 16, 16), jnp.float32) for k in sizes]
        operations = [jax.jit(conv).lower(image, kernel).cost_analysis()["flops"] for kernel in kernels]
        right.plot(sizes, np.array(operations) / 1e6, color=color, label=label)
    right.set(xlabel="kernel's side (pixels)", ylabel="operations (millions)", yscale="log")
    right.legend(frameon=False)
    return figure


def nms() -> "Figure":
    """Left: 60 boxes that a detector might give for the shapes; their scores are their overlaps with the truth.

    Middle: those that non-maximum suppression keeps at a threshold of 0.3, one for each shape. Right: a high
    threshold keeps several boxes of one shape.
    """
    figure, (before, after, right) = new_figure((7, 2.6), 1, 3, width_ratios=(1, 1, 1.2))
    rng, scene = np.random.default_rng(0), scenes(8).arrays
    number = int(np.argmax(scene["box_mask"].sum(1)))
    truth = scene["boxes"][number][scene["box_mask"][number]]
    boxes = jnp.asarray(truth[np.arange(60) % len(truth)] + rng.normal(0, 3, (60, 4)), jnp.float32)
    scores = box_iou(boxes, jnp.asarray(truth)).max(1)
    kept = np.asarray(suppress(boxes, scores, 0.3))
    for ax, chosen, label in ((before, kept | True, "before"), (after, kept, "after")):
        ax.imshow(scene["image"][number])
        for x0, y0, x1, y1 in np.asarray(boxes)[chosen]:
            ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color=VERMILION, linewidth=1))
        ax.set(xticks=[], yticks=[], xlabel=f"{label}: {chosen.sum()} boxes")
    thresholds = np.linspace(0, 1, 51)
    counts = jax.vmap(lambda t: suppress(boxes, scores, t).sum())(jnp.asarray(thresholds))
    right.plot(thresholds, counts, color=PALETTE[0])
    right.axhline(len(truth), color=GRAY, linestyle="--")
    right.text(0.02, len(truth) + 1.5, f"{len(truth)} shapes", fontsize=9)
    right.set(xlabel="threshold (IoU)", ylabel="boxes kept")
    return figure


def transposed_convolution() -> "Figure":
    """Left: the matrix of a transposed convolution of one axis, with a kernel of 3 taps and stride 2.

    Each input value puts the kernel, times itself, into its column. On the right, kernels of ones on 6 x 6 inputs of
    one: 3 x 3 at stride 2 overlap unevenly, which gives a checkerboard; 4 x 4 at stride 2 overlap evenly inside.
    """
    figure, (left, middle, right) = new_figure((7, 2.8), 1, 3)
    kernel = jnp.array([1.0, 3.0, 2.0])[:, None, None]
    matrix = jax.jacobian(lambda x: conv_transpose(x[None, :, None], kernel, 2)[0, :, 0])(jnp.ones(6))
    left.imshow(matrix, cmap="Blues", vmax=6, aspect="auto")
    for (row, column), value in np.ndenumerate(np.asarray(matrix)):
        left.text(column, row, f"{value:.0f}" if value else "", ha="center", va="center", fontsize=8)
    left.set(xlabel="input", ylabel="output", xticks=range(6))
    for ax, taps in ((middle, 3), (right, 4)):
        overlaps = conv_transpose(jnp.ones((1, 6, 6, 1)), jnp.ones((taps, taps, 1, 1)), 2)[0, ..., 0]
        image = ax.imshow(overlaps, cmap="Blues", vmin=0, vmax=4)
        ax.set(xlabel=f"output, kernel {taps} x {taps}", xticks=[], yticks=[])
    figure.colorbar(image, ax=(middle, right), label="overlapping kernels", shrink=0.7, ticks=range(5))
    return figure


def winograd() -> "Figure":
    """Left: multiplications for an output pixel of a 3 x 3 convolution.

    Winograd's algorithm takes 4 at even sizes instead of 9, and more where tiles are cut. Right: its errors in float32
    of 32 channels, against float64, are no wider than those of the direct sum.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    sides = range(1, 25)
    counts = [winograd_multiplications(side, side) for side in sides]
    for name, color in (("direct", VERMILION), ("winograd", PALETTE[0])):
        each = [count[name] / side**2 for count, side in zip(counts, sides, strict=True)]
        left.plot(sides, each, marker="o", markersize=3, color=color, label=name)
    left.set(xlabel="output's side (pixels)", ylabel="multiplications / pixel", ylim=(0, 17))
    rng = np.random.default_rng(0)
    x, kernel = (rng.normal(size=s).astype(np.float32) for s in ((1, 34, 34, 32), (3, 3, 32, 32)))
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (3, 3), (1, 2))
    exact = np.einsum("nhwcij,ijco->nhwo", windows, kernel.astype(np.float64), optimize=True)
    edges = np.linspace(-1, 1, 81)
    for conv, label, color in ((_direct, "direct", VERMILION), (conv_winograd, "winograd", PALETTE[0])):
        error = (np.asarray(conv(x, kernel), np.float64) - exact) / exact.std()
        right.hist(error.ravel() * 1e6, edges, histtype="step", color=color, label=label)
    right.set(xlabel="error / deviation of the output ($10^{-6}$)", ylabel="output values")
    left.legend(frameon=False)
    right.legend(frameon=False)
    return figure


def _direct(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolve by XLA's own convolution."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
