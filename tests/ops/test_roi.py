"""RoIAlign and RoIPool against torchvision's goldens, gradients included, by hand, and in chunks."""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.detection.fpn import assign_levels
from dlcore.ops import max_pool, multiscale_roi_align, roi, roi_align, roi_pool

DATA = np.load(pathlib.Path(__file__).parents[1] / "goldens" / "tvops_roi.npz")
CASES = json.loads(str(DATA["meta"]))["cases"]


def check(case, crop):
    """crop: (features [H, W, C], boxes) -> crops, against values and the gradient of two images with five boxes."""
    x, rois = DATA[f"{case}/in.x"].transpose(0, 2, 3, 1), DATA[f"{case}/in.rois"]
    cotangent = DATA[f"{case}/in.cot"].transpose(0, 2, 3, 1)
    out, gradient = np.zeros(cotangent.shape), np.zeros(x.shape)
    for i in range(2):
        of = rois[:, 0] == i
        out[of], pull = jax.vjp(lambda x, of=of: crop(x, jnp.asarray(rois[of, 1:])), jnp.asarray(x[i]))
        gradient[i] = pull(jnp.asarray(cotangent[of]))[0]
    np.testing.assert_allclose(out.transpose(0, 3, 1, 2), DATA[f"{case}/out"], atol=1e-5)
    np.testing.assert_allclose(gradient.transpose(0, 3, 1, 2), DATA[f"{case}/grad.x"], atol=1e-5)


@pytest.mark.covers("DE-12")
def test_align_of_a_ramp_is_the_middle_of_each_bin():
    """Of f(y, x) = x the bins from 2 to 6 have middles 3 and 5; aligned, a pixel lies half a pixel further."""
    ramp = np.broadcast_to(np.arange(9, dtype=np.float32)[None, :, None], (9, 9, 1))
    boxes = np.float32([[2, 1, 6, 5]])
    align = jax.jit(functools.partial(roi_align, output_size=(1, 2), sampling_ratio=2, aligned=True))
    np.testing.assert_allclose(align(ramp, boxes)[0, 0, :, 0], [2.5, 4.5], atol=1e-6)


@pytest.mark.slow
@pytest.mark.weekly(only=["roi_align.al0.sr-1.sc0.5"])
@pytest.mark.covers("DE-12")
@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("roi_align")])
def test_align_equals_torchvision(case):
    arguments = CASES[case]["args"]
    check(case, lambda x, boxes: roi_align(x, boxes, **arguments | {"output_size": tuple(arguments["output_size"])}))


@pytest.mark.slow
@pytest.mark.covers("DE-11")
@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("roi_pool")])
def test_pool_equals_torchvision(case):
    arguments = CASES[case]["args"]
    check(case, jax.jit(lambda x, boxes: roi_pool(x, boxes, (3, 2), arguments["spatial_scale"])))


@pytest.mark.slow
@pytest.mark.covers("DE-12", "DE-20")
def test_multiscale_align_equals_torchvision():
    case = "multiscale_roi_align"
    levels = [jnp.asarray(DATA[f"{case}/in.f{i}"][0].transpose(1, 2, 0)) for i in range(3)]
    boxes = jnp.asarray(DATA[f"{case}/in.boxes"])
    assigned = assign_levels(boxes, 2, 4) - 2
    assert set(assigned.tolist()) == {0, 1}
    out = multiscale_roi_align(levels, boxes, 3, (4, 8, 16), assigned)
    np.testing.assert_allclose(out.transpose(0, 3, 1, 2), DATA[f"{case}/out"], atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("DE-12")
def test_align_is_exact_on_a_ramp():
    # x = 8 i + j. Aligned, the box begins at 1.5 - .5 = 1 and its bins are 2 long: samples at 1.5, 2.5 | 3.5, 4.5,
    # with means 2 and 4, so 8 * 2 + 2 = 18, 8 * 2 + 4 = 20, 34, 36.
    ramp, box = jnp.arange(64.0).reshape(8, 8, 1), jnp.array([[1.5, 1.5, 5.5, 5.5]])
    np.testing.assert_allclose(roi_align(ramp, box, 2, aligned=True)[0, ..., 0], [[18, 20], [34, 36]], atol=1e-5)
    # Not aligned: half a pixel on along both axes, 4.5 more; a shift of .25 to the right adds .25.
    np.testing.assert_allclose(roi_align(ramp, box, 2)[0, ..., 0], [[22.5, 24.5], [38.5, 40.5]], atol=1e-5)
    moved = box + jnp.array([0.25, 0, 0.25, 0])
    np.testing.assert_allclose(roi_align(ramp, moved, 2)[0, ..., 0], [[22.75, 24.75], [38.75, 40.75]], atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("DE-11")
def test_pool_of_whole_pixels_is_max_pooling():
    x = jax.random.normal(jax.random.key(0), (8, 8, 3))
    box = jnp.array([[0.0, 0, 7, 7], [0.4, -0.4, 7.4, 6.6]])  # the second rounds to the first
    np.testing.assert_array_equal(roi_pool(x, box, 2), jnp.stack([max_pool(x[None], (4, 4), (4, 4))[0]] * 2))
    np.testing.assert_array_equal(
        roi_pool(jnp.full((5, 6, 2), 3.0), jnp.array([[1.2, 0.7, 4.4, 3]]), 3), np.full((1, 3, 3, 2), 3)
    )
    np.testing.assert_array_equal(roi_pool(x, jnp.array([[20.0, 20, 30, 30]]), 2), np.zeros((1, 2, 2, 3)))


@pytest.mark.slow
@pytest.mark.covers("DE-11")
def test_of_equal_values_the_first_gets_the_gradient():
    box = jnp.array([[0.0, 0, 3, 3]])
    gradient = jax.grad(lambda x: roi_pool(x, box, 1).sum())(jnp.zeros((4, 4, 1)).at[1:3, 1:3].set(1.0))
    assert float(gradient[1, 1, 0]) == 1
    assert float(gradient.sum()) == 1


@pytest.mark.weekly
def test_chunks_change_nothing(monkeypatch):
    levels = [jax.random.normal(jax.random.key(i), (s, s, 4)) for i, s in enumerate((16, 8))]
    corner, size = jax.random.uniform(jax.random.key(2), (2, 7, 2)) * 60
    boxes = jnp.concatenate([corner, corner + size], 1)
    assigned = jnp.array([0, 1, 0, 1, 0, 1, 2])

    def crops(levels):
        return multiscale_roi_align(levels, boxes, 3, (8, 16), assigned)

    want, gradient = crops(levels), jax.grad(lambda x: (crops(x) ** 2).sum())(levels)
    assert not want[6].any()
    monkeypatch.setattr(roi, "CHUNK_BYTES", 3 * 4 * 3 * 16 * 4)
    monkeypatch.setattr(roi, "UNROLLED", 1)
    np.testing.assert_allclose(crops(levels), want, atol=1e-6)
    chunked = jax.grad(lambda x: (crops(x) ** 2).sum())(levels)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), chunked, gradient)


@pytest.mark.weekly
def test_boxes_without_area_stay_finite():
    x, boxes = jnp.ones((6, 6, 1)), jnp.array([[2.0, 2, 2, 2], [3, 1, 3, 4], [0, 0, 0, 0], [-9, -9, -5, -5]])
    for ratio in (2, -1):
        for aligned in (False, True):
            out, pull = jax.vjp(lambda x, r=ratio, a=aligned: roi_align(x, boxes, 2, 1.0, r, a), x)
            assert np.isfinite(out).all()
            assert np.isfinite(pull(out)[0]).all()
            assert not out[3].any()


def test_each_box_is_read_from_its_own_level_alone():
    """Level 0 holds x, level 1 holds 100 + 10 y at half the size; of a level that is not there, nothing is read."""
    first = np.broadcast_to(np.arange(12, dtype=np.float32)[None, :, None], (8, 12, 1))
    second = np.broadcast_to(100 + 10 * np.arange(4, dtype=np.float32)[:, None, None], (4, 6, 1))
    boxes = np.array([[2, 1, 6, 5], [4, 2, 8, 6], [4, 2, 8, 6], [4, 2, 8, 6], [20, 1, 24, 5]], np.float32)
    assigned = np.array([0, 1, 2, -1, 0], np.int32)  # the last box lies beside its map

    @jax.jit
    def crops(levels):
        return multiscale_roi_align(levels, boxes, (2, 1), (1, 2), assigned, aligned=True)

    out, pull = jax.vjp(crops, [first, second])
    # Half a pixel off, the middle of columns 2 to 6 is 3.5; of rows 1 to 3 the halves have middles 1.5 and 2.5 - 1/2.
    np.testing.assert_allclose(out[..., 0, 0], [[3.5, 3.5], [110, 120], [0, 0], [0, 0], [0, 0]], atol=1e-5)
    # A bin is a mean of pixels: its gradient sums to 1, and the two bins of a box lie around the box's center.
    level_0, level_1 = (np.asarray(g)[..., 0] for g in pull(jnp.ones_like(out))[0])
    np.testing.assert_allclose((level_0.sum(), level_1.sum()), (2, 2), rtol=1e-6)
    np.testing.assert_allclose((level_0.sum(0) * np.arange(12)).sum() / 2, 3.5, rtol=1e-6)
    np.testing.assert_allclose((level_1.sum(1) * np.arange(4)).sum() / 2, 1.5, rtol=1e-6)
    np.testing.assert_allclose((level_1.sum(0) * np.arange(6)).sum() / 2, 2.5, rtol=1e-6)


def test_invalid_sampling_ratios_and_strides_are_refused():
    x, boxes = np.zeros((4, 4, 1), np.float32), np.zeros((1, 4), np.float32)
    with pytest.raises(ValueError, match="traced"):
        jax.eval_shape(lambda b: roi_align(x, b, 2, sampling_ratio=-1), boxes)


def test_the_largest_of_a_bins_samples_by_hand():
    """A box of 4 by 4 with one bin and two samples a side: they lie at 1 and 3 of the pixels' centers at 0, 1, 2, 3.

    The map is 0 but for 8 at (row 3, column 1) and -4 at (row 1, column 3): the samples are 0, -4, 8 and 0.
    """
    features, boxes = np.zeros((5, 5, 1), np.float32), np.array([[0, 0, 4, 4]], np.float32)
    features[3, 1], features[1, 3] = 8, -4

    def largest(x):
        return multiscale_roi_align([x, x], boxes, 1, (1, 2), np.array([0]), reduce="max").sum()

    # Of -1 - x, which is negative nearly everywhere, the largest is -1 + 4.
    values, (gradient, _) = jax.jit(jax.vmap(jax.value_and_grad(largest)))(np.stack([features, -1 - features]))
    assert values.tolist() == [8, 3]
    # The gradient goes to the pixel of the largest sample alone.
    np.testing.assert_array_equal(gradient[..., 0], np.zeros((5, 5)) + (np.arange(25).reshape(5, 5) == 16))


@pytest.mark.slow(unless=["mean"])
@pytest.mark.parametrize(("reduce", "expected"), [("mean", 1), ("max", 2)])
def test_a_bin_has_one_sample_a_pixel(reduce, expected):
    """Of 2 by 2 pixels two a side, in rows 1.5 and 2.5: the lower ones are means of 8 and three 0, the upper ones 0."""
    features, boxes = np.zeros((5, 5, 1), np.float32), np.array([[0, 1, 2, 3]], np.float32)
    features[3, 1] = 8
    assert float(roi_align(features, boxes, 1, sampling_ratio=-1, reduce=reduce)[0, 0, 0, 0]) == expected


ROIS = np.float32([[1, 2, 9, 7], [-3, -1, 4, 5], [6, 3, 16, 13], [2.5, 1.5, 3, 2], [-9, 2, -5, 6], [0, 0, 12, 10]])
"""Inside, beyond the upper left and the lower right, below a pixel of the map at half the size, beside it, whole."""


def aligned_by_loop(x, size, ratio, aligned, reduce):
    """RoIAlign at half the size, sample by sample."""
    out = np.zeros((len(ROIS), *size, x.shape[-1]))

    def value(*at):
        if not all(-1 <= c <= n for c, n in zip(at, x.shape, strict=False)):
            return 0
        at = [np.clip(c, 0, n - 1) for c, n in zip(at, x.shape, strict=False)]
        weight = [np.maximum(0, 1 - abs(c - np.arange(n))) for c, n in zip(at, x.shape, strict=False)]
        return np.einsum("i,j,ijc->c", *weight, x)

    for r, box in enumerate(ROIS / 2 - 0.5 * aligned):
        sides = [max(box[k + 2] - box[k], 0 if aligned else 1) / n for k, n in ((1, size[0]), (0, size[1]))]
        counts = [ratio if ratio > 0 else int(np.ceil(side)) for side in sides]
        for p, q in np.ndindex(*size):
            samples = [
                value(*(box[1 - k] + (bin_ + (i + 0.5) / counts[k]) * sides[k] for k, (bin_, i) in enumerate(pairs)))
                for pairs in (((p, i), (q, j)) for i, j in np.ndindex(*counts))
            ]
            out[r, p, q] = sum(samples) / len(samples) if reduce == "mean" else np.max(np.broadcast_arrays(*samples), 0)
    return out


@pytest.mark.slow(only=["size2*", "size3*"])
@pytest.mark.parametrize(
    ("size", "ratio", "aligned", "reduce"),
    [((2, 3), 2, False, "mean"), ((2, 1), 3, True, "mean"), ((1, 2), 2, True, "max"), ((2, 1), -1, False, "mean")],
)
def test_aligned_crops_equal_a_loop_over_samples(size, ratio, aligned, reduce):
    x = np.random.default_rng(0).normal(size=(5, 6, 2)).astype(np.float32)

    def crop(x):
        return roi_align(x, ROIS, size, 0.5, ratio, aligned, reduce)

    def both(x):
        out, pull = jax.vjp(crop, x)
        return out, pull(out)[0]

    out, gradient = (both if ratio == -1 else jax.jit(both))(x)
    np.testing.assert_allclose(out, aligned_by_loop(x, size, ratio, aligned, reduce), atol=1e-5)
    # Crops are linear in the map: <out, crop(x)> = <gradient, x>; the largest are, near x.
    np.testing.assert_allclose((gradient * x).sum(), (np.asarray(out) ** 2).sum(), rtol=1e-5)


@pytest.mark.covers("DE-11")
def test_pooled_crops_equal_a_loop_over_bins():
    """Corners are rounded, halves away from 0; a box holds both; a bin outside the map is 0, in integers too."""
    x = np.random.default_rng(1).integers(-9, -1, (5, 6, 2)).astype(np.int32)
    want = np.zeros((len(ROIS), 2, 3, 2))
    for r, box in enumerate(ROIS / 2):
        x0, y0, x1, y1 = (int(np.sign(c) * np.floor(abs(c) + 0.5)) for c in box)
        for p, q in np.ndindex(2, 3):
            spans = []
            for k, bins, low, high, n in ((p, 2, y0, y1, 5), (q, 3, x0, x1, 6)):
                size = max(high - low + 1, 1) / bins
                start, stop = (int(f(i * size)) + low for f, i in ((np.floor, k), (np.ceil, k + 1)))
                spans.append(slice(np.clip(start, 0, n), np.clip(stop, 0, n)))
            if (pixels := x[tuple(spans)]).size:
                want[r, p, q] = pixels.max((0, 1))
    np.testing.assert_array_equal(jax.jit(lambda x: roi_pool(x, ROIS, (2, 3), 0.5))(x), want)
