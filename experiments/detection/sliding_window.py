"""A classifier that looks at every crop of an image finds the digit in it, at one call a crop.

python -m experiments.detection.sliding_window

A perceptron learns on crops of small images, each with one digit on noise: the digit's class where a crop overlaps the
digit with an IoU of at least 0.8, background below 0.65, and nothing between. It then looks at every crop of test
images, and at windows of three sizes on a grid of places. Measured is the IoU of the crop of highest score with the
digit's box. The claim holds where the mean of every crop is at least 0.7 and the class is right for 90 %.

Measured on 40 images of 20 x 20 pixels: every one of 44,100 crops, in 0.15 processor seconds an image: mean IoU 0.852,
95 % of the classes right; 90 windows: 0.718 and 62.5 %.

Reference: CS231n, lecture 11; Dalal & Triggs 2005.
"""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.data.digits import digits
from dlcore.detection.sliding_window import all_boxes, count_boxes, score_crops, window_boxes
from dlcore.experiment import Headline, PositiveInt, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.ops.boxes import box_iou
from dlcore.ops.roi import roi_align
from dlcore.report.figure import GREEN, VERMILION, new_figure, show_image
from experiments.studies.small_runs import minimize

SIDE = 10
BACKGROUND = 10


class Classifier(nn.Module):
    """Crops [B, 10, 10, 1] -> logits [B, 11], the background last."""

    @nn.compact
    def __call__(self, x):
        x = x.reshape(len(x), -1) - 0.3
        for i in range(2):
            x = nn.relu(nn.Dense(96, kernel_init=nn.initializers.he_normal(), name=f"dense{i}")(x))
        return nn.Dense(BACKGROUND + 1, name="head")(x)


def plant(split: str, count: int, side: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images [N, side, side, 1] of one digit on noise, the digits' boxes [N, 4] and labels [N]."""
    from PIL import Image

    source, rng = digits(split).arrays, np.random.default_rng(seed)
    images = rng.uniform(0, 0.3, (count, side, side, 1)).astype(np.float32)
    boxes = np.zeros((count, 4), np.float32)
    rows = rng.integers(0, len(source["label"]), count)
    for i, row in enumerate(rows):
        size = rng.integers(8, side * 3 // 4 + 1, 2)
        y, x = rng.integers(0, side - size + 1)
        digit = Image.fromarray(source["image"][row, :, :, 0]).resize((size[1], size[0]), Image.Resampling.BILINEAR)
        images[i, y : y + size[0], x : x + size[1], 0] += np.asarray(digit)
        boxes[i] = x, y, x + size[1], y + size[0]
    return images.clip(0, 1), boxes, source["label"][rows]


def crops_of(images: np.ndarray, boxes: np.ndarray, labels: np.ndarray, each: int, seed: int):
    """Crops [N each, 10, 10, 1] and targets: a third anywhere, others near the digit; 11 marks IoU in [0.65, 0.8)."""
    rng, candidates = np.random.default_rng(seed), all_boxes(*images.shape[1:3])
    side = images.shape[1]
    crop_boxes = candidates[rng.integers(0, len(candidates), (len(images), each))]
    near = np.clip(boxes[:, None] + rng.normal(0, 1.5, (len(images), each, 4)).round(), 0, side).astype(np.float32)
    use = (np.arange(each) >= each // 3) & ((near[..., 2:] - near[..., :2]).min(-1) >= 3)
    crop_boxes = np.where(use[..., None], near, crop_boxes)
    crop_boxes[:, -1] = boxes
    shared = np.asarray(jax.vmap(box_iou)(boxes[:, None], crop_boxes))[:, 0]
    targets = np.where(shared >= 0.8, labels[:, None], np.where(shared < 0.65, BACKGROUND, BACKGROUND + 1))
    warp = jax.jit(jax.vmap(lambda image, boxes: roi_align(image, boxes, SIDE, aligned=True)))
    return np.asarray(warp(images, crop_boxes)).reshape(-1, SIDE, SIDE, 1), targets.ravel()


def train(crops: np.ndarray, targets: np.ndarray, steps: int, seed: int) -> dict:
    """Train the classifier by Adam; crops of target 11 are left out."""
    is_background = targets <= BACKGROUND
    crops, targets = jnp.asarray(crops[is_background]), jnp.asarray(targets[is_background])
    net, optimizer, key = Classifier(), optax.adam(optax.cosine_decay_schedule(3e-3, steps)), jax.random.key(seed)

    def loss(params, k):
        rows = jax.random.randint(jax.random.fold_in(key, k), (256,), 0, len(targets))
        logits = net.apply({"params": params}, crops[rows])
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets[rows]).mean()

    params = net.init(key, crops[:1])["params"]
    return jax.jit(lambda params: minimize(loss, params, optimizer, jnp.arange(steps))[0])(params)


def study(
    *,
    num_train: PositiveInt = 1000,
    num_test: PositiveInt = 40,
    image_size: PositiveInt = 20,
    steps: PositiveInt = 1500,
    seed: Seed = 0,
) -> StudyResult:
    """Train on crops, and look at every crop of test images.

    Args:
      num_train: training images; 32 crops of each.
      image_size: side of the images, in pixels, at least 11.
    """
    images, boxes, labels = plant("train", num_train, image_size, seed)
    params = train(*crops_of(images, boxes, labels, 32, seed), steps, seed)
    images, boxes, labels = plant("test", num_test, image_size, seed + 1)
    ways = {
        "every crop": all_boxes(image_size, image_size),
        "three windows, stride 2": window_boxes((image_size,) * 2, [(s, s) for s in (8, 11, 14)], 2),
    }

    @functools.partial(jax.jit, static_argnums=2)
    def look(params, image, way):
        net = Classifier()
        chances = score_crops(
            lambda x: jax.nn.softmax(net.apply({"params": params}, x))[:, :BACKGROUND], image, ways[way], (SIDE, SIDE)
        )
        best = chances.max(1).argmax()
        return jnp.asarray(ways[way])[best], chances[best].argmax(), chances[best].max()

    numbers, detections = {}, {}
    for way, crops in ways.items():
        look(params, images[0], way)[0].block_until_ready()
        start = time.process_time()
        results = [jax.tree.map(np.asarray, look(params, image, way)) for image in images]
        seconds = (time.process_time() - start) / num_test
        detections[way] = np.array([box for box, _, _ in results])
        overlap = np.array(
            [float(box_iou(b[None], f[None])[0, 0]) for b, f in zip(boxes, detections[way], strict=True)]
        )
        right = np.mean([label == target for (_, label, _), target in zip(results, labels, strict=True)])
        numbers |= {
            f"{way}: crops an image": len(crops),
            f"{way}: mean IoU": float(overlap.mean()),
            f"{way}: share of right classes": float(right),
            f"{way}: processor seconds an image": seconds,
        }
    for side in (96, 224):
        numbers[f"crops of {side} x {side} pixels"] = count_boxes(side, side)
    dense, few = ways
    verdict = "; ".join(
        f"{way}: {numbers[f'{way}: crops an image']:,} crops, {numbers[f'{way}: processor seconds an image']:.3f} "
        f"processor seconds an image, mean IoU {numbers[f'{way}: mean IoU']:.3f}, "
        f"{numbers[f'{way}: share of right classes']:.1%} of the classes right"
        for way in (dense, few)
    )
    holds = numbers[f"{dense}: mean IoU"] >= 0.7 and numbers[f"{dense}: share of right classes"] >= 0.9
    headline = Headline(
        "mean IoU of the best of every crop", numbers[f"{dense}: mean IoU"], "digits on noise", tolerance=0.05
    )
    figures = {"found": draw(images, boxes, detections[dense])}
    return StudyResult(numbers, verdict + ".", figures, bool(holds), headline)


def draw(images: np.ndarray, boxes: np.ndarray, detections: np.ndarray):
    """Draw the digits' boxes and the crops of highest score in up to 8 images."""
    count = min(8, len(images))
    figure, axes = new_figure((1.2 * count, 1.5), 1, count)
    for ax, image, box, best in zip(np.atleast_1d(axes), images, boxes, detections, strict=False):
        show_image(ax, image[..., 0], cmap="gray", extent=(0, image.shape[1], image.shape[0], 0))
        for (x1, y1, x2, y2), color in ((box, GREEN), (best, VERMILION)):
            ax.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color=color, lw=1.5)
    return figure


experiment = Study(__file__, __doc__, study, smoke={"num_train": 20, "num_test": 2, "image_size": 12, "steps": 5})

if __name__ == "__main__":
    main(experiment)
