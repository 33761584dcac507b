"""Random flips, zooms and warps of an image together with its boxes, masks, keypoints and semantic map.

An augmentation here is `(key, example) -> example`, run inside jit on one preprocessed training example. It moves these
arrays by the same `Warp` and leaves the others unchanged:

    image      [H, W, C] float            bilinear; pixels from outside the image are 0
    boxes      [M, 4] corners in pixels   clipped to the image; box_mask [M] becomes false for boxes that leave it;
                                          where there are masks, a zoom or warp makes them those of what is visible
    masks      [M, H, W] bool             nearest pixel; pixels from outside the image are False
    keypoints  [M, K, 3]                  (x, y, visibility as in COCO); keypoints that leave the image become zeros
    semantic   [H, W] uint8               nearest pixel; pixels from outside the image are void (255)

Where an image is padded to a canvas, `image_size [2]` holds its height and width without the padding and does not
change: flips, zooms and warps move the image within this size, and the padding stays zero.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.data.augment.random_warp import RandomWarp
from dlcore.data.augment.warp import Warp, affine_warp, flip_warp, warp_boxes, warp_image, warp_points
from dlcore.data.masks import unpack_masks
from dlcore.ops.boxes import masks_to_boxes
from dlcore.ops.checks import check_shapes

__all__ = [
    "VOID",
    "ExampleAugmentation",
    "augment_examples",
    "compose_examples",
    "has_pairs",
    "mirror_orders",
    "random_flip_example",
    "random_zoom_example",
    "warp_example",
]

ExampleAugmentation = Callable[[Any, dict[str, jax.Array]], dict[str, jax.Array]]
"""`(key, example) -> example`, applied to the arrays of one training example."""

VOID = 255
"""Label of pixels without a class in semantic maps."""

MOVING = ("boxes", "box_mask", "masks", "keypoints", "semantic")
READ = (*MOVING, "labels", "image_size")


def augment_examples(augment: Any, keys: jax.Array, images: jax.Array, batch: dict) -> dict:
    """Augment a batch of images with their boxes, masks, keypoints and semantic maps.

    Args:
      augment: augmentation of one example, or a `dlcore.data.augment.scene_mixing.SceneMixing` of the whole batch; None
        leaves the examples unchanged.
      keys: [B] PRNG keys, one per example.
      images: [B, H, W, C], preprocessed.
      batch: batch with any of boxes, box_mask, labels, masks, keypoints, semantic and image_size, [B, ...]; the bits of
        `masks` are packed along the width (`pack_masks`).

    Returns:
      `image` and those of the named arrays that the batch has, [B, ...]; masks are unpacked, [B, M, H, W] bool.
    """
    examples = {"image": images} | {name: jnp.asarray(batch[name]) for name in READ if name in batch}
    if "masks" in examples:
        examples["masks"] = unpack_masks(examples["masks"], images.shape[2])
    if (augment_batch := getattr(augment, "augment_batch", None)) is not None:
        return augment_batch(keys, examples)
    return examples if augment is None else jax.vmap(augment)(keys, examples)


def compose_examples(*augmentations: ExampleAugmentation) -> ExampleAugmentation:
    """Chain augmentations of examples; the i-th gets the key `fold_in(key, i)`.

    Args:
      augmentations: functions `(key, example) -> example`, applied in this order.

    Returns:
      `(key, example) -> example`.

    Raises:
      TypeError: an augmentation is not callable; call its factory first, as in `random_flip_example()`.
    """
    for part in augmentations:
        if not callable(part):
            raise TypeError(f"augmentations: {part!r} is not callable; allowed: functions (key, example) -> example")

    def apply(key, example):
        for i, part in enumerate(augmentations):
            example = part(jax.random.fold_in(key, i), example)
        return example

    return apply


def random_flip_example(
    horizontal: float = 0.5, vertical: float = 0.0, keypoint_names: Sequence[str] = ()
) -> ExampleAugmentation:
    """Build an augmentation that mirrors left and right, and independently top and bottom, at random.

    Args:
      horizontal: probability to mirror left and right.
      vertical: probability to mirror top and bottom.
      keypoint_names: names of the K keypoints, by which a mirror swaps left and right keypoints (`mirror_orders`). A
        mirror for which no name has a partner is never applied, as left and right could not be swapped. Without names,
        keypoints keep their order.

    Returns:
      `(key, example) -> example`.
    """
    check_shapes(horizontal=(horizontal, "0 to 1"), vertical=(vertical, "0 to 1"))
    orders = mirror_orders(keypoint_names)
    horizontal, vertical = (
        p if not keypoint_names or has_pairs(order) else 0.0
        for p, order in zip((horizontal, vertical), orders, strict=True)
    )

    def apply(key, example):
        across, down = jax.random.bernoulli(key, jnp.array([horizontal, vertical]))
        height, width = _own_size(example)

        def read(pixels: jax.Array, nearest: bool) -> jax.Array:
            pixels = jnp.where(across, _mirrored(pixels, 1, width), pixels)
            return jnp.where(down, _mirrored(pixels, 0, height), pixels)

        moved = _moved(example, flip_warp((height, width), across, down), read, None)
        if "keypoints" in moved and keypoint_names:
            count = moved["keypoints"].shape[-2]
            if len(keypoint_names) != count:
                raise ValueError(f"{keypoint_names=}: {len(keypoint_names)} of them; allowed: {count}, one a keypoint")
            for mirrored, order in zip((across, down), orders, strict=True):
                points = moved["keypoints"]
                moved["keypoints"] = jnp.where(mirrored, points[:, jnp.array(order)], points)
        return moved

    return apply


def _own_size(example: dict) -> tuple[int | jax.Array, int | jax.Array]:
    """Return (height, width) of the image, without the padding of its canvas."""
    if "image" not in example:
        raise ValueError(f"example={sorted(example)}: holds no image; allowed: image, and any of {', '.join(READ)}")
    return tuple(example["image_size"]) if "image_size" in example else example["image"].shape[:2]


def _without_padding(pixels: jax.Array, size: tuple[int | jax.Array, int | jax.Array]) -> jax.Array:
    """Set pixels [H, W, C] beyond the image's own size to 0."""
    rows, columns = (jnp.arange(n) < length for n, length in zip(pixels.shape[:2], size, strict=True))
    return jnp.where(rows[:, None, None] & columns[:, None], pixels, jnp.zeros((), pixels.dtype))


def _mirrored(pixels: jax.Array, axis: int, length: int | jax.Array) -> jax.Array:
    """Mirror the first `length` pixels along an axis; the padding after them stays in place."""
    mirrored = pixels[:, ::-1] if axis else pixels[::-1]
    return mirrored if isinstance(length, int) else jnp.roll(mirrored, length - pixels.shape[axis], axis)


def mirror_orders(names: Sequence[str]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the order of keypoints after an image is mirrored, by the names of the keypoints.

    The partner of a keypoint has the same name with `right` in place of `left`, or with the word `r` in place of `l`
    (`rt` for `lt`), in any position and case: left_eye and right_eye, Left_Eye, eyeLeft, l_eye, eye.L, LEye. Words of
    four or more letters that differ only in a first letter l or r count too: LEYE and REYE, lhip and rhip. Two
    keypoints are swapped only if each is the partner of the other.

    Left and right of a body (left_eye) are swapped by either mirror, since each turns a left eye into a right one.
    Where a name contains `top` or `bottom`, all names are taken as sides of the picture: left and right are swapped by
    the first mirror only, top and bottom by the second only.

    Args:
      names: names of the K keypoints.

    Returns:
      (order [K] for a mirror of left and right, order [K] for one of top and bottom): index i becomes keypoint
      order[i]; a keypoint without a partner keeps its index.
    """
    words = [_words(name) for name in names]
    sides = any(side in word for name in words for word in name for side in ("top", "bottom"))

    # Names are compared without word boundaries: lshoulder (one word) and RShoulder (two words) are a pair.
    index_of = {"".join(name): i for i, name in enumerate(words)}

    def order(candidates: Callable[[tuple[str, ...]], list[tuple[str, ...]]]) -> tuple[int, ...]:
        partners = [
            next((index_of[c] for c in map("".join, candidates(name)) if c in index_of), i)
            for i, name in enumerate(words)
        ]
        return tuple(j if partners[j] == i else i for i, j in enumerate(partners))

    across = order(_across)
    return across, order(lambda name: [tuple(_swapped(w, "top", "bottom") for w in name)]) if sides else across


def has_pairs(order: Sequence[int]) -> bool:
    """Return whether a mirror swaps any keypoints.

    Args:
      order: [K] indices, one of the two results of `mirror_orders`.

    Returns:
      True where at least two keypoints are swapped.
    """
    return tuple(order) != tuple(range(len(order)))


def _words(name: str) -> tuple[str, ...]:
    """Split a name into lower-case words at punctuation, capitals and digits."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+", name)
    return tuple(word.lower() for word in words)


def _across(name: tuple[str, ...]) -> list[tuple[str, ...]]:
    """List the names that the keypoint of the other side may have, the likeliest first."""
    words = {"l": "r", "r": "l", "lt": "rt", "rt": "lt"}
    swapped = tuple(words.get(word, _swapped(word, "left", "right")) for word in name)
    if swapped != name:
        return [swapped]
    prefixed = [k for k, word in enumerate(name) if word[0] in "lr" and len(word) > 3]
    return [(*name[:k], words[name[k][0]] + name[k][1:], *name[k + 1 :]) for k in prefixed]


def _swapped(word: str, one: str, other: str) -> str:
    return word.replace(one, "\0").replace(other, one).replace("\0", other)


def random_zoom_example(low: float = 0.8, high: float = 1.25, keep: float = 0.4) -> ExampleAugmentation:
    """Build an augmentation that scales by a random factor and cuts a random window of the image's own size.

    Where the scaled image is smaller than the window, it is placed at a random position in it.

    Args:
      low: smallest scale factor.
      high: largest scale factor; factors are log-uniform in [low, high].
      keep: fraction of a box's area, in [0, 1], of a mask's where there are masks, that must be inside the image for
        the box to stay valid; it must also have more than one square pixel inside.

    Returns:
      `(key, example) -> example`.
    """
    check_shapes(low=(low, "finite"), high=(high, "finite"), keep=(keep, "0 to 1"))
    if not 0 < low <= high:
        raise ValueError(f"low={low}, high={high}: not a range; allowed: 0 < low <= high")

    def apply(key, example):
        size = _own_size(example)
        zoom, position = jax.random.split(key)
        factor = jnp.exp(jax.random.uniform(zoom, (), minval=jnp.log(low), maxval=jnp.log(high)))
        slack = jnp.array(size, jnp.float32) * (1 - factor)
        down, right = slack * jax.random.uniform(position, (2,))
        warp = affine_warp(size, translate=(right, down), scale=factor, center=(0.0, 0.0))

        def read(pixels: jax.Array, nearest: bool) -> jax.Array:
            # Without rotation, rows and columns can be resampled one axis at a time.
            if nearest:
                for axis, (length, offset) in enumerate(zip(size, (down, right), strict=True)):
                    target = jnp.arange(pixels.shape[axis])
                    source = jnp.floor((target + 0.5 - offset) / factor).astype(jnp.int32)
                    inside = (source >= 0) & (source < length) & (target < length)
                    inside = inside.reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
                    taken = jnp.take(pixels, jnp.clip(source, 0, length - 1), axis)
                    pixels = jnp.where(inside, taken, jnp.zeros((), pixels.dtype))
                return pixels
            scale = jnp.stack([factor, factor])
            zoomed = jax.image.scale_and_translate(
                pixels, pixels.shape, (0, 1), scale, jnp.stack([down, right]), "linear", antialias=False
            )
            return _without_padding(zoomed, size) if "image_size" in example else zoomed

        return _moved(example, warp, read, keep)

    return apply


def warp_example(draw: RandomWarp, keep: float = 0.3) -> ExampleAugmentation:
    """Build an augmentation that warps an example by a random geometric map.

    Args:
      draw: sampler of maps, from `random_warp`.
      keep: fraction of a box's area, in [0, 1], of a mask's where there are masks, that must be inside the image for
        the box to stay valid; it must also have more than one square pixel inside.

    Returns:
      `(key, example) -> example`.

    Raises:
      TypeError: `draw` is not callable; call its factory first, as in `random_warp()`.
    """
    check_shapes(keep=(keep, "0 to 1"))
    if not callable(draw):
        raise TypeError(f"draw={draw!r}: not callable; allowed: a function (key, size) -> Warp")

    def apply(key, example):
        size = _own_size(example)
        warp = draw(key, size)

        def read(pixels: jax.Array, nearest: bool) -> jax.Array:
            moved = warp_image(pixels, warp, "nearest" if nearest else "bilinear")
            return _without_padding(moved, size) if "image_size" in example else moved

        return _moved(example, warp, read, keep)

    return apply


def _moved(example: dict, warp: Warp, read: Callable[[jax.Array, bool], jax.Array], min_fraction: float | None) -> dict:
    """Move all arrays of an example by `warp`; `read(pixels [H, W, C], nearest)` applies it to pixels.

    A box becomes that of the moved mask, if there is one, and invalid where its part inside the image has at most one
    square pixel, or less than `min_fraction` of its area, of its mask's if there is one. None is for a map of whole
    boxes on whole boxes, which cuts nothing off.
    """
    size, moved = _own_size(example), dict(example)
    moved["image"] = read(example["image"], False)
    if "masks" in example:
        moved["masks"] = jnp.moveaxis(read(jnp.moveaxis(example["masks"], 0, -1), True), -1, 0)
    if "semantic" in example:
        # Add 1 to each label (255 wraps to 0), so that pixels from outside, which read as 0, become void.
        shifted = example["semantic"].astype(jnp.uint8)[..., None] + jnp.uint8(1)
        moved["semantic"] = read(shifted, True)[..., 0] - jnp.uint8(1)
    if "keypoints" in example:
        points, visibility = warp_points(example["keypoints"][..., :2], warp), example["keypoints"][..., 2:]
        inside = ((points >= 0) & (points <= jnp.array(size[::-1]))).all(-1, keepdims=True) & (visibility > 0)
        moved["keypoints"] = jnp.where(inside, jnp.concatenate([points, visibility], -1), 0)
    if "boxes" in example:
        boxes, stays = warp_boxes(example["boxes"], warp, size, None, min_fraction or 0.0)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        if "masks" in example and min_fraction is not None:
            rows, columns = (jnp.arange(n) + 0.5 for n in example["masks"].shape[1:])
            endpoints = warp.forward(jnp.stack(jnp.meshgrid(columns, rows), -1))
            visible = example["masks"] & ((endpoints >= 0) & (endpoints <= jnp.array(size[::-1]))).all(-1)
            before, after, area = (masks.sum((1, 2)) for masks in (example["masks"], visible, moved["masks"]))
            of_masks, stays = masks_to_boxes(moved["masks"]), after >= min_fraction * before
            # Where a whole mask ends within a pixel of the box, the box is the more exact one.
            is_exact = (after == before)[:, None] & (jnp.abs(boxes - of_masks) < 1)
            boxes = jnp.where(is_exact, boxes, of_masks.astype(boxes.dtype))
        stays &= area > (min_fraction is not None)
        valid = example.get("box_mask", jnp.ones(len(boxes), bool))
        moved["boxes"], moved["box_mask"] = boxes, valid * stays.astype(valid.dtype)
    return moved
