"""Classify every pixel by the patch around it: the logits of a dense network, at many times its cost.

python -m experiments.segmentation.sliding_patch

A network of L 3x3 convolutions without padding takes a patch of side 1 + 2 L to one location. Where a pixel's patch
lies inside the image it must give the logits of the same weights applied to the whole image at once. `dlcore.cost`
counts what a pixel costs: the patches of neighbors overlap, and what they share is computed anew for each; with one
layer nothing is shared, and the costs are equal.

Measured: with 8 layers, which see 17 x 17 pixels, the patches take 69 times the multiply-adds and 104 times the time of
the dense network; the logits agree to 2e-6 of their deviation.

Reference: Ciresan, Giusti, Gambardella & Schmidhuber 2012, "Deep neural networks segment neuronal membranes".
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.layers import layer_costs, total
from dlcore.data.segmentation import scene_maps
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, VERMILION
from dlcore.segmentation.full_resolution import FullResolutionNet


def macs(model, height: int, width: int) -> int:
    """Multiply-adds of one image."""
    return total(layer_costs(model, jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32))).macs


def patches_of(image: np.ndarray, side: int) -> np.ndarray:
    """All patches that lie inside: [H - side + 1, W - side + 1, side, side, C]."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (side, side), axis=(0, 1))
    return np.moveaxis(windows, 2, -1)


def by_patches(apply, variables, image: np.ndarray, side: int, batch: int = 1024) -> np.ndarray:
    """Logits of the center pixel of every patch, by a compiled function: [H - side + 1, W - side + 1, C]."""
    patches = patches_of(image, side)
    rows, columns = patches.shape[:2]
    patches = patches.reshape(rows * columns, side, side, -1)
    padded = np.concatenate([patches, np.zeros((-len(patches) % batch, *patches.shape[1:]), patches.dtype)])
    parts = [np.asarray(apply(variables, padded[i : i + batch])) for i in range(0, len(padded), batch)]
    return np.concatenate(parts)[: len(patches)].reshape(rows, columns, -1)


def draw(depths, macs, times):
    from dlcore.report.figure import new_figure

    figure, ax = new_figure((7.0, 4.0))
    ax.semilogy(depths, macs, "o-", color=BLUE, label="multiply-adds, counted")
    ax.semilogy(depths, times, "o-", color=VERMILION, label="time, measured")
    ax.set(xlabel="layers L", ylabel="patches / dense network")
    ax.legend(frameon=False)
    return figure


def study(
    *, size: PositiveInt = 64, channels: PositiveInt = 16, max_layers: PositiveInt = 8, num_classes: PositiveInt = 6
) -> StudyResult:
    """Compare patches with the dense network, by depth.

    Args:
      size: side of the scene, in pixels.
      channels: number of channels of each layer.
      max_layers: greatest depth L; the depths are the powers of 2 up to it.
      num_classes: number of classes of the logits.
    """
    image = (
        scene_maps(1, 0, size=size, smallest=size // 6, largest=size // 2).arrays["image"][0].astype(np.float32) / 255
        - 0.5
    )
    depths, rows, worst = [2**k for k in range(max_layers.bit_length())], [], 0.0
    for depth in depths:
        side = 1 + 2 * depth
        dense, patched = (FullResolutionNet(num_classes, depth, channels, padding=p) for p in ("SAME", "VALID"))
        variables = dense.init(jax.random.key(0), image[None])
        keys = iter(jax.random.split(jax.random.key(1), 1000))
        # Trained weights are not zero: the last layer, the biases and the statistics are drawn here.
        variables = jax.tree.map(lambda leaf: leaf + 0.2 * jax.random.normal(next(keys), leaf.shape) ** 2, variables)
        whole, by_patch = jax.jit(dense.apply), jax.jit(patched.apply)
        expected = np.asarray(whole(variables, image[None]))[0, depth : size - depth, depth : size - depth]
        got = by_patches(by_patch, variables, image, side)
        worst = max(worst, float(np.abs(got - expected).max() / expected.std()))
        start = time.perf_counter()
        jax.block_until_ready(whole(variables, image[None]))
        middle = time.perf_counter()
        by_patches(by_patch, variables, image, side)
        times = middle - start, time.perf_counter() - middle
        inside = (size - 2 * depth) ** 2
        of_dense, of_patch = macs(dense, size, size) / size**2, macs(patched, side, side)  # for each pixel
        rows.append(
            {
                "patch": side,
                "dense, multiply-adds a pixel": round(of_dense),
                "patches, multiply-adds a pixel": of_patch,
                "ratio": round(of_patch / of_dense, 2),
                "ratio of times": round((times[1] / inside) / (times[0] / size**2), 1),
            }
        )
    ratios = [row["ratio"] for row in rows]
    numbers = {f"{layers} layers": row for layers, row in zip(depths, rows, strict=True)}
    numbers["largest difference of logits, in their deviations"] = worst
    equal, grows = worst < 1e-4, ratios[0] == 1 and bool((np.diff(ratios) > 0).all())
    verdict = (
        f"The logits {'agree' if equal else 'do NOT agree'} to {worst:.0e} of their standard deviation. For each pixel "
        f"the patches take {ratios[0]:g} times the dense network's multiply-adds with {depths[0]} layer, and "
        f"{ratios[-1]:g} times with {depths[-1]}, {rows[-1]['ratio of times']:g} times the time."
    )
    headline = Headline("patches over dense, multiply-adds", ratios[-1], dataset="scenes")
    figures = {"cost_by_depth": draw(depths, ratios, [row["ratio of times"] for row in rows])}
    return StudyResult(numbers, verdict, figures, equal and grows, headline)


experiment = Study(__file__, __doc__, study, smoke={"size": 24, "channels": 4, "max_layers": 2})

if __name__ == "__main__":
    main(experiment)
