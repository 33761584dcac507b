"""Selective search: boxes that may hold an object, from regions that join in the order of their likeness.

Uijlings, van de Sande, Gevers & Smeulders 2013, "Selective search for object recognition", IJCV 104.

    regions of `graph_segmentation`; join the most similar pair of neighbors until one is left; each region on the way
    gives its box
    s(A, B) = sum_i min(c_A, c_B) + sum_i min(t_A, t_B) + s_size(A, B) + s_fill(A, B)
    s_size = 1 - (|A| + |B|) / |image|,     s_fill = 1 - (|box around A and B| - |A| - |B|) / |image|

c is the histogram of the colors (25 bins a channel) and t that of the derivatives in 8 directions (10 bins a channel),
both of sum 1. Of each color space and scale of the segmentation there is one such hierarchy. The i-th region from the
top of its hierarchy is ranked by i times a random number, and of equal boxes the first stays.
"""

import heapq
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from dlcore.choices import check_choice, check_whole_number
from dlcore.classical_vision.color_histogram import rgb_to_hsv, rgb_to_lab
from dlcore.classical_vision.graph_segmentation import graph_segmentation, neighbor_edges
from dlcore.ops.checks import check_indices, check_range, check_shapes, check_size

__all__ = ["SPACES", "color_space", "merge_regions", "propose", "random_boxes", "region_histograms", "selective_search"]

Space = Literal["rgb", "lab", "hsv", "gray"]
SPACES = ("rgb", "lab", "hsv", "gray")
COLOR_BINS, TEXTURE_BINS, DIRECTIONS = 25, 10, 8


def selective_search(
    image: np.ndarray,
    *,
    spaces: Sequence[Space] = ("lab", "hsv"),
    scales: Sequence[float] = (50.0, 100.0),
    sigma: float = 0.8,
    min_size: int = 20,
    max_proposals: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """Propose boxes in an image.

    Args:
      image: [H, W, 3] uint8.
      spaces: color spaces, of SPACES.
      scales: scales of the segmentation, see `graph_segmentation`.
      sigma: sigma of its blur, in pixels.
      min_size: least pixels of a region.
      max_proposals: most boxes.
      seed: random seed of the random ranks.

    Returns:
      [P, 4] float32 corners in pixels, P <= max_proposals, best first, no box twice.
    """
    image = np.asarray(image)
    _check_image(image)
    check_whole_number("min_size", min_size, 0)
    check_whole_number("max_proposals", max_proposals, 1)
    check_whole_number("seed", seed, 0)
    check_shapes(sigma=(sigma, "finite"), scales=(scales, "S finite"))
    if isinstance(spaces, str):
        raise ValueError(f"spaces={spaces!r}: a word; allowed: a sequence of {', '.join(SPACES)}")
    if not (len(spaces) and len(scales)):
        raise ValueError(f"spaces={spaces}, scales={scales}: empty; allowed: at least one of each")
    rng, boxes, ranks = np.random.default_rng(seed), [], []
    # Diversify by color spaces and by scales of the first segmentation.
    for space in spaces:
        values = color_space(image, space)
        for scale in scales:
            region_boxes = merge_regions(values, graph_segmentation(values, scale, sigma, min_size))
            boxes.append(region_boxes)
            ranks.append(rng.random(len(region_boxes)) * np.arange(len(region_boxes), 0, -1))
    # Late merges first, shuffled; then without duplicates.
    joined = np.concatenate(boxes)[np.argsort(np.concatenate(ranks), kind="stable")]
    _, first = np.unique(joined, axis=0, return_index=True)
    return joined[np.sort(first)[:max_proposals]].astype(np.float32)


def propose(images: np.ndarray, max_proposals: int = 2000, **settings: Any) -> dict[str, np.ndarray]:
    """Propose boxes in each image of a data set, for detectors that are given their proposals.

    Args:
      images: [N, H, W, 3] uint8.
      max_proposals: P, room for boxes of an image.
      **settings: arguments of `selective_search`.

    Returns:
      {"proposals": [N, P, 4] float32, "proposal_mask": [N, P] bool, False for padding}.
    """
    check_shapes(images=(images, "N H W 3"))
    check_whole_number("max_proposals", max_proposals, 1)
    boxes, valid = np.zeros((len(images), max_proposals, 4), np.float32), np.zeros((len(images), max_proposals), bool)
    for i, image in enumerate(images):
        proposals = selective_search(image, max_proposals=max_proposals, **settings)
        boxes[i, : len(proposals)], valid[i, : len(proposals)] = proposals, True
    return {"proposals": boxes, "proposal_mask": valid}


def color_space(image: np.ndarray, space: Space) -> np.ndarray:
    """Convert an image, each channel to [0, 1].

    Args:
      image: [H, W, 3] uint8.
      space: name from SPACES.

    Returns:
      [H, W, C] float32, C = 1 for gray.
    """
    _check_image(image)
    check_choice("space", space, SPACES)
    rgb = image.astype(np.float32) / 255
    if space == "hsv":
        return np.asarray(rgb_to_hsv(rgb))
    if space == "lab":
        return (np.asarray(rgb_to_lab(rgb)) + np.float32((0, 128, 128))) / np.float32((100, 255, 255))
    return rgb if space == "rgb" else rgb.mean(-1, keepdims=True)


def _check_image(image: np.ndarray) -> None:
    if np.ndim(image) != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
        image = np.asarray(image)
        raise ValueError(f"image={image.dtype}{list(image.shape)}: not RGB; allowed: uint8 [H, W, 3]")


def region_histograms(values: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count the colors and the derivatives of each region.

    Args:
      values: [H, W, C] in [0, 1].
      labels: [H, W] int, regions from 0.

    Returns:
      (colors [R, 25 C], derivatives [R, 80 C]), rows of sum 1.
    """
    _check_regions(values, labels)
    values = np.asarray(values, np.promote_types(values.dtype, np.float32))
    from scipy.ndimage import gaussian_filter

    dy, dx = (gaussian_filter(values, (1, 1, 0), order=(*order, 0)) for order in ((1, 0), (0, 1)))
    # Derivatives in eight directions.
    angles = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    slopes = np.maximum(dx[..., None] * np.cos(angles) + dy[..., None] * np.sin(angles), 0)
    slopes = slopes.reshape(*values.shape[:2], -1) / max(float(slopes.max()), 1e-6)
    return _histogram(values, labels, COLOR_BINS), _histogram(slopes, labels, TEXTURE_BINS)


def _check_regions(values: np.ndarray, labels: np.ndarray) -> None:
    check_shapes(values=(values, "H W C"), labels=(labels, "int H W"))
    if not np.size(values):
        raise ValueError(f"values.shape={np.shape(values)}: empty; allowed: at least one pixel")
    check_range("values", values, 0, 1)
    check_indices("labels", labels, np.size(labels), "pixels")
    if unused := sorted(set(range(int(np.max(labels)))) - set(np.unique(labels).tolist())):
        raise ValueError(f"labels: {unused[0]} is no region; allowed: every number from 0 to the largest")


def _histogram(values, labels, bins):
    """[R, C bins] of values [H, W, C] in [0, 1], rows of sum 1."""
    channels, count = values.shape[-1], labels.max() + 1
    index = np.clip((values * bins).astype(int), 0, bins - 1) + bins * np.arange(channels)
    index = index + bins * channels * labels[..., None]
    table = np.bincount(index.ravel(), minlength=count * bins * channels).reshape(count, -1)
    return table / table.sum(1, keepdims=True)


def merge_regions(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Join neighboring regions, the most similar first, until one is left.

    Args:
      values: [H, W, C] in [0, 1].
      labels: [H, W] int, regions from 0, each number in use.

    Returns:
      [2 R - 1, 4] int boxes: those of the R regions, then of each that was joined; the last is the whole image's.
    """
    _check_regions(values, labels)
    height, width = labels.shape
    count, area = int(labels.max()) + 1, height * width
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    regions, total = labels.ravel(), 2 * count - 1
    # Box, histograms and size of each region of the first segmentation.
    boxes = np.zeros((total, 4), int)
    boxes[:, :2] = area
    np.minimum.at(boxes, (regions[:, None], [0, 1]), np.stack([x, y], 1))
    np.maximum.at(boxes, (regions[:, None], [2, 3]), np.stack([x, y], 1) + 1)
    histograms = [np.concatenate([h, np.zeros((count - 1, h.shape[1]))]) for h in region_histograms(values, labels)]
    sizes = np.bincount(regions, minlength=total)

    def similarity(a: Any, b: Any) -> np.ndarray:
        """Of the regions a with the regions b, index arrays."""
        # Color and texture histograms, both small, and the fit of their joint box.
        shared = sum(np.minimum(h[a], h[b]).sum(-1) for h in histograms)
        both = sizes[a] + sizes[b]
        low, high = np.minimum(boxes[a, :2], boxes[b, :2]), np.maximum(boxes[a, 2:], boxes[b, 2:])
        return shared + 2 - both / area - ((high - low).prod(-1) - both) / area

    # Neighboring regions, and a queue of pairs by similarity.
    edges = regions[neighbor_edges(height, width)]
    edges = np.unique(np.sort(edges[edges[:, 0] != edges[:, 1]], 1), axis=0)
    neighbors: list[set[int]] = [set() for _ in range(total)]
    for a, b in edges.tolist():
        neighbors[a].add(b)
        neighbors[b].add(a)
    queue = [(-s, a, b) for s, (a, b) in zip(similarity(*edges.T).tolist(), edges.tolist(), strict=True)]
    heapq.heapify(queue)
    # Merge the most similar pair until one region is left; pairs of merged regions are skipped.
    for new in range(count, total):
        a = b = new
        while b not in neighbors[a]:
            _, a, b = heapq.heappop(queue)
        sizes[new] = sizes[a] + sizes[b]
        boxes[new] = [*np.minimum(boxes[a, :2], boxes[b, :2]), *np.maximum(boxes[a, 2:], boxes[b, 2:])]
        for h in histograms:
            h[new] = (sizes[a] * h[a] + sizes[b] * h[b]) / sizes[new]
        neighbors[new] = (neighbors[a] | neighbors[b]) - {a, b}
        for old in (a, b):
            for other in neighbors[old]:
                neighbors[other].discard(old)
            neighbors[old] = set()
        # Similarities of the new region with its neighbors.
        near = sorted(neighbors[new])
        for other in near:
            neighbors[other].add(new)
        for s, other in zip(similarity(np.full(len(near), new), np.array(near, int)).tolist(), near, strict=True):
            heapq.heappush(queue, (-s, other, new))
    return boxes


def random_boxes(count: int, size: tuple[int, int], smallest: int = 8, seed: int = 0) -> np.ndarray:
    """Draw boxes whose corners are uniform: what proposals must beat.

    Args:
      count: P.
      size: (height, width) of the image.
      smallest: least side, in pixels.
      seed: random seed of the numbers.

    Returns:
      [P, 4] float32 corners in pixels.
    """
    check_size("size", size)
    check_whole_number("count", count, 0)
    check_whole_number("smallest", smallest)
    check_whole_number("seed", seed, 0)
    height, width = size
    if not 1 <= smallest <= min(size):
        raise ValueError(f"smallest={smallest}: out of range; allowed: 1 to {min(size)}")
    rng, boxes_valid = np.random.default_rng(seed), np.zeros((0, 4), int)
    while len(boxes_valid) < count:
        x, y = (np.sort(rng.integers(0, side + 1, (4 * count, 2)), 1) for side in (width, height))
        boxes = np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1)
        boxes_valid = np.concatenate([boxes_valid, boxes[(boxes[:, 2:] - boxes[:, :2]).min(1) >= smallest]])
    return boxes_valid[:count].astype(np.float32)
