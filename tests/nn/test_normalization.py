"""Batch norm against flax and torch: values, gradients, running statistics, masks, devices and folding."""

import functools
import json
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import given
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from dlcore.nn import BatchNorm, Conv, fold_batch_norm, mean_and_variance

GOLDENS_FOLDER = pathlib.Path(__file__).parents[1] / "goldens"
GOLDENS = np.load(GOLDENS_FOLDER / "torch_norm_act.npz")


def values(*shape, seed=0, shift=0.5, scale=2.0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape) * scale + shift, jnp.float32)


def variables_of(channels, seed=1):
    scale, bias, mean, var = values(4, channels, seed=seed)
    return {"params": {"scale": scale, "bias": bias}, "batch_stats": {"mean": mean, "var": jnp.abs(var) + 0.5}}


@functools.partial(jax.jit, static_argnums=0)
def train(layer, variables, x, mask=None):
    return layer.apply(variables, x, use_running_average=False, mutable=["batch_stats"], mask=mask)


def assert_trees_close(got, want, tolerance=1e-5):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, float(np.abs(b).max())))


@functools.partial(jax.jit, static_argnums=0)
def all_results(layer, variables, x):
    def loss(params, x):
        y, updates = layer.apply(variables | {"params": params}, x, use_running_average=False, mutable=["batch_stats"])
        return jnp.sin(y).sum(), (y, updates)

    gradients, (y, updates) = jax.grad(loss, (0, 1), has_aux=True)(variables["params"], x)
    frozen = layer.apply(variables, x, use_running_average=True)
    return y, updates, gradients, frozen, layer.init(jax.random.key(0), x, use_running_average=False)


@pytest.mark.slow(unless=["shape0"])
@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 5), (3, 4, 2, 5)])
@given(seed=st.integers(0, 2**31 - 1))
def test_is_flax_batch_norm(shape, seed):
    x, variables = values(*shape, seed=seed), variables_of(shape[-1], seed + 1)
    layers = (BatchNorm(unbiased_running_var=False), linen.BatchNorm(momentum=0.9, use_fast_variance=False))
    assert_trees_close(*(all_results(layer, variables, x) for layer in layers), tolerance=2e-5)


def layout(x):
    return jnp.moveaxis(jnp.asarray(x), 1, -1)


@pytest.mark.slow(unless=["batch_norm2d"])
@pytest.mark.parametrize(
    "case",
    [
        pytest.param("batch_norm1d", marks=pytest.mark.covers("NO-08")),
        pytest.param("batch_norm2d", marks=pytest.mark.covers("NO-09")),
    ],
)
def test_two_training_steps_and_evaluation_equal_torch(case):
    options = json.loads(str(GOLDENS["meta"]))["cases"][case]["args"]
    layer = BatchNorm(momentum=1 - options["momentum"], epsilon=options["eps"])
    get = {name.split("/")[1]: GOLDENS[name] for name in GOLDENS.files if name.startswith(f"{case}/")}
    params = {"scale": jnp.asarray(get["in.w"]), "bias": jnp.asarray(get["in.b"])}
    stats = {"mean": jnp.asarray(get["in.running_mean"]), "var": jnp.asarray(get["in.running_var"])}

    def first(params, x):
        return train(layer, {"params": params, "batch_stats": stats}, x)

    y, pull, updates = jax.vjp(first, params, layout(get["in.x"]), has_aux=True)
    dparams, dx = pull(layout(get["in.cot"]))
    assert_trees_close(y, layout(get["out"]))
    assert_trees_close(updates["batch_stats"], {"mean": get["out.mean1"], "var": get["out.var1"]})
    assert_trees_close(dparams, {"scale": get["grad.w"], "bias": get["grad.b"]}, 1e-4)
    assert_trees_close(dx, layout(get["grad.x"]), 1e-4)
    y, updates = train(layer, {"params": params, **updates}, layout(get["in.x2"]))
    assert_trees_close(y, layout(get["out.step2"]))
    assert_trees_close(updates["batch_stats"], {"mean": get["out.mean2"], "var": get["out.var2"]})
    after = layer.apply({"params": params, **updates}, layout(get["in.x"]), use_running_average=True)
    assert_trees_close(after, layout(get["out.eval_after"]))


def test_evaluation_and_its_gradients_equal_torch():
    get = {name: GOLDENS[f"batch_norm2d.eval/{name}"] for name in ("out", "grad.x", "grad.w", "grad.b")}
    x, w, b, mean, var, cotangent = (
        jnp.asarray(GOLDENS[f"batch_norm2d.eval/in.{name}"])
        for name in ("x", "w", "b", "running_mean", "running_var", "cot")
    )
    layer = BatchNorm(use_running_average=True)
    y, pull = jax.vjp(
        lambda params, x: layer.apply({"params": params, "batch_stats": {"mean": mean, "var": var}}, x),
        {"scale": w, "bias": b},
        layout(x),
    )
    dparams, dx = pull(layout(cotangent))
    assert_trees_close((y, dx), (layout(get["out"]), layout(get["grad.x"])))
    assert_trees_close(dparams, {"scale": get["grad.w"], "bias": get["grad.b"]}, 1e-4)


@pytest.mark.covers("NO-09")
def test_spatial_is_the_one_dimensional_one_on_all_pixels():
    x, variables = values(3, 4, 2, 5), variables_of(5)
    spatial, flat = train(BatchNorm(), variables, x), train(BatchNorm(), variables, x.reshape(-1, 5))
    np.testing.assert_allclose(spatial[0].reshape(-1, 5), flat[0], atol=1e-5)
    assert_trees_close(spatial[1], flat[1])
    assert jax.tree.map(jnp.shape, variables["params"]) == {"scale": (5,), "bias": (5,)}


@pytest.mark.covers("NO-08")
def test_the_identity_can_be_learned_and_evaluation_ignores_the_rest_of_the_batch():
    x = values(64, 3)
    learned = {"scale": jnp.sqrt(x.var(0) + 1e-5), "bias": x.mean(0)}
    stats = {"mean": jnp.zeros(3), "var": jnp.ones(3)}
    np.testing.assert_allclose(train(BatchNorm(), {"params": learned, "batch_stats": stats}, x)[0], x, atol=1e-5)
    variables, layer = variables_of(3), BatchNorm(use_running_average=True)
    np.testing.assert_allclose(layer.apply(variables, x)[:1], layer.apply(variables, x[:1]), atol=1e-6)


@pytest.mark.covers("NO-11")
def test_gradients_equal_differences_in_float64():
    with jax.enable_x64(True):
        x = values(4, 2, 3).astype(jnp.float64)
        variables = jax.tree.map(lambda v: v.astype(jnp.float64), variables_of(3))

        def loss(params, x):
            return jnp.sin(train(BatchNorm(), variables | {"params": params}, x)[0]).sum()

        assert loss(variables["params"], x).dtype == jnp.float64
        flat, unravel = ravel_pytree((variables["params"], x))
        got = jax.jit(jax.grad(lambda v: loss(*unravel(v))))(flat)
        differences = jax.jit(lambda s: jax.vmap(lambda d: loss(*unravel(flat + s * d)))(jnp.eye(flat.size)))
        step = 1e-6
        ahead, behind = differences(step), differences(-step)
        want = (ahead - behind) / (2 * step)
        assert float(jnp.abs(got - want).max() / jnp.abs(want).max()) < 1e-7


def test_running_statistics_by_hand():
    x = jnp.asarray([[1.0], [2.0], [6.0]])  # mean 3; squares 4 + 1 + 9 = 14: variance 14 / 3, unbiased 14 / 2
    variables = {"batch_stats": {"mean": jnp.asarray([10.0]), "var": jnp.asarray([1.0])}}
    for unbiased, var in ((True, 7.0), (False, 14 / 3)):
        layer = BatchNorm(momentum=0.75, use_scale=False, use_bias=False, unbiased_running_var=unbiased)
        y, updates = train(layer, variables, x)
        assert float(updates["batch_stats"]["mean"][0]) == pytest.approx(0.75 * 10 + 0.25 * 3)
        assert float(updates["batch_stats"]["var"][0]) == pytest.approx(0.75 * 1 + 0.25 * var)
        np.testing.assert_allclose(y[:, 0], (x[:, 0] - 3) / np.sqrt(14 / 3 + 1e-5), rtol=1e-6)
    # Of 1 and 2 the mean is 1.5 and the variance 1 / 4, unbiased 1 / 2; one value alone has the variance 0.
    layer = BatchNorm(momentum=0.75, use_scale=False, use_bias=False)
    for mask, mean, var in (([1, 1, 0], 1.5, 0.5), ([0, 1, 0], 2.0, 0.0)):
        stats = train(layer, variables, x, np.array(mask))[1]["batch_stats"]
        np.testing.assert_allclose(stats["mean"], [7.5 + 0.25 * mean], rtol=1e-6)
        np.testing.assert_allclose(stats["var"], [0.75 + 0.25 * var], rtol=1e-6)


def test_masked_examples_are_left_out_of_the_statistics():
    x, variables = values(6, 3, 3, 4), variables_of(4)
    mask = jnp.asarray([1, 0, 1, 1, 0, 1])
    valid = np.flatnonzero(mask)
    dirty = jnp.where(mask[:, None, None, None] > 0, x, jnp.nan)
    got, updates = train(BatchNorm(), variables, dirty, mask=mask)
    want, expected = train(BatchNorm(), variables, x[valid])
    np.testing.assert_allclose(got[valid], want, atol=1e-5)
    assert_trees_close(updates, expected)
    assert np.isfinite(got).all()
    broken, _ = train(BatchNorm(), variables, dirty, mask=jnp.ones(6))
    assert np.isnan(broken[1]).all(), "what is not padding is not hidden"


def test_a_batch_of_padding_leaves_the_running_statistics():
    variables = variables_of(4)
    got, updates = train(BatchNorm(), variables, values(6, 3, 3, 4), mask=jnp.zeros(6))
    assert_trees_close(updates["batch_stats"], variables["batch_stats"])
    assert np.isfinite(got).all()


@pytest.mark.several_devices
@pytest.mark.parametrize("masked", [False, True])
def test_axis_name_joins_the_statistics_of_all_replicas(masked):
    x, variables = values(8, 3, 4), variables_of(4)
    mask = jnp.asarray([1, 1, 1, 1, 1, 0, 0, 0]) if masked else jnp.ones(8)
    layer = BatchNorm(axis_name="data")
    whole, expected = train(BatchNorm(), variables, x, mask=mask if masked else None)
    got, updates = jax.pmap(
        lambda x, mask: train(layer, variables, x, mask=mask if masked else None),
        axis_name="data",
        devices=jax.devices()[:2],
    )(x.reshape(2, 4, 3, 4), mask.reshape(2, 4))
    np.testing.assert_allclose(got.reshape(8, 3, 4), whole, atol=1e-5)
    for replica in range(2):
        assert_trees_close(jax.tree.map(lambda v, r=replica: v[r], updates), expected)


@pytest.mark.several_devices
def test_gradients_across_replicas_are_those_of_the_whole_batch():
    x, variables = values(8, 3, 4), variables_of(4)

    def loss(layer, params, x):
        return jnp.sin(train(layer, variables | {"params": params}, x)[0]).sum()

    want = jax.jit(jax.grad(lambda p, x: loss(BatchNorm(), p, x), (0, 1)))(variables["params"], x)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    split, whole = PartitionSpec("data"), PartitionSpec()
    sharded = jax.shard_map(
        lambda p, x: jax.grad(lambda p, x: loss(BatchNorm(axis_name="data"), p, x), (0, 1))(p, x),
        mesh=mesh,
        in_specs=(whole, split),
        out_specs=(whole, split),
    )
    got = jax.jit(sharded)(variables["params"], x)
    assert_trees_close(got, want)


@pytest.mark.several_devices
def test_under_jit_on_a_mesh_statistics_span_the_batch():
    x, variables = values(8, 3, 4), variables_of(4)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])
    sharded = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    assert_trees_close(jax.jit(lambda x: train(BatchNorm(), variables, x))(sharded), train(BatchNorm(), variables, x))


def test_bfloat16_has_statistics_in_float32():
    x, variables = values(64, 8, 4, shift=3.0).astype(jnp.bfloat16), variables_of(4)
    got, updates = train(BatchNorm(dtype=jnp.bfloat16), variables, x)
    want, expected = train(BatchNorm(), variables, x.astype(jnp.float32))
    assert got.dtype == jnp.bfloat16
    assert_trees_close(updates, expected)
    np.testing.assert_allclose(got.astype(np.float32), want, rtol=2**-7, atol=2**-7)
    assert train(BatchNorm(), variables, x)[0].dtype == jnp.float32


def test_a_variance_far_from_zero_mean_does_not_cancel():
    x = values(4096, 1, shift=1e3, scale=0.1)
    _, updates = train(BatchNorm(momentum=0.0), variables_of(1), x)
    want = np.asarray(x, np.float64).var(ddof=1)
    assert float(updates["batch_stats"]["var"][0]) == pytest.approx(want, rel=1e-4)


def test_zero_scale_makes_a_block_start_as_the_identity():
    layer = BatchNorm(use_running_average=False, scale_init=linen.initializers.zeros)
    y, variables = layer.init_with_output(jax.random.key(0), values(4, 3))
    np.testing.assert_array_equal(y, jnp.zeros((4, 3)))
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], jnp.zeros(3))


@pytest.mark.slow(only=["True-layer0", "True-layer2", "False-layer0", "False-layer3"])
@pytest.mark.covers("NO-10")
@pytest.mark.parametrize(
    "layer",
    [
        Conv(5, (3, 3), strides=2, padding=1),
        Conv(5, (3, 2), use_bias=False, kernel_dilation=2),
        Conv(6, (3, 3), feature_group_count=2),
        linen.Dense(5),
    ],
)
@pytest.mark.parametrize("affine", [True, False])
def test_a_folded_layer_is_the_layer_and_its_batch_norm(layer, affine):
    x = values(2, 7, 6, 4)
    params = jax.jit(layer.init)(jax.random.key(0), x)["params"]
    if layer.use_bias:
        params = {**params, "bias": values(layer.features, seed=3)}
    norm = BatchNorm(use_running_average=True, use_scale=affine, use_bias=affine, epsilon=1e-3)
    variables = variables_of(layer.features)
    variables = variables if affine else {"batch_stats": variables["batch_stats"]}
    want = norm.apply(variables, layer.apply({"params": params}, x))
    folded = fold_batch_norm(params, variables.get("params", {}), variables["batch_stats"], epsilon=1e-3)
    got = layer.clone(use_bias=True).apply({"params": folded}, x)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * max(1, float(jnp.abs(want).max())))


@pytest.mark.covers("NO-10")
def test_folding_by_hand():
    # gamma / sqrt(var) = 6 / 3 = 2: the kernel doubles, the bias is (1 - 4) 2 + 10 = 4
    stats = {"mean": jnp.array([4.0]), "var": jnp.array([9.0])}
    layer = {"kernel": jnp.array([[5.0]]), "bias": jnp.array([1.0])}
    folded = fold_batch_norm(layer, {"scale": jnp.array([6.0]), "bias": jnp.array([10.0])}, stats, epsilon=0.0)
    assert (float(folded["kernel"][0, 0]), float(folded["bias"][0])) == (10, 4)
    with pytest.raises(ValueError, match=r"kernel.shape=\(3, 2\): .*allowed: 1 outputs"):
        fold_batch_norm({"kernel": jnp.ones((3, 2))}, {}, stats)


def test_errors():
    x, layer = values(4, 3), BatchNorm(use_running_average=False)
    with pytest.raises(ValueError, match=r"mask.shape=\(3,\): .*allowed: \(4,\)"):
        layer.init(jax.random.key(0), x, mask=jnp.ones(3))
    with pytest.raises(ValueError, match="use_running_average"):
        BatchNorm().init(jax.random.key(0), x)


@pytest.mark.covers("RG-20")
def test_in_training_an_example_depends_on_its_batch_mates_and_in_use_it_does_not():
    """The noise that makes batch norm a regularizer: the same example under other mates, and the same under none."""
    layer, example = BatchNorm(), values(1, 3)
    variables = variables_of(3)
    batches = [jnp.concatenate([example, values(5, 3, seed=seed)]) for seed in range(20)]
    trained = jnp.stack([train(layer, variables, x)[0][0] for x in batches])
    assert (trained.std(0) > 0.05).all()
    evaluated = jnp.stack([layer.apply(variables, x, use_running_average=True)[0] for x in batches[:3]])
    np.testing.assert_array_equal(evaluated[1:], evaluated[:1].repeat(2, 0))
    # Larger batches are less noisy.
    many = [jnp.concatenate([example, values(200, 3, seed=seed)]) for seed in range(20)]
    assert (jnp.stack([train(layer, variables, x)[0][0] for x in many]).std(0) < 0.5 * trained.std(0)).all()


@pytest.mark.covers("NO-09")
def test_frozen_statistics_equal_torchvision():
    golden = np.load(GOLDENS_FOLDER / "tvops_misc.npz")
    get = {name.split("/")[1]: golden[name] for name in golden.files if name.startswith("frozen_batch_norm/")}
    variables = {
        "params": {"scale": jnp.asarray(get["in.weight"]), "bias": jnp.asarray(get["in.bias"])},
        "batch_stats": {"mean": jnp.asarray(get["in.running_mean"]), "var": jnp.asarray(get["in.running_var"])},
    }
    y, pull = jax.vjp(lambda x: BatchNorm(use_running_average=True).apply(variables, x), layout(get["in.x"]))
    assert_trees_close(y, layout(get["out"]))
    assert_trees_close(pull(layout(get["in.cot"]))[0], layout(get["grad.x"]), 1e-4)


@pytest.mark.covers("NO-09")
@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4])
def test_a_mean_far_above_the_deviation_costs_no_precision(offset):
    x = np.random.default_rng(0).normal(size=(64, 3, 3, 4)).astype(np.float32)
    x = (x + np.float32(offset) * np.array([1, -1, 0, 1], np.float32)).astype(np.float32)
    mean, var = jax.jit(mean_and_variance)(jnp.asarray(x))
    np.testing.assert_allclose(mean, x.astype(np.float64).mean((0, 1, 2)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(var, x.astype(np.float64).var((0, 1, 2)), rtol=3e-5)


@pytest.mark.slow
@pytest.mark.covers("NO-09")
def test_the_moments_have_the_derivatives_of_the_plain_form():
    x = jax.random.normal(jax.random.key(0), (5, 2, 3)) + 2

    def plain(x):
        return x.mean((0, 1)), x.var((0, 1))

    primal, tangent = (jax.jvp(f, (x,), (jnp.cos(x),)) for f in (mean_and_variance, plain))
    chex.assert_trees_all_close(primal, tangent, rtol=1e-5)
    weights = (jnp.arange(3.0), jnp.arange(3.0) - 1)
    got, want = (jax.vjp(f, x)[1](weights)[0] for f in (mean_and_variance, plain))
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_a_variance_of_one_value_is_refused_in_training():
    """Its output would be the bias, whatever the input is. One image of several pixels has a variance."""
    norm = BatchNorm()
    one, pixels = jnp.ones((1, 3)), jnp.ones((1, 2, 2, 3))
    variables = norm.init(jax.random.key(0), one, use_running_average=False)
    with pytest.raises(ValueError, match="batch_size=1: one value a channel, whose variance is 0; allowed: at least 2"):
        norm.apply(variables, one, use_running_average=False, mutable=["batch_stats"])
    norm.apply(variables, one, use_running_average=True)
    norm.apply(variables, pixels, use_running_average=False, mutable=["batch_stats"])
