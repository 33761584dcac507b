"""EfficientNets against torchvision, their blocks, and how they are scaled."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model, input_shape
from dlcore.models.efficientnet import B0, EfficientNet, MBConv, StageSetting, compound_scale, search_reward
from dlcore.models.stored_counts import stored_models
from tests.models.cost import cost, multiply_adds, stages_of
from tests.models.training import compiled, draw


@pytest.mark.covers("ZO-28")
def test_the_stored_count_of_v2():
    assert stored_models("image")["efficientnet_v2_s"]["parameters"] == 21_458_488


@pytest.mark.covers("ZO-28")
def test_a_fused_block_by_formula():
    """x + BN conv1x1(silu BN conv3x3(x)); running statistics are 0 and 1, so that BN divides by the root of 1 + eps."""
    x = np.random.default_rng(1).normal(size=(1, 4, 5, 8))
    block = MBConv(StageSetting(4, 3, 1, 8, 1, fused=True), epsilon=1e-3)
    variables = draw(block, jnp.zeros(x.shape), False)
    p = jax.tree.map(np.asarray, variables["params"])
    assert {name: p[name]["0"]["kernel"].shape for name in p} == {"block_0": (3, 3, 8, 32), "block_1": (1, 1, 32, 8)}
    patches = np.lib.stride_tricks.sliding_window_view(np.pad(x[0], ((1, 1), (1, 1), (0, 0))), (3, 3), (0, 1))
    h = np.einsum("hwcij,ijcd->hwd", patches, p["block_0"]["0"]["kernel"]) / np.sqrt(1.001)
    expected = x[0] + h / (1 + np.exp(-h)) @ p["block_1"]["0"]["kernel"][0, 0] / np.sqrt(1.001)
    np.testing.assert_allclose(compiled(block, variables, jnp.asarray(x, jnp.float32), False)[0], expected, atol=1e-5)


@pytest.mark.covers("ZO-28")
def test_v2_has_fused_blocks_first_and_gates_after_them():
    small = create_model("efficientnet_v2_s")
    assert [setting.fused for setting in small.settings] == [True] * 3 + [False] * 3
    assert [setting.layers for setting in small.settings] == [2, 4, 4, 6, 9, 15]
    assert [setting.features for setting in small.settings] == [24, 48, 64, 128, 160, 256]


@pytest.mark.slow(unless=["efficientnet_b0-5288548-0.39"])
@pytest.mark.covers("ZO-22")
@pytest.mark.parametrize(
    ("name", "count", "billions"),  # 0.39, 0.70, 1.8, 4.2, 9.9 and 37 in the paper's table 2
    [
        ("efficientnet_b0", 5_288_548, 0.39),
        ("efficientnet_b1", 7_794_184, 0.69),
        ("efficientnet_b3", 12_233_232, 1.83),
        ("efficientnet_b4", 19_341_616, 4.39),
        ("efficientnet_v2_s", 21_458_488, 8.37),
    ],
)
def test_parameters_and_multiplications(name, count, billions):
    parameters, operations = cost(create_model(name), input_shape(name)[0])
    assert parameters == count
    assert operations / 1e9 == pytest.approx(billions, abs=0.006)


@pytest.mark.covers("ZO-22")
def test_compound_scaling():
    one = compound_scale(1)
    # 1.2 1.1^2 1.15^2 = 1.2 1.21 1.3225 = 1.920: twice the cost, about
    assert one.depth * one.width**2 * one.resolution**2 == pytest.approx(1.92027)
    assert one.depth * one.width**2 * one.resolution**2 == pytest.approx(2, rel=0.05)
    assert compound_scale(0) == (1, 1, 1)
    np.testing.assert_allclose(compound_scale(2), np.square(one))
    np.testing.assert_allclose(compound_scale(3, 1.0, 2.0, 1.5), (1, 8, 3.375))


@pytest.mark.slow
@pytest.mark.weekly(only=["7"])
@pytest.mark.covers("ZO-22")
@pytest.mark.parametrize("phi", [1, 4, 7])
def test_the_cost_of_a_scaled_network_grows_as_two_to_the_phi(phi):
    """By 1.29, 1.02 and 0.80 of it: layers are rounded upwards, and the base is 1.92."""
    scale = compound_scale(phi)
    model = EfficientNet(width_mult=scale.width, depth_mult=scale.depth)
    growth = multiply_adds(model, round(224 * scale.resolution)) / multiply_adds(EfficientNet(), 224)
    assert growth == pytest.approx(2**phi, rel=0.3)


@pytest.mark.covers("ZO-22")
@pytest.mark.parametrize(
    ("name", "phi"), [("b1", 0.5), ("b2", 1), ("b3", 2), ("b4", 3.5), ("b5", 4.5), ("b6", 5.5), ("b7", 7)]
)
def test_the_published_multipliers_are_near_compound_scaling(name, phi):
    model, scale = create_model(f"efficientnet_{name}"), compound_scale(phi)
    assert model.width_mult == pytest.approx(scale.width, rel=0.07)
    assert model.depth_mult == pytest.approx(scale.depth, rel=0.15)
    assert input_shape(f"efficientnet_{name}")[0] == pytest.approx(224 * scale.resolution, rel=0.13)


@pytest.mark.covers("ZO-22")
def test_the_searchs_reward_trades_cost_for_accuracy():
    assert search_reward(0.7, 400, 400) == 0.7
    # 2^-.07 = .9526: twice the cost must bring 1 / .9526 = 1.0498 times the accuracy
    assert search_reward(0.7, 800, 400) == pytest.approx(0.66684, abs=1e-5)
    assert search_reward(0.7 * 1.0498, 800, 400) == pytest.approx(0.7, abs=1e-4)


def names_and_kernels(setting, channels=8):
    x = jnp.zeros((1, 8, 8, channels))
    params = jax.eval_shape(lambda: MBConv(setting, setting.stride).init(jax.random.key(0), x, False))["params"]
    paths = {jax.tree_util.keystr(p, simple=True, separator="/"): v.shape for p, v in jax.tree.leaves_with_path(params)}
    return {path.removesuffix("/kernel"): shape for path, shape in paths.items() if path.endswith("/kernel")}


@pytest.mark.slow
@pytest.mark.covers("ZO-22")
def test_every_axis_of_the_search_is_a_field_of_a_stage():
    base = StageSetting(6, 3, 1, 8, 2)
    assert names_and_kernels(base) == {
        "block_0/0": (1, 1, 8, 48),
        "block_1/0": (3, 3, 1, 48),
        "block_2/fc1": (1, 1, 48, 2),  # a quarter of 8
        "block_2/fc2": (1, 1, 2, 48),
        "block_3/0": (1, 1, 48, 8),
    }
    assert names_and_kernels(base._replace(fused=True)) == {"block_0/0": (3, 3, 8, 48), "block_1/0": (1, 1, 48, 8)}
    assert names_and_kernels(base._replace(expansion=1, fused=True)) == {"block_0/0": (3, 3, 8, 8)}
    assert names_and_kernels(base._replace(kernel_size=5))["block_1/0"] == (5, 5, 1, 48)
    assert names_and_kernels(base._replace(se_ratio=0.5))["block_2/fc1"] == (1, 1, 48, 4)
    assert "block_2/fc1" not in names_and_kernels(base._replace(se_ratio=0.0))
    assert names_and_kernels(base._replace(features=16))["block_3/0"] == (1, 1, 48, 16)
    assert "block_1/fc1" in names_and_kernels(base._replace(expansion=1))
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 8))
    with_skip, without = (MBConv(base._replace(skip=skip)) for skip in (True, False))
    variables = draw(with_skip, x, False)
    got, branch = jax.jit(lambda v: (with_skip.apply(v, x, False), without.apply(v, x, False)))(variables)
    np.testing.assert_allclose(got, x + branch, rtol=1e-5, atol=1e-6)
    counts = [
        len([k for k in shapes(EfficientNet(settings=(base._replace(layers=n),))) if "block_0" in k]) for n in (1, 3)
    ]
    assert counts == [1, 3]


def shapes(model):
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3))))["params"]
    paths = (jax.tree_util.keystr(p, simple=True, separator="/") for p, _ in jax.tree.leaves_with_path(params))
    return [path for path in paths if path.endswith("0/kernel")]


@pytest.mark.slow
def test_stochastic_depth_drops_whole_examples_of_a_block():
    x = jax.random.normal(jax.random.key(0), (64, 4, 4, 4))
    block = MBConv(StageSetting(2, 3, 1, 4, 1), survival=0.75)
    variables = draw(block, x, False)

    @functools.partial(jax.jit, static_argnums=0)
    def run(block):
        return block.apply(variables, x, True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(2)})[0]

    branch, dropped = run(MBConv(block.setting)) - x, run(block) - x
    alive = jnp.any(dropped != 0, (1, 2, 3))
    assert 36 <= int(alive.sum()) <= 58  # of 64 at 3 / 4: 48, standard deviation 3.5
    np.testing.assert_allclose(dropped[alive], branch[alive] / 0.75, atol=1e-5)
    always = MBConv(block.setting)
    np.testing.assert_array_equal(compiled(block, variables, x, False), compiled(always, variables, x, False))


@pytest.mark.slow
def test_survival_falls_linearly_over_the_blocks():
    seen = []

    def watch(call, args, kwargs, context):
        if isinstance(context.module, MBConv):
            seen.append(context.module.survival)
        return call(*args, **kwargs)

    with nn.intercept_methods(watch):
        stages_of(create_model("efficientnet_b0"))
    np.testing.assert_allclose(seen, 1 - 0.2 * np.arange(16) / 16)


@pytest.mark.slow
def test_strides_and_widths():
    info = stages_of(create_model("efficientnet_b0"))
    assert [tuple(s.values()) for s in info.values()] == [
        (2, 32),
        (2, 16),
        (4, 24),
        (8, 40),
        (16, 80),
        (16, 112),
        (32, 192),
        (32, 320),
        (32, 1280),
    ]
    assert [setting.layers for setting in B0] == [1, 2, 2, 3, 3, 4, 1]
    assert input_shape("efficientnet_b7") == (600, 600, 3)


def test_constants_of_batch_norm_are_those_of_the_published_weights():
    found = {name: create_model(f"efficientnet_{name}") for name in ("b0", "b4", "b5", "b7", "v2_s", "v2_l")}
    assert {name: (model.epsilon, model.momentum) for name, model in found.items()} == {
        "b0": (1e-5, 0.9),
        "b4": (1e-5, 0.9),
        "b5": (1e-3, 0.99),
        "b7": (1e-3, 0.99),
        "v2_s": (1e-3, 0.9),
        "v2_l": (1e-3, 0.9),
    }
