"""What an example holds goes where the image goes: a bright rectangle is found at its box after any augmentation."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.augment.examples import (
    augment_examples,
    compose_examples,
    mirror_orders,
    random_flip_example,
    random_zoom_example,
    warp_example,
)
from dlcore.data.augment.warp import affine_warp, warp_boxes
from dlcore.data.masks import pack_masks
from tests.data.draws import quarter

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


def example(boxes=BOX, valid=VALID):
    return {"image": jnp.asarray(picture()), "boxes": jnp.asarray(boxes), "box_mask": jnp.asarray(valid)}


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
    flip = jax.jit(random_flip_example(horizontal, vertical))
    moved = flip(jax.random.key(0), example())
    np.testing.assert_array_equal(moved["boxes"][0], want)
    np.testing.assert_array_equal(seen(moved["image"]), want)
    np.testing.assert_array_equal(moved["box_mask"], VALID)


def test_names_say_which_keypoints_change_places():
    body = ("nose", "left_eye", "right_eye", "left_only")
    assert mirror_orders(body) == ((0, 2, 1, 3), (0, 2, 1, 3))
    sides = ("left", "top", "right", "bottom")
    assert mirror_orders(sides) == ((2, 1, 0, 3), (0, 3, 2, 1))
    for pair in (
        ("Left_Eye", "Right_Eye"),
        ("l_eye", "r_eye"),
        ("eye.L", "eye.R"),
        ("eyeLeft", "eyeRight"),
        ("LEye", "REye"),
        ("LEYE", "REYE"),
        ("lshoulder", "RShoulder"),
        ("Lt. Eye", "Rt. Eye"),
        ("eyeL", "eyeR"),
        ("eye_left_1", "eye_right_1"),
        ("rear left wheel", "rear right wheel"),
        ("lower_leg_l", "lower_leg_r"),
    ):
        assert mirror_orders(pair) == ((1, 0), (1, 0)), pair
    assert mirror_orders(("Top L", "Bottom L", "Bottom R")) == ((0, 2, 1), (1, 0, 2))
    for none in (("lip", "rip"), ("upright", "tail"), ("1", "2"), ("left_eye", "left_ear")):
        assert mirror_orders(none)[0] == (0, 1)
    # Names that are no pair of two: each keypoint still has one place.
    assert mirror_orders(("light", "right", "left"))[0] == (0, 2, 1)
    assert mirror_orders(("left_eye", "Left Eye", "right_eye"))[0] == (0, 2, 1)


def test_keypoints_change_places_in_a_mirror():
    sides = ("left", "top", "right", "bottom")
    points = jnp.array([[[6.0, 7, 2], [10, 4, 1], [14, 7, 2], [0, 0, 0]]])
    here = {"image": jnp.zeros((24, 32, 1)), "keypoints": points}
    moved = jax.jit(random_flip_example(1.0, 0.0, sides))(jax.random.key(0), here)["keypoints"]
    # What was right at x = 14 is now left at 32 - 14 = 18; the top moves to 32 - 10 = 22.
    np.testing.assert_array_equal(moved, [[[18, 7, 2], [22, 4, 1], [26, 7, 2], [0, 0, 0]]])
    moved = jax.jit(random_flip_example(0.0, 1.0, sides))(jax.random.key(0), here)["keypoints"]
    np.testing.assert_array_equal(moved, [[[6, 17, 2], [0, 0, 0], [14, 17, 2], [10, 20, 1]]])


@pytest.fixture(scope="module")
def zoomed():
    bright = picture()[..., 0] > 0
    rows = {
        "masks": np.stack([bright, ~bright])[None],
        "semantic": bright[None].astype(np.uint8) * 4,
        "keypoints": np.array([[[[6.0, 4, 2], [13.9, 9.9, 1]]] * 2], np.float32),
        "boxes": BOX[None],
        "box_mask": VALID[None],
    }
    rows["masks"] = pack_masks(rows["masks"])
    rows = {name: np.repeat(value, 40, 0) for name, value in rows.items()} | {"labels": np.zeros(40)}
    images = jnp.repeat(picture()[None], 40, 0)
    keys = jax.random.split(jax.random.key(1), 40)
    return jax.jit(lambda *a: augment_examples(random_zoom_example(0.6, 1.6, 0.0), *a))(keys, images, rows)


@pytest.mark.slow
def test_a_zoom_moves_boxes_with_the_image(zoomed):
    boxes, valid = zoomed["boxes"], zoomed["box_mask"]
    assert not valid[:, 1].any()
    sides = np.asarray(boxes[:, 0, 2:] - boxes[:, 0, :2])
    assert sides.min() < 5.5
    assert sides.max() > 10
    for image, box, there in zip(zoomed["image"], boxes[:, 0], valid[:, 0], strict=True):
        if there:
            np.testing.assert_allclose(seen(image), box, atol=1.6)  # bilinear edges are soft by a pixel
            assert float(image.sum()) == pytest.approx(float((box[2] - box[0]) * (box[3] - box[1])), rel=0.25)


def test_a_zoom_moves_masks_labels_and_keypoints_with_the_boxes(zoomed):
    zoomed = {name: np.asarray(value) for name, value in zoomed.items()}
    np.testing.assert_array_equal(zoomed["labels"], np.zeros(40))  # of the objects; nothing moves them
    chex.assert_shape(zoomed["masks"], (40, 2, 24, 32))
    np.testing.assert_array_equal(zoomed["masks"][:, 0], zoomed["semantic"] == 4)
    np.testing.assert_array_equal(zoomed["masks"][:, 1], zoomed["semantic"] == 0)
    came_in = (zoomed["semantic"] == 255).any((1, 2))
    assert 5 < came_in.sum() < 35  # where the image was shrunk
    for i in range(40):
        rows, columns = np.nonzero(zoomed["masks"][i, 0])
        box = zoomed["boxes"][i, 0]
        if zoomed["box_mask"][i, 0]:
            np.testing.assert_allclose([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], box, atol=0.51)
            first, last = zoomed["keypoints"][i, 0]
            if first[2] and last[2]:  # both inside: the corners of the box
                np.testing.assert_allclose([*first[:2], *last[:2]], box, atol=0.2)
    assert (zoomed["keypoints"][..., 2] == 0).any()
    assert (zoomed["keypoints"][zoomed["keypoints"][..., 2] == 0] == 0).all()


@pytest.mark.slow
def test_there_is_no_mirror_where_no_keypoint_has_a_partner():
    points = {**example(), "keypoints": jnp.array([[[6.0, 7, 2], [10, 4, 1]]])}
    for names, moves in ((("a", "b"), False), (("top", "bottom"), False), (("L", "R"), True), ((), True)):
        moved = random_flip_example(1.0, 0.0, names)(jax.random.key(0), points)
        assert bool((moved["boxes"] != points["boxes"]).any()) is moves, names
    # Top and bottom change places in their own mirror: y = 24 - 4 = 20 and 24 - 7 = 17.
    moved = random_flip_example(1.0, 1.0, ("top", "bottom"))(jax.random.key(0), points)
    np.testing.assert_array_equal(moved["keypoints"][0], [[10, 20, 1], [6, 17, 2]])


def test_a_smaller_picture_is_sampled_between_its_pixels(monkeypatch):
    """Halved, and placed at a quarter of the free 4 x 8 pixels: at (1, 2). A pixel is the mean of 2 x 2 pixels."""
    monkeypatch.setattr(jax.random, "uniform", quarter)
    image = np.random.default_rng(0).random((8, 16, 1)).astype(np.float32)
    moved = jax.jit(random_zoom_example(0.5, 0.5))(jax.random.key(0), {"image": image})["image"]
    expected = np.zeros((8, 16, 1), np.float32)
    expected[1:5, 2:10] = image.reshape(4, 2, 8, 2, 1).mean((1, 3))
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-6)


def test_a_box_that_leaves_is_no_longer_valid():
    edge = np.array([[0.0, 0, 4, 4], [28, 20, 32, 24]], np.float32)
    zoom = jax.jit(jax.vmap(random_zoom_example(2.0, 2.0, 0.5), in_axes=(0, None)))
    moved = zoom(jax.random.split(jax.random.key(2), 60), example(edge, np.ones(2, bool)))
    valid = np.asarray(moved["box_mask"])
    assert 0 < valid.sum() < valid.size
    assert not valid.all(1).any()  # a window of half the side cannot show both corners
    inside = np.asarray(moved["boxes"])
    assert (inside >= 0).all()
    assert (inside[..., 2] <= 32).all()
    area = (inside[..., 2:] - inside[..., :2]).prod(-1)
    np.testing.assert_array_equal(valid, area > 0.5 * 64)  # twice as large: 8 by 8


def test_composed_parts_have_keys_of_their_own_and_wrong_numbers_are_named():
    both = jax.jit(compose_examples(random_flip_example(), random_flip_example()))
    starts = {float(both(jax.random.key(i), example())["boxes"][0, 0]) for i in range(8)}
    assert starts == {6.0, 18.0}  # one key for both would always flip back
    with pytest.raises(ValueError, match="horizontal=2"):
        random_flip_example(2)
    with pytest.raises(ValueError, match="low=0"):
        random_zoom_example(0, 1)
    for keep in (-1, 1.5):
        with pytest.raises(ValueError, match=f"keep={keep}"):
            random_zoom_example(keep=keep)
    assert callable(random_zoom_example(keep=1))


@pytest.mark.slow
def test_a_box_that_stays_whole_is_kept_by_keep_1():
    move = random_flip_example(1.0)
    for keep in (0.0, 1.0):
        zoomed = random_zoom_example(1.0, 1.0, keep)(jax.random.key(0), move(jax.random.key(0), example()))
        np.testing.assert_array_equal(zoomed["box_mask"], VALID, str(keep))


def padded_example():
    """The picture on a canvas of 40 by 48."""
    image = np.zeros((40, 48, 1), np.float32)
    image[:24, :32] = picture() + 1  # what is no padding is 1 or 2
    return example() | {"image": jnp.asarray(image), "image_size": jnp.array([24, 32])}


@pytest.mark.parametrize(("horizontal", "vertical", "want"), [(1.0, 0.0, [18, 4, 26, 10]), (0.0, 1.0, [6, 14, 14, 20])])
def test_flips_of_padded_images_leave_the_padding_where_it_is(horizontal, vertical, want):
    moved = jax.jit(random_flip_example(horizontal, vertical))(jax.random.key(0), padded_example())
    np.testing.assert_array_equal(moved["boxes"][0], want)
    image = np.array(moved["image"])
    assert image[:24, :32].min() == 1
    image[:24, :32] -= 1
    np.testing.assert_array_equal(seen(image), want)
    np.testing.assert_array_equal(moved["image_size"], [24, 32])


@pytest.mark.slow
def test_zooms_of_padded_images_cut_a_window_of_their_own_size():
    zoom = jax.jit(random_zoom_example(1.3, 1.8, keep=0.0))
    masks = np.zeros((2, 40, 48), bool)
    masks[0, 4:10, 6:14] = True
    for seed in range(5):
        moved = zoom(jax.random.key(seed), padded_example() | {"masks": jnp.asarray(masks)})
        image, mask = np.array(moved["image"]), np.asarray(moved["masks"][0])
        assert image[24:].max() == image[:, 32:].max() == 0
        assert image[:23, :31].min() > 0
        assert not mask[24:].any()
        assert not mask[:, 32:].any()
        box = np.asarray(moved["boxes"][0])
        assert (box[2:] <= [32, 24]).all()
        if moved["box_mask"][0]:
            image[:24, :32] -= 1
            np.testing.assert_allclose(seen(image), box, atol=1.6)


def test_warps_of_padded_images_stay_within_their_own_size():
    # An image of 32 by 64 on a canvas of 64 by 64; a bright block in rows 4 to 12. Moved 16 pixels down about its own
    # center it lies in rows 20 to 28, moved 30 down it leaves the image: rows 34 to 42 are padding.
    image = np.zeros((64, 64, 1), np.float32)
    image[4:12, 10:20] = 1
    example = {
        "image": jnp.asarray(image),
        "image_size": jnp.array([32, 64]),
        "masks": jnp.asarray(image[None, ..., 0] > 0),
        "boxes": jnp.array([[10.0, 4, 20, 12]]),
        "box_mask": jnp.array([True]),
        "keypoints": jnp.array([[[15.0, 8, 2]]]),
    }

    @jax.jit
    def moved_by(degrees, down):
        return warp_example(lambda key, size: affine_warp(size, degrees, (0.0, down)))(jax.random.key(0), example)

    moved = moved_by(0.0, 16.0)
    np.testing.assert_array_equal(moved["image"], np.roll(image, 16, 0))
    np.testing.assert_array_equal(moved["masks"], np.roll(image, 16, 0)[None, ..., 0] > 0)
    np.testing.assert_allclose(moved["boxes"], [[10, 20, 20, 28]])
    np.testing.assert_allclose(moved["keypoints"], [[[15, 24, 2]]])
    moved = moved_by(0.0, 30.0)
    assert not moved["image"].any()
    assert not moved["masks"].any()
    assert not moved["box_mask"].any()
    assert not moved["keypoints"].any()
    # A half turn about the image's own center, (32, 16): rows 4 to 12 become 20 to 28.
    turned = moved_by(180.0, 0.0)
    np.testing.assert_allclose(turned["boxes"], [[44, 20, 54, 28]], atol=1e-4)
    assert turned["box_mask"].all()


@pytest.mark.parametrize("keep", [2, float("nan"), -0.1])
def test_a_fraction_of_a_box_is_at_most_the_box(keep):
    with pytest.raises(ValueError, match=f"keep={keep}: out of range; allowed: 0 to 1"):
        warp_example(lambda key, size: affine_warp(size), keep)


def test_boxes_of_integers_are_not_truncated():
    # Half the size about (0, 0): (3, 5, 8, 9) becomes (1.5, 2.5, 4, 4.5).
    warp = affine_warp((10, 10), scale=0.5, center=(0.0, 0.0))
    boxes, valid = warp_boxes(jnp.array([[3, 5, 8, 9]]), warp, (10, 10))
    np.testing.assert_allclose(boxes, [[1.5, 2.5, 4, 4.5]])
    assert valid.all()


@pytest.mark.parametrize("names", [("left_eye", "right_eye")])
def test_names_are_one_a_keypoint(names):
    points = {"image": jnp.zeros((4, 4, 1)), "keypoints": jnp.ones((1, 3, 3))}
    with pytest.raises(ValueError, match=f"keypoint_names=.*: {len(names)} of them; allowed: 3, one a key"):
        jax.eval_shape(random_flip_example(keypoint_names=names), jax.random.key(0), points)


def l_shape():
    """An object that is a pole at the left and a foot below: its box is 12 x 12, of which it covers 44 pixels."""
    mask = np.zeros((16, 16), bool)
    mask[:12, :2] = mask[10:12, :12] = True
    return {
        "image": mask[..., None].astype(np.float32),
        "boxes": np.array([[0, 0, 12, 12]], np.float32),
        "box_mask": np.ones(1, bool),
        "masks": mask[None],
    }


def test_boxes_of_a_zoom_are_those_of_what_is_visible_of_the_masks():
    """An object stays by the part of its mask that is inside: of 44 pixels, each 1.9 x 1.9 when enlarged."""
    keys, example = jax.random.split(jax.random.key(0), 200), l_shape()
    run = jax.jit(jax.vmap(lambda key: random_zoom_example(1.9, 1.9, keep=0.25)(key, example)))
    moved = jax.device_get(run(keys))
    part = moved["masks"].sum((1, 2, 3)) / (44 * 1.9**2)
    valid = moved["box_mask"][:, 0]
    assert 30 < valid.sum() < 190
    # The image's border cuts through the enlarged pixels.
    assert part[valid].min() > 0.15
    assert part[~valid].max() < 0.35
    for box, mask in zip(moved["boxes"][valid, 0], moved["masks"][valid, 0], strict=True):
        rows, columns = np.nonzero(mask)
        np.testing.assert_allclose(box, [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], atol=1)


@pytest.mark.parametrize(("keep", "stays"), [(0.3, True), (0.4, False)])
def test_a_warp_cuts_the_pole_off_and_the_box_is_that_of_the_foot(keep, stays):
    """Four pixels to the left: 8 x 2 pixels of the foot are left, 16 of 44 (36 %); of the box it were 8 of 12."""
    warp = warp_example(lambda key, size: affine_warp(size, translate=(-4.0, 0.0)), keep)
    moved = jax.jit(lambda example: warp(jax.random.key(0), example))(l_shape())
    np.testing.assert_array_equal(moved["boxes"], [[0, 10, 8, 12]])
    assert moved["box_mask"].tolist() == [stays]
    # Without a mask only the box is known.
    alone = {name: x for name, x in l_shape().items() if name != "masks"}
    moved = jax.jit(lambda example: warp(jax.random.key(0), example))(alone)
    np.testing.assert_allclose(moved["boxes"], [[0, 0, 8, 12]], atol=1e-5)
    assert moved["box_mask"].all()
