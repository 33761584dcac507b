import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data import augment
from dlcore.data.augment import geometric
from dlcore.data.source import Source
from tests.data.draws import quarter

RNG = np.random.default_rng(0)
IMAGE = jnp.asarray(RNG.random((8, 8, 2), np.float32))
KEYS = jax.random.split(jax.random.key(0), 400)
affine = jax.jit(augment.affine)


def many(function, image=IMAGE, keys=KEYS):
    return np.asarray(jax.jit(jax.vmap(function, (0, None)))(keys, image))


def shifted(image, down, right):
    """np.roll, with zeros for what came round."""
    out = np.roll(image, (down, right), (0, 1)).copy()
    if down:
        out[:down] = 0 if down > 0 else out[:down]
        out[down:] = 0 if down < 0 else out[down:]
    if right:
        out[:, :right] = 0 if right > 0 else out[:, :right]
        out[:, right:] = 0 if right < 0 else out[:, right:]
    return out


def which(outputs, candidates):
    """For each output the position of the one candidate equal to it."""
    equal = np.array([[np.array_equal(output, candidate) for candidate in candidates] for output in outputs])
    assert (equal.sum(1) == 1).all()
    return equal.argmax(1)


@pytest.mark.parametrize(
    "function",
    [
        augment.identity,
        augment.compose(),
        augment.random_shift(0),
        augment.random_crop(0, "reflect"),
        augment.random_flip(0.0),
        augment.random_affine(),
        augment.normalize(0.0, 1.0),
    ],
)
def test_identities_leave_the_image_unchanged(function):
    np.testing.assert_array_equal(many(function, keys=KEYS[:3]), np.broadcast_to(IMAGE, (3, 8, 8, 2)))


def test_shifts_are_rolls_with_zeros_and_all_are_drawn_alike():
    candidates = [shifted(IMAGE, down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    counts = np.bincount(which(many(augment.random_shift(1)), candidates), minlength=9)
    # 400 draws of 9 shifts: 44 each, standard deviation sqrt(400 * 1/9 * 8/9) = 6.3.
    assert counts.min() > 20
    assert counts.max() < 75


@pytest.mark.slow(only=["0-0"])
@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, 0), (-3, 1), (1, -2), (7, 7), (-8, 0)])
def test_affine_moves_by_whole_pixels_as_a_roll(down, right):
    moved = affine(IMAGE, 0.0, (float(down), float(right)))
    np.testing.assert_allclose(moved, shifted(IMAGE, down, right), atol=1e-6)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_crops_are_windows_of_the_padded_image(mode):
    padded = np.pad(IMAGE, ((2, 2), (2, 2), (0, 0)), mode=mode)
    candidates = [padded[top : top + 8, left : left + 8] for top in range(5) for left in range(5)]
    found = which(many(augment.random_crop(2, mode)), candidates)
    assert len(np.unique(found)) == 25


def test_flip_reverses_exactly_half_of_the_time():
    found = which(many(augment.random_flip()), [np.asarray(IMAGE), np.asarray(IMAGE)[:, ::-1]])
    # 400 draws: standard deviation of the mean sqrt(0.25 / 400) = 0.025.
    assert abs(found.mean() - 0.5) < 0.1
    assert (which(many(augment.random_flip(1.0)), [np.asarray(IMAGE), np.asarray(IMAGE)[:, ::-1]]) == 1).all()


@pytest.mark.slow(only=["1-7", "2-7", "3-7", "-1-8"])
@pytest.mark.parametrize("size", [8, 7])
@pytest.mark.parametrize("turns", [1, 2, 3, -1])
def test_quarter_turns_equal_rot90(size, turns):
    image = IMAGE[:size, :size]
    np.testing.assert_allclose(affine(image, 90.0 * turns), np.rot90(image, turns), atol=1e-5)


def test_random_affine_of_a_fixed_angle_is_that_rotation():
    np.testing.assert_allclose(
        many(augment.random_affine((90, 90)), keys=KEYS[:2]), np.stack([np.rot90(IMAGE)] * 2), atol=1e-5
    )


@pytest.mark.slow
def test_enlarging_by_two_reads_every_half_pixel():
    # Output pixel j of a row of 5 (center 2) reads 2 + (j - 2) / 2 = 1, 1.5, 2, 2.5, 3.
    row = jnp.asarray([0.0, 10.0, 20.0, 30.0, 40.0])
    image = jnp.broadcast_to(row[None, :, None], (5, 5, 1))
    np.testing.assert_allclose(augment.affine(image, scale=2.0)[2, :, 0], [10, 15, 20, 25, 30], atol=1e-5)


def test_shear_moves_a_row_by_its_distance_from_the_center():
    # tan 45 = 1: the row at y below the center moves y pixels to the right.
    image = IMAGE[:7, :7]
    expected = np.stack([shifted(image, 0, y)[y + 3] for y in range(-3, 4)])
    np.testing.assert_allclose(augment.affine(image, shear=45.0), expected, atol=1e-5)


@pytest.mark.slow
def test_drawn_maps_stay_inside_their_ranges():
    # A bright pixel at the center of 9 x 17 moves by at most 0.25 * 9 = 2.25 pixels up and down, 4.25 left and right.
    image = jnp.zeros((9, 17, 1)).at[4, 8].set(1)
    out = many(augment.random_affine(translate=0.25), image)[..., 0]
    y, x = np.mgrid[:9, :17] - np.array([4, 8])[:, None, None]
    moved = np.stack([(out * y).sum((1, 2)), (out * x).sum((1, 2))])
    np.testing.assert_allclose(out.sum((1, 2)), 1, atol=1e-5)
    # Of 400 uniform draws none in the outer 5 % of a side: (1 - 0.025)^400 = 4e-5.
    for far, shifts in zip((2.25, 4.25), moved, strict=True):
        assert 0.95 * far < shifts.max() <= far + 1e-4
        assert -far - 1e-4 <= shifts.min() < -0.95 * far
    image = jnp.zeros((9, 9, 1)).at[4, 4].set(1)
    assert abs(np.corrcoef(moved)[0, 1]) < 0.2
    np.testing.assert_allclose(many(augment.random_affine(0, 0, (2, 2)), image)[0, 4, :, 0].sum(), 2, atol=1e-5)


def test_a_random_map_by_hand(monkeypatch):
    """Every number at a quarter of its range, [low, high]; the moves are fractions of the height and of the width."""
    calls = []
    monkeypatch.setattr(jax.random, "uniform", quarter)
    monkeypatch.setattr(geometric, "affine", lambda image, *rest: calls.append(jax.tree.map(float, rest)))
    image = jnp.zeros((8, 12, 1))
    geometric.random_affine((10, 30), 0.5, (0.5, 2.5), 40)(KEYS[0], image)
    # 10 + 20/4 degrees, -1/4 of 8 and 12 pixels, 0.5 + 2/4, -40 + 80/4.
    np.testing.assert_allclose(jax.tree.leaves(calls[0]), [15, -2, -3, 1, -20], rtol=1e-6)
    geometric.random_affine(-20, 0, (1.0, 1.0), (-10, 30))(KEYS[0], image)
    np.testing.assert_allclose(jax.tree.leaves(calls[1]), [-10, 0, 0, 1, 0], atol=1e-6)


def test_a_vertical_flip_mirrors_top_and_bottom(monkeypatch):
    chances = []
    monkeypatch.setattr(jax.random, "bernoulli", lambda key, p: chances.append(p) or jnp.array(True))
    np.testing.assert_array_equal(augment.random_vertical_flip(0.25)(KEYS[0], IMAGE), np.asarray(IMAGE)[::-1])
    np.testing.assert_array_equal(augment.random_flip(0.75)(KEYS[0], IMAGE), np.asarray(IMAGE)[:, ::-1])
    assert chances == [0.25, 0.75]


def test_augmentations_of_the_unit_interval_take_normalized_images():
    """3 is 0.4 + 3 * 0.2 = 1.0, and 4 is cut to 1; -1 is 0.2; each becomes half of it, less 0.4, over 0.2."""
    wrapped = augment.on_unit(lambda key, image: image / 2, (0.4,), (0.2,))
    out = wrapped(None, jnp.array([3.0, 4.0, -1.0, -4.0]).reshape(1, 4, 1))
    np.testing.assert_allclose(out[0, :, 0], [0.5, 0.5, -1.5, -2.0], rtol=1e-6)


ALL = augment.compose(
    augment.random_crop(1, "edge"),
    augment.random_shift(1),
    augment.random_flip(),
    augment.random_affine(20, 0.1, (0.8, 1.2), (-5, 10)),
)


@pytest.mark.weekly
def test_batches_equal_a_loop_and_depend_on_the_key_alone():
    keys = KEYS[:4]
    together = many(ALL, keys=keys)
    np.testing.assert_allclose(together, np.stack([ALL(key, IMAGE) for key in keys]), atol=1e-5)
    np.testing.assert_array_equal(together, many(ALL, keys=keys))
    assert len({one.tobytes() for one in together}) == 4
    assert together.dtype == np.float32
    half = ALL(keys[0], IMAGE.astype(jnp.bfloat16))
    assert (half.dtype, half.shape) == (jnp.bfloat16, IMAGE.shape)


def test_composed_parts_draw_independently():
    # Two flips at 0.5 undo each other half of the time; with one key for both they always would.
    found = which(
        many(augment.compose(augment.random_flip(), augment.random_flip())),
        [np.asarray(IMAGE), np.asarray(IMAGE)[:, ::-1]],
    )
    assert abs(found.mean() - 0.5) < 0.1


def test_compose_applies_in_order():
    def double(key, image):
        return image * 2

    half = augment.normalize(1.0, 2.0)
    np.testing.assert_allclose(augment.compose(double, half)(None, IMAGE), (IMAGE * 2 - 1) / 2)
    np.testing.assert_allclose(augment.compose(half, double)(None, IMAGE), (IMAGE - 1), atol=1e-6)
    with pytest.raises(TypeError, match="compose"):
        augment.compose(3)


def test_the_smallest_numbers_of_augmentations_are_allowed():
    for make in (
        augment.cutout(1),
        augment.random_resized_crop(side=1),
        augment.random_erasing(0),
        augment.random_crop(0),
    ):
        assert callable(make)


def test_sharpness_smooths_the_pixels_inside_alone():
    small = np.arange(9.0, dtype=np.float32).reshape(3, 3, 1)
    assert (augment.adjust_sharpness(small[:2], 2.0) == small[:2]).all()  # has no pixel inside
    # The smoothed middle is (0 + 1 + ... + 8 + 4 * 4) / 13, with 13 in place of 0.
    small[0, 0] = 13.0
    found = jax.jit(augment.adjust_sharpness)(small / 26, 0.0) * 26
    np.testing.assert_allclose(found[1, 1, 0], (36 + 13 + 4 * 4) / 13, rtol=1e-6)


def test_to_float():
    out = augment.to_float(np.array([0, 51, 255], np.uint8))
    np.testing.assert_allclose(out, [0, 0.2, 1])
    assert out.dtype == jnp.float32
    np.testing.assert_array_equal(augment.to_float(IMAGE), IMAGE)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_statistics_standardize_the_split_they_come_from(dtype):
    pixels = RNG.integers(0, 256, (1500, 3, 2, 3)) * np.array([1, 0.5, 0]) + np.array([0, 60, 40])
    image = pixels.astype(np.uint8) if dtype == np.uint8 else (pixels / 255).astype(np.float32)
    mean, std = augment.channel_statistics(Source({"image": image}))
    unit = np.asarray(augment.to_float(image)).reshape(-1, 3).astype(np.float64)
    np.testing.assert_allclose(mean, unit.mean(0), rtol=1e-5)
    np.testing.assert_allclose(std[:2], unit.std(0)[:2], rtol=1e-5)
    assert std[2] == 1
    out = np.asarray(jax.vmap(augment.normalize(mean, std), (None, 0))(None, augment.to_float(image)))
    np.testing.assert_allclose(out.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(out.std((0, 1, 2)), [1, 1, 0], atol=1e-4)


def test_arrays_of_numpy_are_taken_as_those_of_jax():
    """Readers give NumPy's arrays; eager calls take them, with the same results."""
    image, boxes = np.asarray(IMAGE), np.array([[1, 2, 5, 6]])
    warp = augment.affine_warp((8, 8), 10.0)
    for method in ("bilinear", "nearest"):
        np.testing.assert_array_equal(augment.warp_image(image, warp, method), augment.warp_image(IMAGE, warp, method))
    moved = augment.warp_boxes(boxes.tolist(), warp, (8, 8))[0]
    np.testing.assert_array_equal(moved, augment.warp_boxes(jnp.asarray(boxes), warp, (8, 8))[0])


def test_bytes_are_normalized_as_their_numbers():
    image = np.array([[[0, 100, 200]]], np.uint8)
    np.testing.assert_allclose(augment.normalize(128.0, 64.0)(None, image), [[[-2, -0.4375, 1.125]]])
