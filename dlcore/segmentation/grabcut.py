"""GrabCut: colors of object and background, and the cheapest cut between them, in turns.

Rother, Kolmogorov & Blake 2004, "GrabCut"; started by a saliency map as in Simonyan, Vedaldi & Zisserman 2013,
arXiv:1312.6034, section 3.2.

    E(a) = sum_p -log p(x_p | a_p) + gamma sum_{p, q neighbors} [a_p != a_q] / |p - q| exp(-|x_p - x_q|^2 / 2 m)

The least salient pixels are background for good, as those outside the rectangle that a user draws in the paper.
p(x | a) is a mixture of Gaussians in color, fitted to the pixels of each side; m is the mean of |x_p - x_q|^2 over the
8 neighbors. Given the mixtures, the least E is a minimum cut, found on the host by a maximum flow (scipy); given the
cut, the mixtures are fitted anew. They start from the most and the least salient pixels.
"""

import numpy as np

from dlcore.classic_ml.mixture import fit_mixture, log_density, start_from
from dlcore.ops.checks import check_shapes

__all__ = ["color_model", "grabcut", "largest_component", "minimum_cut", "neighbor_weights"]

SAMPLES = 1024
"""Pixels that a mixture is fitted to, drawn with replacement, so that one compiled program serves all images."""


def grabcut(
    image: np.ndarray,
    saliency: np.ndarray,
    *,
    foreground_share: float = 0.03,
    background_share: float = 0.5,
    components: int = 3,
    gamma: float = 5.0,
    iterations: int = 4,
    seed: int = 0,
) -> np.ndarray:
    """Cut the object out of an image.

    Args:
      image: [H, W, 3] in [0, 1], or uint8.
      saliency: [H, W], larger where the object is.
      foreground_share: fraction of the pixels, the most salient, that the object's colors are first taken from.
      background_share: fraction of the pixels, the least salient, that are background, and whose colors are the first.
      components: Gaussians of each mixture.
      gamma: price of the cut.
      iterations: turns of cut and fit; it stops where the cut no longer changes.
      seed: random seed of the pixels that mixtures are fitted to.

    Returns:
      [H, W] bool, the largest connected part of the object.
    """
    image, saliency = np.asarray(image), np.asarray(saliency, np.float64)
    if image.shape[2:] != (3,) or saliency.shape != image.shape[:2]:
        raise ValueError(
            f"saliency.shape={saliency.shape}: not that of the image; allowed: {image.shape[:2]} of [H, W, 3]"
        )
    if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f"image.dtype={image.dtype}: no colors; allowed: uint8, or floating in [0, 1]")
    check_shapes(image=(image, "H W 3 finite"), saliency=(saliency, "H W finite"), gamma=(gamma, ">= 0"))
    check_shapes(iterations=(iterations, "int >= 1"), components=(components, "int >= 1"), seed=(seed, "int >= 0"))
    for name, value in {"foreground_share": foreground_share, "background_share": background_share}.items():
        if not 0 < value < 1:
            raise ValueError(f"{name}={value}: out of range; allowed: in (0, 1)")
    colors = (image / 255 if image.dtype == np.uint8 else image).astype(np.float32)
    rng, pixels, order = np.random.default_rng(seed), colors.reshape(-1, colors.shape[-1]), np.argsort(saliency.ravel())
    count = len(pixels)
    inside, outside = (np.zeros(count, bool) for _ in range(2))
    inside[order[count - max(1, round(foreground_share * count)) :]] = True
    outside[order[: max(1, round(background_share * count))]] = True
    (edges, weights), sure, cut = neighbor_weights(colors, gamma), outside, None
    # Alternate: color models of foreground and background, then the minimum cut.
    for _ in range(iterations):
        costs = [-color_model(pixels, side, components, rng) for side in (outside, inside)]
        gain = np.where(sure, -np.inf, costs[0] - costs[1])
        before, cut = cut, minimum_cut(gain, edges, weights)
        if not cut.any() or cut.all() or (before is not None and (before == cut).all()):
            break
        inside, outside = cut, ~cut
    return largest_component(cut.reshape(saliency.shape))


def color_model(pixels: np.ndarray, chosen: np.ndarray, components: int, rng: np.random.Generator) -> np.ndarray:
    """Fit a mixture to the chosen pixels, and measure all.

    Args:
      pixels: [N, C] float32.
      chosen: [N] bool, at least one.
      components: K; they start at evenly spaced ranks along the direction in which the pixels vary most.
      rng: random number generator of the pixels that are drawn.

    Returns:
      [N] log-densities.
    """
    samples = pixels[np.asarray(chosen, bool)]
    samples = samples[rng.integers(0, len(samples), SAMPLES)]
    centered = samples - samples.mean(0)
    axis = np.linalg.svd(centered.T @ centered)[0][:, 0]
    ranked = samples[np.argsort(centered @ axis, kind="stable")]
    means = ranked[((np.arange(components) + 0.5) / components * SAMPLES).astype(int)]
    start = start_from(means, max(float(centered.var()), 1e-4))
    mixture = fit_mixture(samples, start, iterations=10, epsilon=1e-4).mixture
    return np.asarray(log_density(pixels, mixture), np.float64)


def neighbor_weights(colors: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Compute the weights of edges between neighboring pixels.

    Args:
      colors: [H, W, C].
      gamma: price between two pixels of one color.

    Returns:
      (edges [E, 2] int, pixels numbered row by row, each pair of 8 neighbors once; prices [E]).
    """
    if colors.shape[0] * colors.shape[1] < 2:
        raise ValueError(f"colors.shape={colors.shape}: no neighbors; allowed: at least two pixels")
    height, width = colors.shape[:2]
    p = np.arange(height * width).reshape(height, width)
    pairs = (p[:, :-1], p[:, 1:]), (p[:-1], p[1:]), (p[:-1, :-1], p[1:, 1:]), (p[:-1, 1:], p[1:, :-1])
    edges = np.concatenate([np.stack([a.ravel(), b.ravel()], 1) for a, b in pairs])
    lengths = np.repeat([1, 1, np.sqrt(2), np.sqrt(2)], [a.size for a, _ in pairs])
    flat = colors.reshape(height * width, -1).astype(np.float64)
    squares = np.square(flat[edges[:, 0]] - flat[edges[:, 1]]).sum(1)
    return edges, gamma / lengths * np.exp(-squares / (2 * max(squares.mean(), 1e-12)))


def minimum_cut(gain: np.ndarray, edges: np.ndarray, weights: np.ndarray, limit: float = 50.0) -> np.ndarray:
    """Choose the side of each pixel: the largest sum of gains, less the prices of cut edges.

    Args:
      gain: [N], of a pixel that is inside; its cost where negative. Cut to [-limit, limit], which is beyond the price
        of all its edges.
      edges: [E, 2] int.
      weights: [E], not negative.
      limit: largest gain that counts.

    Returns:
      [N] bool, True inside; the least of the best sets.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    scale, count = 1000, len(gain)
    gain = np.round(scale * np.clip(np.asarray(gain, np.float64), -limit, limit)).astype(np.int32)
    weights = np.round(scale * np.asarray(weights, np.float64)).astype(np.int32)
    # A node for each pixel, a source (foreground) and a sink (background).
    source, sink, pixel_nodes = count, count + 1, np.arange(count)
    rows = np.concatenate([edges[:, 0], edges[:, 1], np.full(count, source), pixel_nodes])
    columns = np.concatenate([edges[:, 1], edges[:, 0], pixel_nodes, np.full(count, sink)])
    capacity = np.concatenate([weights, weights, np.maximum(gain, 0), np.maximum(-gain, 0)])
    graph = csr_array((capacity, (rows, columns)), shape=(count + 2, count + 2))
    graph.eliminate_zeros()
    left = graph - maximum_flow(graph, source, sink).flow
    left.eliminate_zeros()
    reached = np.zeros(count + 2, bool)
    reached[breadth_first_order(left, source, return_predecessors=False)] = True
    return reached[:count]


def largest_component(mask: np.ndarray) -> np.ndarray:
    """Keep the largest part of a mask whose pixels touch by a side.

    Args:
      mask: [H, W] bool.

    Returns:
      [H, W] bool.
    """
    from scipy.ndimage import label

    parts, count = label(mask)
    return mask if count < 2 else parts == 1 + np.bincount(parts.ravel())[1:].argmax()
