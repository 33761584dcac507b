"""Positions: sines by hand, a table on another grid, and a bias that depends on the offset alone."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.nn import (
    ContinuousPositionBias,
    LearnedPositions,
    RelativePositionBias,
    RelativePositionBuckets,
    grid_positions,
    interpolate_positions,
    relative_buckets,
    sinusoidal_encoding,
    sinusoidal_encoding_2d,
)
from dlcore.ops import resize
from tests.models.parity import GOLDENS


@pytest.mark.covers("AT-10")
def test_sines_by_hand():
    # sin 1, cos 1, sin(1 / 10000^(2/4)) = sin .01, cos .01
    np.testing.assert_allclose(
        sinusoidal_encoding(2, 4), [[0, 1, 0, 1], [0.8414710, 0.5403023, 0.0099998, 0.9999500]], atol=1e-7
    )
    np.testing.assert_array_equal(sinusoidal_encoding(jnp.asarray([1.0]), 4), sinusoidal_encoding(2, 4)[1:])
    chex.assert_shape(sinusoidal_encoding(jnp.zeros((2, 3)), 6), (2, 3, 6))
    chex.assert_shape(jax.eval_shape(lambda: sinusoidal_encoding(0, 4)), (0, 4))
    # of period 4: sin(1 / 4^(2/4)) = sin .5, cos .5
    one, short = jax.jit(lambda: (sinusoidal_encoding(2, 2), sinusoidal_encoding(2, 4, 4.0)))()
    np.testing.assert_allclose(one, [[0, 1], [0.8414710, 0.5403023]], atol=1e-7)
    np.testing.assert_allclose(short[1, 2:], [0.4794255, 0.8775826], atol=1e-6)
    for features in (0,):
        with pytest.raises(ValueError, match=f"features={features}: not pairs"):
            sinusoidal_encoding(3, features)


def test_rows_and_columns_of_a_map_have_half_of_the_channels_each():
    # A map of 2 x 4 with 4 channels: row 1 of 2 is pi, column 3 of 4 is 3/2 pi; (sin, cos) of each.
    table = jax.device_get(jax.jit(lambda: sinusoidal_encoding_2d(2, 4, 4))())
    chex.assert_shape(table, (2, 4, 4))
    np.testing.assert_allclose(table[0, 2], [0, -1, -1, 0], atol=1e-5)
    np.testing.assert_allclose(table[1, 3], [0, 1, 0, 1], atol=1e-5)
    np.testing.assert_array_equal(table[0, :, :2], np.tile(table[0, 0, :2], (4, 1)))


def test_rows_and_columns_of_padded_maps_are_spread_over_those_of_their_image():
    """Of a map of 3 x 4 the first image has 2 x 4, the second 3 x 1: its second column is at 2 (2 - 1/2) pi = 3 pi."""
    rows, columns = np.array([2, 3]), np.array([4, 1])
    table = jax.device_get(jax.jit(lambda: sinusoidal_encoding_2d(3, 4, 8, 100.0, rows, columns, shift=0.5))())
    chex.assert_shape(table, (2, 3, 4, 8))
    for image, i, j in np.ndindex(2, 3, 4):
        places = 2 * np.pi * (i + 0.5) / rows[image], 2 * np.pi * (j + 0.5) / columns[image]
        # Waves of the place and of a tenth of it: 100^(2 / 4) = 10.
        want = [f(place / period) for place in places for period in (1, 10) for f in (np.sin, np.cos)]
        np.testing.assert_allclose(table[image, i, j], want, atol=2e-5)


@pytest.mark.covers("AT-10")
@pytest.mark.parametrize("shift", [1, 7])
def test_a_shift_is_one_linear_map_for_all_positions(shift):
    table = np.asarray(sinusoidal_encoding(64, 8), np.float64)
    turn = np.zeros((8, 8))
    for i in range(4):
        angle = shift / 10_000 ** (2 * i / 8)
        c, s = np.cos(angle), np.sin(angle)
        turn[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[c, s], [-s, c]]
    np.testing.assert_allclose(table[shift:], table[:-shift] @ turn.T, atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("AT-11")
def test_the_table_on_another_grid_is_torch_bicubic():
    """The golden's numbers behind a class token's row, and those of torch 2 for 14 x 14 to 24 x 24 (224 to 384)."""
    golden, case = np.load(GOLDENS / "torch_pool_resize.npz"), "interpolate.bicubic.False"  # not align_corners
    x, want = golden[f"{case}/in.x"], golden[f"{case}/out"]  # [N, C, H, W]
    rows = x.transpose(0, 2, 3, 1).reshape(x.shape[0], -1, x.shape[1])
    front = np.full((x.shape[0], 1, x.shape[1]), 7.0, np.float32)
    got = interpolate_positions(jnp.concatenate([front, rows], 1), x.shape[2:], want.shape[2:], num_prefix_tokens=1)
    np.testing.assert_array_equal(got[:, 0], front[:, 0])
    got = got[:, 1:].reshape(x.shape[0], *want.shape[2:], -1).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(got, want, atol=1e-5)

    table = np.random.RandomState(0).standard_normal((1, 197, 2)).astype(np.float32)
    got = interpolate_positions(table, (14, 14), (24, 24), 1)[0]
    np.testing.assert_array_equal(got[0], table[0, 0])
    want = [
        [0.9538465, 2.7466927],
        [1.5177439, 1.1873337],
        [1.8353387, 1.7629428],
        [0.7215170, 1.9185696],
        [1.0465741, -0.6477463],
        [-0.4764135, -1.9386708],
    ]
    np.testing.assert_allclose(got[1:][np.array([0, 1, 23, 24, 300, 575])], want, atol=1e-5)
    assert float(jnp.abs(got[1:]).sum()) == pytest.approx(805.94214, rel=1e-6)
    got = interpolate_positions(table, (14, 14), (7, 10), 1)[0, 1:][np.array([0, 9, 35, 69])]
    want = [[0.6137164, 0.8057842], [0.5189997, 0.7041566], [0.5063010, -0.9492499], [0.1716108, -0.6200414]]
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.covers("AT-11")
def test_a_table_is_resized_as_a_map_of_its_rows_and_columns_behind_its_prefix():
    """A map of 2 x 3 becomes one of 4 x 5; the two rows before it do not change, and a layer adds all of it."""
    table = np.random.default_rng(0).normal(size=(1, 2 + 6, 3)).astype(np.float32)
    layer = LearnedPositions((2, 3), num_prefix_tokens=2)
    x = np.ones((2, 2 + 20, 3), np.float32)

    @jax.jit
    def run():
        resized = (
            interpolate_positions(table, (2, 3), (4, 5), 2),
            resize(table[:, 2:].reshape(1, 2, 3, 3), (4, 5), "bicubic"),
        )
        return *resized, layer.apply({"params": {"embedding": table}}, x, (4, 5))

    got, want, added = jax.device_get(run())
    np.testing.assert_array_equal(got[:, :2], table[:, :2])
    np.testing.assert_allclose(got[:, 2:], want.reshape(1, 20, 3), atol=1e-6)
    np.testing.assert_allclose(added, np.broadcast_to(1 + got, x.shape), atol=1e-6)
    assert interpolate_positions(table, (2, 3), (2, 3), 2) is table


@pytest.mark.weekly
@pytest.mark.covers("AT-11")
def test_a_learned_table_has_a_row_a_patch_and_one_for_the_class_token():
    x = jnp.zeros((2, 197, 6))
    layer = LearnedPositions((14, 14), num_prefix_tokens=1)
    out, variables = layer.init_with_output(jax.random.key(0), x)
    table = variables["params"]["embedding"]
    chex.assert_shape(table, (1, 197, 6))
    np.testing.assert_array_equal(out, jnp.broadcast_to(table, (2, 197, 6)))
    assert float(table.std()) == pytest.approx(0.02, rel=0.1)
    larger = layer.apply(variables, jnp.zeros((2, 577, 6)), (24, 24))
    np.testing.assert_array_equal(larger[0], interpolate_positions(table[0], (14, 14), (24, 24), 1))


@pytest.mark.covers("AT-12")
def test_relative_bias_depends_on_the_offset_alone():
    layer = RelativePositionBias((4, 4), 3)
    bias, variables = layer.init_with_output(jax.random.key(0))
    chex.assert_shape(variables["params"]["embedding"], (49, 3))  # (2 4 - 1)^2
    grid = np.asarray(bias).reshape(3, 4, 4, 4, 4)
    np.testing.assert_array_equal(grid[:, 1:, 1:, 1:, 1:], grid[:, :-1, :-1, :-1, :-1])  # the window moved by (1, 1)
    np.testing.assert_array_equal(grid[:, 1:, :, 1:, :], grid[:, :-1, :, :-1, :])
    assert len(np.unique(grid[0])) == 49


@pytest.mark.covers("AT-12")
def test_relative_bias_by_hand():
    """A 1 x 2 window: offsets (query - key) of -1, 0, 1 are rows 0, 1, 2."""
    got = RelativePositionBias((1, 2), 1).apply({"params": {"embedding": jnp.asarray([[5.0], [6.0], [7.0]])}})
    np.testing.assert_array_equal(got, [[[6, 5], [7, 6]]])
    # 2 x 1: a step down is a whole row of the table further, which is 1 long
    got = RelativePositionBias((2, 1), 1).apply({"params": {"embedding": jnp.asarray([[5.0], [6.0], [7.0]])}})
    np.testing.assert_array_equal(got, [[[6, 5], [7, 6]]])


def test_buckets_by_hand():
    """8 buckets of 4 each way: 0, 1, then from 2, and from 2 sqrt(20 / 2) = 6.3 on. One way: from 4 by 5^(1/4)."""
    both = relative_buckets(jnp.arange(-8, 9), 8, 20)
    np.testing.assert_array_equal(both, [3, 3, 2, 2, 2, 2, 2, 1, 0, 5, 6, 6, 6, 6, 6, 7, 7])
    behind = relative_buckets(-jnp.arange(-2, 16), 8, 20, bidirectional=False)  # 4, 5.98, 8.94, 13.4
    np.testing.assert_array_equal(behind, [0, 0, 0, 1, 2, 3, 4, 4, 5, 5, 5, 6, 6, 6, 6, 6, 7, 7])
    assert relative_buckets(jnp.asarray([15, 16, 31, 32, 63, 64, 90, 91, 1000])).tolist() == [
        *(25, 26, 27, 28, 29, 30, 30, 31, 31)
    ]
    few = jax.jit(lambda: relative_buckets(np.arange(-3, 4), 4, 2))()
    np.testing.assert_array_equal(few, [1, 1, 1, 0, 3, 3, 3])


def test_the_bias_of_buckets_follows_the_queries_positions():
    layer = RelativePositionBuckets(3, 8, 20, bidirectional=False)
    table = jnp.arange(24.0).reshape(8, 3)
    bias = layer.apply({"params": {"embedding": table}}, jnp.asarray([[4], [1]]), 6)
    chex.assert_shape(bias, (2, 3, 1, 6))
    np.testing.assert_array_equal(bias[0, 1, 0], [13, 10, 7, 4, 1, 1])  # buckets 4 3 2 1 0 0
    np.testing.assert_array_equal(bias[1, 1, 0], [4, 1, 1, 1, 1, 1])


@pytest.mark.covers("AT-31")
def test_positions_are_waves_of_the_column_then_of_the_row():
    table = grid_positions(2, 3, 8).reshape(2, 3, 8)
    want = [np.sin(2), np.sin(0.02), np.cos(2), np.cos(0.02), np.sin(1), np.sin(0.01), np.cos(1), np.cos(0.01)]
    np.testing.assert_allclose(table[1, 2], want, rtol=1e-5)
    scaled = grid_positions(2, 3, 4, (0.5, 3.0)).reshape(2, 3, 4)
    np.testing.assert_allclose(scaled[1, 2], [np.sin(6), np.cos(6), np.sin(0.5), np.cos(0.5)], rtol=1e-5)


@pytest.mark.parametrize("reference", [None, 4])
def test_a_continuous_bias_is_a_perceptron_of_logarithms_of_offsets(reference):
    """Of a window of 3 x 2; its own scale divides by 2 and by 1, a reference of 4 x 4 by 3."""
    layer, rng = ContinuousPositionBias((3, 2), 2, reference, 4), np.random.default_rng(0)
    shapes = {"hidden": {"kernel": (2, 4), "bias": (4,)}, "out": {"kernel": (4, 2)}}
    params = {n: {k: rng.normal(size=size).astype(np.float32) for k, size in s.items()} for n, s in shapes.items()}
    bias = jax.jit(lambda: layer.apply({"params": params}))()
    chex.assert_shape(bias, (2, 6, 6))
    limits = np.array([2, 1] if reference is None else [3, 3])
    for i, j in np.ndindex(6, 6):
        offset = np.array([i // 2 - j // 2, i % 2 - j % 2])
        scaled = np.sign(offset) * np.log2(1 + 8 * np.abs(offset) / limits) / 3
        hidden = np.maximum(scaled @ params["hidden"]["kernel"] + params["hidden"]["bias"], 0)
        want = 16 / (1 + np.exp(-hidden @ params["out"]["kernel"]))
        np.testing.assert_allclose(bias[:, i, j], want, rtol=1e-4)


def test_a_bias_on_a_larger_window_keeps_the_rows_of_the_class_token():
    """A table of 1 x 3 offsets (1, 2, 4), resized to 1 x 5 at 0.6 k - 0.2: 1, 1.4, 2, 3.2, 4; then 7, 8 and 9."""
    layer = RelativePositionBias((1, 2), 1, class_token=True)
    table = np.float32([1, 2, 4, 7, 8, 9])[:, None]
    plain, larger = jax.jit(lambda: [layer.apply({"params": {"embedding": table}}, *w) for w in ((), ((1, 3),))])()
    np.testing.assert_array_equal(plain[0], [[9, 7, 7], [8, 2, 1], [8, 4, 2]])
    want = [[9, 7, 7, 7], [8, 2, 1.4, 1], [8, 3.2, 2, 1.4], [8, 4, 3.2, 2]]
    np.testing.assert_allclose(larger[0], want, rtol=1e-6)


def test_a_table_of_numpy_is_read_in_a_compiled_call():
    """The table is a constant of the program; one bucket an offset of 0 to 3, from which on all share the last."""
    table = np.arange(8, dtype=np.float32).reshape(4, 2)
    bias = RelativePositionBuckets(2, num_buckets=4, max_distance=4, bidirectional=False)
    apply = jax.jit(lambda positions: bias.apply({"params": {"embedding": table}}, positions, 2))
    np.testing.assert_array_equal(apply(np.array([0, 1])), [[[0, 0], [2, 0]], [[1, 1], [3, 1]]])
