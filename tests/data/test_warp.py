"""Warps by what must come back, and boxes, masks and points by where the pixels went."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcore.data import augment

RNG = np.random.default_rng(0)
IMAGE = jnp.asarray(RNG.random((8, 10, 2)), jnp.float32)
SIZE = (8, 10)
WARPS = {
    "affine": lambda: augment.affine_warp(SIZE, 17.0, (1.5, -0.7), (1.3, 0.8), (10.0, -5.0)),
    "flip": lambda: augment.flip_warp(SIZE, True, True),
    "perspective": lambda: augment.perspective_warp(
        [[0, 0], [10, 0], [10, 8], [0, 8]], [[1, 1.5], [9, 0], [10, 7], [0.5, 8]]
    ),
    "barrel": lambda: augment.lens_warp(SIZE, 0.4, 0.05),
    "pincushion": lambda: augment.lens_warp(SIZE, -0.25),
    "two": lambda: augment.affine_warp(SIZE, 30.0).then(augment.lens_warp(SIZE, 0.2)),
}
IDENTITIES = {
    "affine": lambda: augment.affine_warp(SIZE),
    "lens": lambda: augment.lens_warp(SIZE, 0.0),
    "flip": lambda: augment.flip_warp(SIZE, False, False),
    "stretch": lambda: augment.affine_warp(SIZE, scale=(1.0, 1.0), shear=(0.0, 0.0)),
}


@pytest.mark.slow(only=["bilinear-affine"])
@pytest.mark.covers("RG-17")
@pytest.mark.parametrize("name", IDENTITIES)
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_neutral_numbers_leave_the_image(name, interpolation):
    warped = jax.jit(lambda image: augment.warp_image(image, IDENTITIES[name](), interpolation))(IMAGE)
    np.testing.assert_array_equal(warped, IMAGE)


@pytest.mark.slow
@pytest.mark.covers("RG-17")
def test_four_quarter_turns_are_none():
    square = IMAGE[:, :8]
    turned = square
    for _ in range(4):
        turned = augment.warp_image(turned, augment.affine_warp((8, 8), 90.0))
    np.testing.assert_allclose(turned, square, atol=1e-4)
    np.testing.assert_allclose(
        augment.warp_image(square, augment.affine_warp((8, 8), 90.0), "nearest"), np.rot90(square), atol=1e-6
    )


@pytest.mark.slow
@pytest.mark.covers("RG-15")
def test_flips_are_involutions_and_the_warp_is_the_flip():
    for flip in (augment.flip_horizontal, augment.flip_vertical):
        np.testing.assert_array_equal(flip(flip(IMAGE)), IMAGE)
        assert not np.array_equal(flip(IMAGE), IMAGE)
    np.testing.assert_array_equal(augment.flip_horizontal(IMAGE), np.fliplr(IMAGE))
    np.testing.assert_array_equal(augment.flip_vertical(IMAGE), np.flipud(IMAGE))
    np.testing.assert_array_equal(augment.warp_image(IMAGE, augment.flip_warp(SIZE)), np.fliplr(IMAGE))
    np.testing.assert_array_equal(augment.warp_image(IMAGE, augment.flip_warp(SIZE, False, True)), np.flipud(IMAGE))
    keys = jax.random.split(jax.random.key(0), 300)
    out = jax.vmap(lambda key: augment.random_vertical_flip(0.25)(key, IMAGE))(keys)
    upside = (out == jnp.flipud(IMAGE)).all((1, 2, 3))
    assert 0.15 < float(upside.mean()) < 0.36
    np.testing.assert_array_equal(out[~upside][0], IMAGE)


@pytest.mark.covers("RG-17")
@pytest.mark.parametrize("name", WARPS)
def test_forward_and_inverse_undo_each_other(name):
    warp, points = WARPS[name](), jnp.asarray(RNG.random((20, 2)) * [10, 8], jnp.float32)
    if name != "pincushion":  # which pushes some of them out of the picture
        np.testing.assert_allclose(warp.inverse(warp.forward(points)), points, atol=2e-4)
    np.testing.assert_allclose(augment.warp_points(warp.inverse(points), warp), points, atol=2e-4)


@pytest.mark.slow
@pytest.mark.covers("RG-17")
def test_stretch_translation_and_the_lens_by_hand():
    points = jnp.array([[5.0, 4.0], [7.0, 5.0]])
    # About (5, 4): the second point lies (2, 1) off; doubled across, halved down, then (1, -1) further.
    warp = augment.affine_warp(SIZE, translate=(1.0, -1.0), scale=(2.0, 0.5))
    np.testing.assert_allclose(warp.forward(points), [[6, 3], [10, 3.5]], rtol=1e-6)
    # Shear of 45 degrees across: x grows by y: (2, 1) -> (3, 1).
    np.testing.assert_allclose(augment.affine_warp(SIZE, shear=45.0).forward(points)[1], [8, 5], rtol=1e-6)
    np.testing.assert_allclose(augment.affine_warp(SIZE, shear=(0.0, 45.0)).forward(points)[1], [7, 7], rtol=1e-6)
    # Half the diagonal of 6 x 8 is 5. The place (3 + 1, 4) from the center (4, 3)... r = 1/5 at (5, 3):
    # it shows what was at 4 + 1 (1 + .5 / 25) = 5.02.
    np.testing.assert_allclose(augment.lens_warp((6, 8), 0.5).inverse(jnp.array([5.0, 3.0])), [5.02, 3], rtol=1e-6)
    # Barrel: a corner moves inwards, since the corner's place shows what is further out.
    assert float(augment.lens_warp((6, 8), 0.3).forward(jnp.array([8.0, 6.0]))[0]) < 8


@pytest.mark.slow
@pytest.mark.covers("RG-17")
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_image_boxes_masks_and_points_move_together(seed):
    """A bright block: after any map its box is what is bright, its mask is where it is bright, its center inside."""
    size = (40, 48)
    image = jnp.zeros((*size, 1)).at[14:26, 18:34].set(1)
    example = {
        "image": image,
        "semantic": image[..., 0].astype(jnp.uint8) * 7,
        "masks": jnp.stack([image[..., 0], 1 - image[..., 0]]) > 0,
        "boxes": jnp.array([[18.0, 14.0, 34.0, 26.0], [0, 0, 1, 1]]),
        "box_mask": jnp.array([True, False]),
        "keypoints": jnp.array([[[26.0, 20.0, 2.0], [0, 0, 0]], [[0, 0, 0], [500, 0, 1]]]),
        "label": jnp.int32(3),
    }
    moved = moving(jax.random.key(seed), example)
    bright = np.asarray(moved["image"][..., 0])
    mask = np.asarray(moved["semantic"])
    assert set(np.unique(mask)) <= {0, 7, 255}
    np.testing.assert_array_equal(moved["masks"][0], mask == 7)
    np.testing.assert_array_equal(moved["masks"][1], mask == 0)
    # The nearest of four pixels has at least a quarter of the weight, which is all at the block's corners.
    assert (bright[mask == 7] >= 0.249).all()
    assert (bright[mask != 7] <= 0.7).all()
    rows, columns = np.nonzero(mask == 7)
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(moved["boxes"][0], box, atol=1.6)
    assert moved["box_mask"].tolist() == [True, False]
    x, y, seen = np.asarray(moved["keypoints"][0, 0])
    assert mask[int(y), int(x)] == 7
    assert seen == 2
    assert not np.asarray(moved["keypoints"])[[0, 1, 1], [1, 0, 1]].any()  # not labeled, or outside
    assert int(moved["label"]) == 3


moving = jax.jit(
    augment.warp_example(
        augment.random_warp(
            degrees=30, translate=0.1, scale=(0.8, 1.2), stretch=1.3, shear=10, flip=0.5, perspective=0.3, lens=0.2
        )
    )
)


def move_right(points):
    return points + np.array([4, 0], np.float32)


def test_a_box_stays_where_enough_of_it_is_inside():
    """Moved by 4 of 10 pixels, the box from 2 to 8 reaches from 6 to 12: 4 of its 6 columns, two thirds, are inside."""
    boxes = np.array([[2, 1, 8, 5], [7, 0, 9, 3]], np.float32)
    keep = jax.jit(lambda share: augment.warp_boxes(boxes, augment.Warp(move_right, move_right), SIZE, None, share))
    for share, valid in ((0.66, [True, False]), (0.67, [False, False])):
        moved, stays = keep(share)
        np.testing.assert_allclose(moved, [[6, 1, 10, 5], [10, 0, 10, 3]])
        assert stays.tolist() == valid


def test_pixels_from_outside_have_the_fill():
    """Moved right by half a pixel, the first value is y = 0.8 / 2 and its mask m = 1 / 2: m y + (1 - m) fill."""
    image = np.array([[[0.8], [0.4]]], np.float32)
    for method, move, fill, expected in (
        ("bilinear", 0.5, None, [0.4, 0.6]),
        ("bilinear", 0.5, 0.2, [0.4 * 0.5 + 0.2 * 0.5, 0.6]),
        ("nearest", 1.0, 0.2, [0.2, 0.8]),
    ):
        step = np.array([move, 0], np.float32)
        warp = augment.Warp(lambda p, step=step: p + step, lambda p, step=step: p - step)
        found = jax.jit(augment.warp_image, static_argnums=(1, 2, 3))(image, warp, method, fill)
        np.testing.assert_allclose(found[0, :, 0], expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("RG-17")
def test_boxes_that_leave_are_not_valid_and_others_are_cut():
    boxes = jnp.array([[0.0, 0, 4, 4], [4, 2, 8, 6], [7, 0, 10, 8]])
    right = augment.affine_warp(SIZE, translate=(4.0, 0.0))
    moved, valid = augment.warp_boxes(boxes, right, SIZE, keep=0.5)
    np.testing.assert_allclose(moved, [[4, 0, 8, 4], [8, 2, 10, 6], [10, 0, 10, 8]], atol=1e-5)
    # The second keeps 2 of 4 columns: half of its area. Nothing of the third is left.
    assert valid.tolist() == [True, True, False]
    assert augment.warp_boxes(boxes, right, SIZE, keep=0.55)[1].tolist() == [True, False, False]
    assert augment.warp_boxes(boxes, right, SIZE, jnp.array([0.0, 1, 1]))[1].tolist() == [0, 1, 0]
    chex.assert_shape(augment.warp_boxes(jnp.zeros((0, 4)), right, SIZE)[0], (0, 4))


@pytest.mark.slow
def test_dtypes_fill_and_traced_numbers():
    levels = (IMAGE * 255).astype(jnp.uint8)
    warp = augment.affine_warp(SIZE, translate=(2.0, 0.0))
    out = augment.warp_image(levels, warp)
    assert out.dtype == jnp.uint8
    np.testing.assert_array_equal(out[:, 2:], levels[:, :-2])
    filled = augment.warp_image(IMAGE, warp, "nearest", fill=0.25)
    np.testing.assert_array_equal(filled[:, :2], 0.25)
    assert augment.warp_image(IMAGE.astype(jnp.bfloat16), warp).dtype == jnp.bfloat16
    many = jax.jit(jax.vmap(lambda a: augment.warp_image(IMAGE, augment.affine_warp(SIZE, a))))(jnp.array([0.0, 40.0]))
    np.testing.assert_allclose(many[0], IMAGE, atol=1e-6)


@pytest.mark.slow
def test_the_range_of_what_is_drawn():
    draw = augment.random_warp(translate=0.25)
    moved = jax.vmap(lambda key: draw(key, SIZE).forward(jnp.zeros(2)))(jax.random.split(jax.random.key(0), 200))
    assert 2.3 < float(jnp.abs(moved[:, 0]).max()) <= 2.5
    assert 1.8 < float(jnp.abs(moved[:, 1]).max()) <= 2.0
    drawn = jax.jit(augment.warp_augmentation(augment.random_perspective(0.4)))(jax.random.key(1), jnp.ones((8, 10, 1)))
    assert 0 < float(drawn.mean()) < 1
    corner = augment.random_lens(0.2)(jax.random.key(1), SIZE).inverse(jnp.array([10.0, 8.0]))
    # r = 1 there: 1 + k1 of the way from the center (5, 4), |k1| <= .2.
    assert 0.8 <= float(corner[0] - 5) / 5 <= 1.2


@pytest.mark.parametrize(("argument", "value"), [("degrees", -1)])
def test_bad_ranges_are_named(argument, value):
    with pytest.raises(ValueError, match=f"{argument}="):
        augment.random_warp(**{argument: value})


def test_other_bad_arguments():
    for corners in (np.array([[0, 0], [9, 0], [9, 7], [0, 7.0]]), np.array([[0, 7], [9, 7], [9, 0], [0, 0.0]])):
        augment.perspective_warp(corners, corners + 1)  # in either direction
        with pytest.raises(ValueError, match=r"end=.*: three on a line"):
            augment.perspective_warp(corners, np.concatenate([corners[:3], corners[:3:2].mean(0, keepdims=True)]))


@pytest.mark.slow(only=["-70.0-shear2"])
@pytest.mark.covers("RG-17")
@pytest.mark.parametrize(("angle", "shear"), [(0.0, (20.0, 30.0)), (35.0, (20.0, -10.0)), (-70.0, (0.0, 25.0))])
def test_affine_is_torchvisions_with_angle_and_shears_negated(angle, shear):
    """The matrix of its `_get_inverse_affine_matrix`: rotation, scale, then the shears, about the center."""
    r, sx, sy = np.deg2rad([angle, *shear])
    matrix = 1.2 * np.array(
        [
            [np.cos(r - sy) / np.cos(sy), -np.cos(r - sy) * np.tan(sx) / np.cos(sy) - np.sin(r)],
            [np.sin(r - sy) / np.cos(sy), -np.sin(r - sy) * np.tan(sx) / np.cos(sy) + np.cos(r)],
        ]
    )
    points = RNG.uniform(0, 8, (5, 2))
    center, offset = np.array([5, 4]), np.array([1.5, -0.5])
    warp = augment.affine_warp(SIZE, -angle, (1.5, -0.5), 1.2, (-shear[0], -shear[1]))
    want = (points - center) @ matrix.T + center + offset
    np.testing.assert_allclose(warp.forward(jnp.asarray(points)), want, atol=1e-4)
    np.testing.assert_allclose(warp.inverse(jnp.asarray(want)), points, atol=1e-4)


@pytest.mark.covers("RG-17")
def test_the_lens_has_a_term_of_r_squared_and_one_of_its_square():
    """Half the diagonal of 6 x 8 is 5: (4 + 2, 3) lies at r = 2/5 from the center (4, 3), r^2 = .16 and r^4 = .0256."""
    place = np.array([6.0, 3.0], np.float32)
    for k1, k2, want in ((0.5, 0.0, 2 * 1.08), (0.0, 0.5, 2 * 1.0128), (0.5, 0.5, 2 * 1.0928)):
        seen = augment.lens_warp((6, 8), k1, k2).inverse(place)
        np.testing.assert_allclose(seen, [4 + want, 3], rtol=1e-6)
    # Back by Newton's method: what was seen at 4 + 2 * 1.0128 stands at 6 again.
    back = jax.jit(augment.lens_warp((6, 8), 0.0, 0.5).forward)(np.array([4 + 2 * 1.0128, 3.0], np.float32))
    np.testing.assert_allclose(back, place, rtol=1e-5)


def test_points_of_bytes_are_moved_as_float32():
    points = np.array([[3, 250], [200, 7]], np.uint8)
    for warp in (augment.flip_warp((300, 400), True, True), augment.affine_warp((300, 400), 20.0)):
        moved = augment.warp_points(points, warp)
        np.testing.assert_array_equal(moved, augment.warp_points(points.astype(np.float32), warp))
