"""The pyramid against torchvision's, its levels, and nearest-neighbor scaling to odd sizes."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.detection.fpn import FeaturePyramid, assign_levels, upscale

GOLDEN = np.load(Path(__file__).parents[1] / "goldens" / "tvops_misc.npz")


def nhwc(x):
    return jnp.asarray(x).transpose(0, 2, 3, 1)


@pytest.mark.slow
@pytest.mark.covers("DE-20")
def test_it_equals_torchvision():
    maps = [nhwc(GOLDEN[f"fpn/in.f{i}"]) for i in range(3)]
    params = {}
    for ours, theirs in (("inner", "inner_blocks"), ("layer", "layer_blocks")):
        for i in range(3):
            weight, bias = (GOLDEN[f"fpn/in.w.{theirs}.{i}.0.{part}"] for part in ("weight", "bias"))
            params[f"{ours}{i}"] = {"kernel": weight.transpose(2, 3, 1, 0), "bias": bias}
    levels = FeaturePyramid(4, "pool").apply({"params": params}, maps)
    for level, name in zip(levels, ("f0", "f1", "f2", "pool"), strict=True):
        want = nhwc(GOLDEN[f"fpn/out.{name}"])
        np.testing.assert_allclose(level, want, atol=1e-5 * float(want.std()))


@pytest.mark.slow
@pytest.mark.covers("DE-20")
def test_levels_of_p6p7_halve_and_have_their_parameters():
    maps = [jnp.zeros((1, 2 * s, s, c)) for s, c in ((16, 3), (8, 4), (4, 5))]
    pyramid = FeaturePyramid(6, "p6p7")
    params = pyramid.init(jax.random.key(0), maps)["params"]
    assert set(params) == {f"{kind}{i}" for kind in ("inner", "layer") for i in range(3)} | {"p6", "p7"}
    levels = pyramid.apply({"params": params}, maps)
    assert [x.shape[1:] for x in levels] == [(32, 16, 6), (16, 8, 6), (8, 4, 6), (4, 2, 6), (2, 1, 6)]


@pytest.mark.slow
def test_a_coarse_map_reaches_all_finer_levels_and_no_level_is_coarser_than_its_map():
    maps = [jnp.zeros((1, 8, 8, 2)), jnp.zeros((1, 4, 4, 2)), jnp.zeros((1, 2, 2, 2)).at[0, 1, 1].set(1.0)]
    pyramid = FeaturePyramid(3)
    params = pyramid.init(jax.random.key(0), maps)["params"]
    fine = pyramid.apply({"params": params}, maps)[0] - params["layer0"]["bias"]
    reached = jnp.abs(fine[0]).sum(-1) > 0
    assert reached[4:, 4:].all()  # pixel (1, 1) of 2 x 2 is the last quarter of 8 x 8
    assert not reached[:3, :3].any()  # a 3x3 convolution looks one pixel further


@pytest.mark.parametrize(
    ("have", "want", "source"), [(2, 4, [0, 0, 1, 1]), (3, 5, [0, 0, 1, 1, 2]), (4, 7, [0, 0, 1, 1, 2, 2, 3])]
)
def test_nearest_neighbor_reads_the_floor(have, want, source):
    # Pixel i reads floor(i h / H): with 3 -> 5, 0, 0.6, 1.2, 1.8, 2.4.
    x = jnp.arange(have, dtype=jnp.float32)[None, :, None, None]
    np.testing.assert_array_equal(upscale(x, (want, 1))[0, :, 0, 0], source)
    np.testing.assert_array_equal(upscale(x.transpose(0, 2, 1, 3), (1, want))[0, 0, :, 0], source)


@pytest.mark.covers("DE-20")
def test_the_level_of_a_box():
    # k = floor(4 + log2(sqrt(w h) / 224)): 224 -> 4, 112 -> 3, 448 -> 5, 223 -> 3; 112 x 448 is 224 too; ends clipped.
    sides = np.array([[224, 224], [112, 112], [448, 448], [223, 223], [112, 448], [10, 10], [5000, 5000], [0, 9]])
    boxes = np.concatenate([np.full((8, 2), 7), 7 + sides], 1).astype(np.float32)
    np.testing.assert_array_equal(assign_levels(boxes, 2, 6), [4, 3, 5, 3, 4, 2, 6, 2])


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"maps=\[\]: empty"):
        FeaturePyramid(4).init(jax.random.key(0), [])
