"""Mosaic and copy-paste: new scenes of several training examples, with their boxes, labels and masks.

    mosaic      four images meet at a point of a canvas of one image's size; each quadrant shows what fits into it
    copy-paste  objects of one image are laid over another one, pixel by pixel

Bochkovskiy et al. 2020 (YOLOv4), arXiv:2004.10934; Ghiasi et al. 2021, arXiv:2012.07177. An example holds the arrays of
`dlcore.data.augment.examples` and `labels` [M]. Boxes are clipped to what is visible, of their masks where there are
any, and dropped (box_mask False) where less than `min_fraction` of the former area, of the mask where there is one, is
left, or one square pixel. Large-scale jitter, which Ghiasi et al. combine with copy-paste, is
`random_zoom_example(0.1, 2.0)`, with log-uniform factors where theirs are uniform.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dlcore.data.augment.examples import ExampleAugmentation
from dlcore.learner import Range, check_range
from dlcore.ops.boxes import box_area, masks_to_boxes
from dlcore.ops.checks import check_shapes

__all__ = ["SceneMixing", "copy_paste", "mix_scenes", "mosaic"]

PER_OBJECT = ("boxes", "box_mask", "labels", "masks")
"""Arrays of an example whose first axis is the object."""


class SceneMixing(NamedTuple):
    """How training scenes are mixed, before each is augmented alone.

    Args:
      mosaic: probability that an example becomes a mosaic of itself and three others of the batch.
      copy_paste: probability that objects of another example of the batch are laid over an example with masks.
      then: augmentation of one example behind the mixing; None for none.
    """

    mosaic: float = 0.0
    copy_paste: float = 0.0
    then: ExampleAugmentation | None = None

    def augment_batch(self, keys: jax.Array, examples: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Mix a batch of examples, and augment each.

        Args:
          keys: [B] PRNG keys.
          examples: arrays [B, ...], masks unpacked.

        Returns:
          The examples, with more objects, see `mix_scenes`.
        """
        mixed = mix_scenes(self, keys, examples)
        if self.then is None:
            return mixed
        return jax.vmap(self.then)(jax.vmap(jax.random.fold_in, (0, None))(keys, 6), mixed)


def mosaic(examples: dict[str, jax.Array], center: jax.Array, min_fraction: float = 0.25) -> dict[str, jax.Array]:
    """Join four examples at a point.

    The first lies above left of the point with its lower right corner there, the second above right, the third below
    left, the fourth below right.

    Args:
      examples: arrays with a leading axis of 4: image [4, H, W, C], boxes [4, M, 4], box_mask [4, M], and labels [4, M]
        or masks [4, M, H, W].
      center: [2] int, x and y of the point in pixels, from 0 to (W, H).
      min_fraction: fraction of a mask's area, without masks of a box's, that must be visible for the box to stay.

    Returns:
      The arrays of one example with 4 M objects, the first image's first.
    """
    check_shapes(center=(center, "2 finite"), min_fraction=(min_fraction, "0 to 1"))
    _check_arrays("examples", examples, ("image", "boxes", "box_mask"))
    shapes = {"image": "4 H W C", "boxes": "4 M 4", "box_mask": "4 M", "labels": "4 M", "masks": "4 M H W"}
    check_shapes(**{name: (examples[name], axes) for name, axes in shapes.items() if name in examples})
    height, width = examples["image"].shape[1:3]
    right, below = jnp.array([0, 1, 0, 1]), jnp.array([0, 0, 1, 1])
    # An image right of the point begins there, one left of it ends there.
    shift = jnp.stack([center[0] - width * (1 - right), center[1] - height * (1 - below)], -1)  # [4, 2]
    low = jnp.stack([center[0] * right, center[1] * below], -1)
    high = jnp.stack(
        [jnp.where(right, width, center[0]), jnp.where(below, height, center[1])], -1
    )  # [4, 2], the quadrants
    rows, columns = jnp.arange(height), jnp.arange(width)
    quadrant = 2 * (rows >= center[1])[:, None] + (columns >= center[0])  # [H, W]
    y, x = rows[:, None] - shift[quadrant, 1], columns - shift[quadrant, 0]
    mixed = {"image": examples["image"][quadrant, y, x]}
    boxes = examples["boxes"] + jnp.tile(shift, 2)[:, None]
    clipped = jnp.clip(boxes, jnp.tile(low, 2)[:, None], jnp.tile(high, 2)[:, None])
    after, before = box_area(clipped), box_area(boxes)
    if "masks" in examples:
        visible = examples["masks"][:, :, y, x] & (quadrant == jnp.arange(4)[:, None, None])[:, None]
        mixed["masks"] = visible.reshape(-1, height, width)
        after, before = (masks.sum((-2, -1)) for masks in (visible, examples["masks"]))
        clipped = jnp.where((before > after)[..., None], masks_to_boxes(visible), clipped)
    mixed["boxes"] = clipped.reshape(-1, 4)
    mixed["box_mask"] = _remaining(examples["box_mask"], after, before, min_fraction).reshape(-1)
    if "labels" in examples:
        mixed["labels"] = examples["labels"].reshape(-1)
    return mixed


def copy_paste(
    example: dict[str, jax.Array], other: dict[str, jax.Array], is_copied: jax.Array, min_fraction: float = 0.25
) -> dict[str, jax.Array]:
    """Lay objects of one example over another.

    Boxes of the covered example become those of what is visible of their masks.

    Args:
      example: image [H, W, C], boxes [M, 4], box_mask [M], masks [M, H, W], and perhaps labels [M].
      other: the same arrays of the example whose objects are copied.
      is_copied: [M] bool, which objects of `other` are copied; padding never is, nor an object without a pixel.
      min_fraction: fraction of a mask's area that must be visible for its box to stay.

    Returns:
      The arrays of one example with 2 M objects, the pasted ones behind.
    """
    check_shapes(min_fraction=(min_fraction, "0 to 1"))
    needed = ("image", "boxes", "box_mask", "masks", *(["labels"] if "labels" in example else []))
    shapes = {"image": "H W C", "boxes": "M 4", "box_mask": "M", "masks": "M H W", "labels": "M"}
    for name, arrays in (("example", example), ("other", other)):
        _check_arrays(name, arrays, needed)
    check_shapes(
        **{f"example[{key!r}]": (example[key], shapes[key]) for key in needed},
        **{f"other[{key!r}]": (other[key], shapes[key].replace("M", "N")) for key in needed},
        is_copied=(is_copied, "N"),
    )
    is_copied = is_copied & other["box_mask"].astype(bool) & (other["masks"] > 0).any((1, 2))
    pasted = other["masks"] & is_copied[:, None, None]
    cover = pasted.any(0)
    visible = example["masks"] & ~cover
    before, after = (masks.sum((1, 2)) for masks in (example["masks"], visible))
    touched = (before > after)[:, None]
    mixed = {
        "image": jnp.where(cover[..., None], other["image"], example["image"]),
        "boxes": jnp.concatenate([jnp.where(touched, masks_to_boxes(visible), example["boxes"]), other["boxes"]]),
        "box_mask": jnp.concatenate(
            [_remaining(example["box_mask"], after, before, min_fraction), is_copied.astype(example["box_mask"].dtype)]
        ),
        "masks": jnp.concatenate([visible, pasted]),
    }
    if "labels" in example:
        mixed["labels"] = jnp.concatenate([example["labels"], other["labels"]])
    return mixed


def _check_arrays(name: str, arrays: dict[str, jax.Array], needed: tuple[str, ...]) -> None:
    if missing := [key for key in needed if key not in arrays]:
        raise ValueError(f"{name}={sorted(arrays)}: holds no {', '.join(missing)}; allowed: {', '.join(needed)}")


def _remaining(valid: jax.Array, after: jax.Array, before: jax.Array, min_fraction: float) -> jax.Array:
    """Which objects stay, in the type of `valid`."""
    stays = (after > 1) & (after >= min_fraction * before)
    return valid * stays.astype(valid.dtype)


def mix_scenes(mixing: SceneMixing, keys: jax.Array, examples: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Mix the examples of a batch at random; each draws its partners from the batch.

    An example that is not mixed keeps its objects in front, and padding follows. The point of a mosaic is uniform in
    the middle half of each side; an object is copied with probability 1 / 2.

    Args:
      mixing: probabilities; `then` is not applied.
      keys: [B] PRNG keys.
      examples: arrays [B, ...], masks unpacked; copy-paste needs masks.

    Returns:
      Examples with 4 M objects under mosaic, and twice as many under copy-paste.
    """
    for name in ("mosaic", "copy_paste"):
        check_range(name, getattr(mixing, name), Range(0, 1))
    if mixing.copy_paste and "masks" not in examples:
        raise ValueError(f"copy_paste={mixing.copy_paste}: there are no masks; allowed: 0, or data with masks")
    if left_out := [name for name in ("keypoints", "semantic", "image_size") if name in examples]:
        raise ValueError(f"{mixing}: cannot mix {', '.join(left_out)}; allowed: 0, or images of one size")
    _check_arrays("examples", examples, ("image", "boxes", "box_mask"))
    batch, (height, width) = len(keys), examples["image"].shape[1:3]

    def with_mosaic(key: jax.Array, index: jax.Array) -> dict[str, jax.Array]:
        use, partners, point = (jax.random.fold_in(key, i) for i in range(3))
        selected = jnp.concatenate([index[None], jax.random.randint(partners, (3,), 0, batch)])
        four = jax.tree.map(lambda x: x[selected], source)
        center = (jnp.array([width, height]) * jax.random.uniform(point, (2,), minval=0.25, maxval=0.75)).astype(int)
        joined = mosaic(four, center)
        single = {name: x[0] for name, x in four.items()}
        single |= {name: _padded(single[name], 4) for name in PER_OBJECT if name in single}
        return _choose(jax.random.bernoulli(use, mixing.mosaic), joined, single)

    def with_paste(key: jax.Array, index: jax.Array) -> dict[str, jax.Array]:
        use, which_other, objects = (jax.random.fold_in(key, i) for i in range(3, 6))
        one = jax.tree.map(lambda x: x[index], source)
        other = jax.tree.map(lambda x: x[jax.random.randint(which_other, (), 0, batch)], source)
        is_copied = jax.random.bernoulli(objects, 0.5, one["box_mask"].shape)
        return copy_paste(one, other, is_copied & jax.random.bernoulli(use, mixing.copy_paste), 0.25)

    moved = ("image", *PER_OBJECT)
    source, rest = ({k: v for k, v in examples.items() if (k in moved) == is_moved} for is_moved in (True, False))
    for probability, function in ((mixing.mosaic, with_mosaic), (mixing.copy_paste, with_paste)):
        if probability:
            source = jax.vmap(function)(keys, jnp.arange(batch))
    return source | rest


def _padded(x: jax.Array, times: int) -> jax.Array:
    return jnp.pad(x, [(0, (times - 1) * len(x))] + [(0, 0)] * (x.ndim - 1))


def _choose(use: jax.Array, first: dict[str, jax.Array], second: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {name: jnp.where(use, first[name], second[name].astype(first[name].dtype)) for name in first}
