"""Simple methods on scenes: regions and their shapes, histograms of solids, trees of pixels."""

import jax.numpy as jnp
import numpy as np

from dlcore.classical_vision.graph_segmentation import graph_segmentation
from dlcore.diagnostics.simple_images import point_histograms, region_features
from dlcore.diagnostics.simple_methods import best_classifier, flat
from dlcore.metrics.depth import align_scale_and_shift, depth_metrics
from dlcore.metrics.segmentation import iou_per_class
from experiments.simple.method import SimpleMethod, page_splits

__all__ = ["METHODS"]


def scenes_regions(seed: int) -> float:
    """Segment scenes: cut them into regions of similar color, and classify each by the numbers of its shape.

    200 of the training scenes teach the trees. All settings are fixed: no choice is made.
    """
    from sklearn.ensemble import ExtraTreesClassifier

    train, _, test = page_splits("segmentation.deeplab")[:3]
    rows, classes = [], []
    for image, semantic in zip(train.arrays["image"][:200], train.arrays["semantic"][:200], strict=True):
        labels = graph_segmentation(image, scale=50, sigma=0.8, min_size=30)
        counts = np.zeros((labels.max() + 1, 6))
        np.add.at(counts, (labels, semantic), 1)
        rows.append(region_features(labels, image))
        classes.append(counts.argmax(1))
    trees = ExtraTreesClassifier(300, random_state=seed).fit(np.concatenate(rows), np.concatenate(classes))
    confusion = np.zeros((6, 6))
    for image, semantic in zip(test.arrays["image"], test.arrays["semantic"], strict=True):
        labels = graph_segmentation(image, scale=50, sigma=0.8, min_size=30)
        np.add.at(confusion, (semantic, trees.predict(region_features(labels, image))[labels]), 1)
    return float(np.nanmean(iou_per_class(confusion)))


def digit_scenes_crop(seed: int) -> float:
    """Classify digits in scenes by neighbors of the part that is brightest when blurred."""
    from scipy.ndimage import uniform_filter

    def rows(part):
        images = np.asarray(part.arrays["image"][..., 0], np.float32)
        blurred = uniform_filter(images, (0, 15, 15), mode="constant").reshape(len(images), -1)
        y, x = np.divmod(blurred.argmax(1), images.shape[2])
        padded = np.pad(images, ((0, 0), (8, 8), (8, 8)))
        crops = [image[i : i + 16, j : j + 16] for image, i, j in zip(padded, y, x, strict=True)]
        return flat(np.stack(crops)), part.arrays["label"]

    train, valid, test = (rows(part) for part in page_splits("classification.hard_attention")[:3])
    return best_classifier(train, valid, kinds=("knn",))[1].score(*test)


def _best_of_trees(train, valid, test) -> float:
    """Score the better of boosted and of random trees."""
    return best_classifier(train, valid, kinds=("boosting", "trees"))[1].score(*test)


def voxel_histograms(seed: int) -> float:
    """Classify solids of voxels by histograms of their positions, of their neighbors, and counts of their surface."""
    from scipy.ndimage import uniform_filter

    def rows(part):
        features = []
        for grid in np.asarray(part.arrays["image"])[..., 0] > 0:
            surface = sum(np.abs(np.diff(np.pad(grid, 1), axis=axis)).sum() for axis in range(3))
            positions = np.argwhere(grid)
            numbers = [[len(positions), surface / len(positions) ** (2 / 3)]]
            for width in (3, 5):
                around = uniform_filter(grid.astype(np.float64), width, mode="constant")[grid]
                numbers.append(np.histogram(around, 9, (0, 1.001))[0] / len(positions))
            features.append(np.concatenate([*numbers, point_histograms(positions)]))
        return np.array(features), part.arrays["label"]

    return _best_of_trees(*(rows(part) for part in page_splits("vision3d.voxel_classifier", seed=seed)[:3]))


def point_cloud_histograms(seed: int) -> float:
    """Classify clouds of points by histograms of their places and distances."""

    def rows(part):
        return np.array([point_histograms(points) for points in part.arrays["points"]]), part.arrays["label"]

    return _best_of_trees(*(rows(part) for part in page_splits("vision3d.pointnet", seed=seed)[:3]))


def depth_trees(seed: int) -> float:
    """Tell the depth of a pixel by trees of its place, its colors, the like run of its column, and the coarse image."""
    targets, disparity = _disparity_of_trees("vision3d.depth", seed)
    return float(depth_metrics((1 / disparity).astype(np.float32), targets)["abs_rel"].compute())


def aligned_depth_trees(seed: int) -> float:
    """Measure the same on the scenes of Depth Anything and DPT, scaled and shifted to each image as theirs is."""
    targets, disparity = _disparity_of_trees("vision3d.depth_anything", seed)
    aligned = align_scale_and_shift(disparity, 1 / targets)
    return float(depth_metrics(1 / jnp.maximum(aligned, 1 / 80), targets)["abs_rel"].compute())


def _disparity_of_trees(page: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (depth [N, H, W], predicted disparity [N, H, W]) of the test images, by trees of up to 800 images."""
    from scipy.ndimage import gaussian_filter
    from sklearn.ensemble import ExtraTreesRegressor

    def rows(images):
        images = images / np.float32(255) if images.dtype == np.uint8 else images
        y, x = np.broadcast_arrays(*np.mgrid[: images.shape[1], : images.shape[2]])
        parts = [np.broadcast_to(index, images.shape[:3])[..., None] for index in (y, x)]
        parts += [images, *(gaussian_filter(images, (0, sigma, sigma, 0)) for sigma in (1, 2, 4, 8))]
        for flipped in (images, images[:, ::-1]):
            steps, run = np.abs(np.diff(flipped, axis=1)).sum(-1) < 0.1, np.zeros(images.shape[:3])
            for row in range(1, images.shape[1]):
                run[:, row] = np.where(steps[:, row - 1], run[:, row - 1] + 1, 0)
            parts.append((run if flipped is images else run[:, ::-1])[..., None])
        coarse = gaussian_filter(images, (0, 2, 2, 0))[:, 4::8, 4::8].reshape(len(images), 1, 1, -1)
        parts = [*parts, np.broadcast_to(coarse, (*images.shape[:3], coarse.shape[-1]))]
        return np.concatenate([part.astype(np.float32) for part in parts], -1)

    train, _, test = page_splits(page)[:3]
    images, depth = (train.arrays[name][:800] for name in ("image", "depth"))
    rng = np.random.default_rng(seed)
    indices = [rng.permutation(depth[0].size)[: 100_000 // len(images)] for _ in images]
    features = np.concatenate(
        [rows(image[None]).reshape(depth[0].size, -1)[k] for image, k in zip(images, indices, strict=True)]
    )
    disparity = np.concatenate([1 / values.ravel()[k] for values, k in zip(depth, indices, strict=True)])
    trees = ExtraTreesRegressor(60, min_samples_leaf=10, max_features=0.5, random_state=seed).fit(features, disparity)
    targets = test.arrays["depth"]
    maps = [trees.predict(rows(image[None])[0].reshape(depth[0].size, -1)) for image in test.arrays["image"]]
    return targets, np.stack(maps).reshape(targets.shape)


SEGMENTERS = ("deeplab", "pspnet", "segformer", "lraspp", "full-resolution", "unet", "fcn")
METHODS = [
    SimpleMethod(
        "scenes-regions",
        tuple(f"scenes-{name}" for name in SEGMENTERS),
        "test mean_iou",
        "higher",
        "regions of similar color, extremely randomized trees of 56 numbers of their shape",
        scenes_regions,
    ),
    SimpleMethod(
        "digit-scenes-crop",
        ("classification.hard_attention-digit scenes",),
        "test accuracy",
        "higher",
        "k-NN of the part that is brightest when blurred",
        digit_scenes_crop,
    ),
    SimpleMethod(
        "voxels-histograms",
        ("vision3d.voxel_classifier-voxel solids",),
        "test accuracy",
        "higher",
        "histograms of positions and neighbors, boosted or random trees",
        voxel_histograms,
    ),
    SimpleMethod(
        "points-histograms",
        ("vision3d.pointnet-solids",),
        "test accuracy",
        "higher",
        "histograms of places and distances, boosted or random trees",
        point_cloud_histograms,
        seeds=(0, 1, 2),
    ),
    SimpleMethod(
        "depth-trees",
        ("vision3d.depth-rgbd scenes",),
        "test abs_rel",
        "lower",
        "extremely randomized trees of place, colors and runs of the column",
        depth_trees,
    ),
    SimpleMethod(
        "aligned-depth-trees",
        ("depth-anything-scenes", "dpt-scenes"),
        "test abs_rel",
        "lower",
        "extremely randomized trees of place, colors and runs of the column, scaled and shifted to each image",
        aligned_depth_trees,
    ),
]
