"""Mosaic and copy-paste: the geometry by hand, what is clipped and dropped, labels and masks that move along."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.augment.scene_mixing import SceneMixing, copy_paste, mix_scenes, mosaic


def four_examples():
    """Images of 8 pixels by 8 of one value each; of each a box in the middle, and one below right."""
    boxes = np.array([[2, 2, 6, 6], [6, 6, 8, 8]], np.float32)
    masks = np.zeros((2, 8, 8), bool)
    masks[0, 2:6, 2:6], masks[1, 6:, 6:] = True, True
    return {
        "image": jnp.asarray(np.broadcast_to(np.arange(1.0, 5)[:, None, None, None], (4, 8, 8, 1))),
        "boxes": jnp.asarray(np.broadcast_to(boxes, (4, 2, 4))),
        "box_mask": jnp.asarray(np.array([[True, True]] * 3 + [[False, True]])),
        "labels": jnp.asarray(np.arange(8).reshape(4, 2)),
        "masks": jnp.asarray(np.broadcast_to(masks, (4, 2, 8, 8))),
    }


@pytest.mark.covers("DE-36")
def test_a_mosaic_by_hand():
    """At (3, 5). The first image moves by (3 - 8, 5 - 8), the second by (3, -3), the third by (-5, 5), the fourth by
    (3, 5). So the middle box of the first becomes (-3, -1, 1, 3), of which (0, 0, 1, 3) is left: 3 of 16, less than a
    quarter; its second box (1, 3, 3, 5) stays."""
    mixed = jax.device_get(jax.jit(mosaic)(four_examples(), jnp.array([3, 5])))
    image = mixed["image"][..., 0]
    assert [image[4, 2], image[4, 3], image[5, 2], image[5, 3]] == [1, 2, 3, 4]
    np.testing.assert_array_equal(
        mixed["boxes"],
        [
            [0, 0, 1, 3],
            [1, 3, 3, 5],
            [5, 0, 8, 3],  # (5, -1, 9, 3): 9 of 16
            [0, 0, 0, 0],  # (9, 3, 11, 5): nothing
            [0, 7, 1, 8],  # (-3, 7, 1, 11): 1 of 16
            [0, 0, 0, 0],  # (1, 11, 3, 13): nothing
            [5, 7, 8, 8],  # padding
            [0, 0, 0, 0],
        ],
    )
    assert mixed["box_mask"].tolist() == [False, True, True, False, False, False, False, False]
    assert mixed["labels"].tolist() == list(range(8))
    # Masks lie in what is left of their boxes.
    for mask, (x0, y0, x1, y1) in zip(mixed["masks"], mixed["boxes"].astype(int), strict=True):
        expected = np.zeros((8, 8), bool)
        expected[y0:y1, x0:x1] = True
        np.testing.assert_array_equal(mask, expected)


def test_a_box_of_two_pixels_stays_and_one_of_a_pixel_does_not():
    """The fourth image moves by (3, 5): both of its boxes are inside."""
    examples = {name: x for name, x in four_examples().items() if name != "masks"}
    boxes = np.array(examples["boxes"])
    boxes[3] = [[0, 0, 2, 1], [1, 0, 2, 1]]
    valid = np.array(examples["box_mask"])
    valid[3] = True
    mixed = jax.jit(mosaic)({**examples, "boxes": boxes, "box_mask": valid}, jnp.array([3, 5]))
    np.testing.assert_array_equal(mixed["boxes"][6:], [[3, 5, 5, 6], [4, 5, 5, 6]])
    assert mixed["box_mask"][6:].tolist() == [True, False]


def l_shapes():
    """An object that is a pole at the left and a foot below: its box is 12 x 12, most of which it does not cover."""
    mask = np.zeros((16, 16), bool)
    mask[:12, :2] = mask[10:12, :12] = True
    return {
        "image": mask[..., None].astype(np.float32),
        "boxes": np.array([[0, 0, 12, 12]], np.float32),
        "box_mask": np.ones(1, bool),
        "masks": mask[None],
    }


def test_boxes_of_a_mosaic_are_those_of_what_is_visible_of_the_masks():
    """At (12, 6) the first shows its rows from 10 on, 12 columns from 4: the foot from 4 on, 16 of its 44 pixels."""
    four = {name: np.stack([x] * 4) for name, x in l_shapes().items()}
    mixed = jax.device_get(jax.jit(lambda four: mosaic(four, jnp.array([12, 6])))(four))
    # The first: columns 4 to 12 of rows 10 and 11, at the top left. The second: columns 0 to 4 of rows 10 and 11 and
    # nothing of the pole; 8 of 44. The third: columns 4 to 16 of rows 0 to 10: nothing. The fourth: the pole's rows 0
    # to 10 at (12, 6), 20 of 44.
    assert mixed["masks"].sum((1, 2)).tolist() == [16, 8, 0, 20]
    assert mixed["box_mask"].tolist() == [True, False, False, True]
    np.testing.assert_array_equal(mixed["boxes"][[0, 3]], [[0, 0, 8, 2], [12, 6, 14, 16]])
    without = {name: x for name, x in four.items() if name != "masks"}
    mixed = jax.device_get(jax.jit(lambda four: mosaic(four, jnp.array([12, 6])))(without))
    np.testing.assert_array_equal(mixed["boxes"][3], [12, 6, 16, 16])


@pytest.mark.covers("DE-36")
def test_copy_and_paste_by_hand():
    """The second box of the other image, 2 x 2 at (6, 6), covers a mask of 2 x 4 to a half, and one of 2 x 2 wholly."""
    examples = four_examples()
    example, other = ({k: v[i] for k, v in examples.items()} for i in (0, 1))
    masks = np.zeros((2, 8, 8), bool)
    masks[0, 4:, 6:], masks[1, 6:, 6:] = True, True
    example |= {"masks": jnp.asarray(masks), "boxes": jnp.array([[6.0, 4, 8, 8], [6, 6, 8, 8]])}
    mixed = jax.device_get(jax.jit(copy_paste)(example, other, jnp.array([False, True])))
    assert (mixed["image"][7, 7, 0], mixed["image"][5, 7, 0]) == (2, 1)
    assert mixed["box_mask"].tolist() == [True, False, False, True]
    np.testing.assert_array_equal(mixed["boxes"][[0, 3]], [[6, 4, 8, 6], [6, 6, 8, 8]])
    assert mixed["labels"].tolist() == [0, 1, 2, 3]
    assert mixed["masks"].sum((1, 2)).tolist() == [4, 0, 0, 4]


@pytest.mark.slow
def test_a_batch_is_mixed_with_the_given_probability():
    examples = four_examples()
    keys = jax.random.split(jax.random.key(1), 4)
    never = jax.jit(lambda: mix_scenes(SceneMixing(), keys, examples))()
    chex.assert_trees_all_equal(never, examples)
    always = jax.jit(lambda: mix_scenes(SceneMixing(1.0), keys, examples))()
    chex.assert_shape(always["boxes"], (4, 8, 4))
    # The example itself lies above left.
    assert always["image"][:, 0, 0, 0].tolist() == [1, 2, 3, 4]
    both = jax.jit(lambda: mix_scenes(SceneMixing(1e-9, 1e-9), keys, examples))()
    np.testing.assert_array_equal(both["boxes"][:, :2], examples["boxes"])
    np.testing.assert_array_equal(both["box_mask"][:, 2:], np.zeros((4, 14), bool))
    # What follows the mixing sees one example at a time.
    alone = SceneMixing(1.0, then=lambda key, example: {**example, "image": -example["image"]})
    augmented = jax.jit(lambda: alone.augment_batch(keys, examples))()
    np.testing.assert_array_equal(augmented["image"], -always["image"])


def test_the_augmentation_behind_the_mixing_sees_one_example():
    examples, keys = four_examples(), jax.random.split(jax.random.key(1), 4)
    chex.assert_trees_all_equal(SceneMixing().augment_batch(keys, examples), examples)
    negative = SceneMixing(then=lambda key, example: {**example, "image": -example["image"]})
    image = negative.augment_batch(keys, examples)["image"]
    np.testing.assert_array_equal(image, -examples["image"])


def test_bad_input_is_named():
    examples = {k: v for k, v in four_examples().items() if k != "masks"}
    keys = jax.random.split(jax.random.key(1), 4)
    with pytest.raises(ValueError, match=r"mosaic=1.5: out of range; allowed: at least 0, at most 1"):
        mix_scenes(SceneMixing(1.5), keys, examples)
