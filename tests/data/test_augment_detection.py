"""Boxes go where the image goes: a bright rectangle is found at its box after any augmentation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.augment.detection import compose_boxes, random_flip_boxes, random_zoom_boxes

BOX = np.array([[6.0, 4, 14, 10], [0, 0, 0, 0]], np.float32)
VALID = np.array([True, False])


def picture():
    image = np.zeros((24, 32, 1), np.float32)
    image[4:10, 6:14] = 1
    return image


def seen(image):
    """The rectangle's extent, by the half of its brightness, and its edges between pixels by its sums."""
    image = np.asarray(image)[..., 0]
    down, across = image.max(1), image.max(0)
    y0, x0 = (np.flatnonzero(profile > 0.02)[0] for profile in (down, across))
    y1, x1 = (np.flatnonzero(profile > 0.02)[-1] + 1 for profile in (down, across))
    return np.array([x0, y0, x1, y1])


@pytest.mark.parametrize(
    ("horizontal", "vertical", "want"),
    [
        (0.0, 0.0, [6, 4, 14, 10]),
        (1.0, 0.0, [18, 4, 26, 10]),
        (0.0, 1.0, [6, 14, 14, 20]),
        (1.0, 1.0, [18, 14, 26, 20]),
    ],
)
def test_flips(horizontal, vertical, want):
    # 32 wide: 32 - 14 = 18 and 32 - 6 = 26; 24 high: 24 - 10 = 14 and 24 - 4 = 20.
    flip = jax.jit(random_flip_boxes(horizontal, vertical))
    image, boxes, valid = flip(jax.random.key(0), picture(), BOX, VALID)
    np.testing.assert_array_equal(boxes[0], want)
    np.testing.assert_array_equal(seen(image), want)
    np.testing.assert_array_equal(valid, VALID)


def test_a_zoom_moves_boxes_with_the_image():
    zoom = jax.jit(jax.vmap(random_zoom_boxes(0.6, 1.6, 0.0), in_axes=(0, None, None, None)))
    images, boxes, valid = zoom(jax.random.split(jax.random.key(1), 40), picture(), BOX, VALID)
    assert not valid[:, 1].any()
    sides = np.asarray(boxes[:, 0, 2:] - boxes[:, 0, :2])
    assert sides.min() < 5.5
    assert sides.max() > 10
    for image, box, there in zip(images, boxes[:, 0], valid[:, 0], strict=True):
        if there:
            np.testing.assert_allclose(seen(image), box, atol=1.6)  # bilinear edges are soft by a pixel
            assert float(image.sum()) == pytest.approx(float((box[2] - box[0]) * (box[3] - box[1])), rel=0.25)


def test_a_box_that_leaves_is_no_longer_valid():
    edge = np.array([[0.0, 0, 4, 4], [28, 20, 32, 24]], np.float32)
    zoom = jax.jit(jax.vmap(random_zoom_boxes(2.0, 2.0, 0.5), in_axes=(0, None, None, None)))
    _, boxes, valid = zoom(jax.random.split(jax.random.key(2), 60), picture(), edge, np.ones(2, bool))
    assert 0 < np.asarray(valid).sum() < valid.size
    assert not np.asarray(valid).all(1).any()  # a window of half the side cannot show both corners
    inside = np.asarray(boxes)
    assert (inside >= 0).all()
    assert (inside[..., 2] <= 32).all()
    area = (inside[..., 2:] - inside[..., :2]).prod(-1)
    np.testing.assert_array_equal(valid, area > 0.5 * 64)  # twice as large: 8 by 8


def test_composed_parts_have_keys_of_their_own_and_wrong_numbers_are_named():
    both = compose_boxes(random_flip_boxes(), random_flip_boxes())
    starts = {float(both(jax.random.key(i), jnp.asarray(picture()), BOX, VALID)[1][0, 0]) for i in range(8)}
    assert starts == {6.0, 18.0}  # one key for both would always flip back
    with pytest.raises(ValueError, match="horizontal=2"):
        random_flip_boxes(2)
    with pytest.raises(ValueError, match="low=0"):
        random_zoom_boxes(0, 1)
    with pytest.raises(ValueError, match="keep=-1"):
        random_zoom_boxes(keep=-1)
