"""The first prediction, what conditions it, the published size, and sizes that cannot be."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.control_net import ControlNet
from dlcore.generative.text_to_image import TextUNet, WordEncoder, prompt_condition
from dlcore.generative.unet import timestep_embedding
from dlcore.generative.unet_blocks import ResnetBlock, SpatialTransformer
from tests.wiring import assert_wiring

SMALL = {"channels": (8, 8), "num_heads": 2, "groups": 4, "patch_size": 2}


@pytest.fixture(scope="module")
def drawn():
    """(a text network's parameters, their apply, inputs): its parameters are moved away from the first zeros."""
    model = TextUNet(WordEncoder(7, 8, 1, 2), ConditionalUNet(**SMALL))
    x, t, tokens = jax.random.normal(jax.random.key(0), (2, 8, 8, 3)), jnp.array([1, 500]), jnp.array([[1, 3], [1, 3]])
    first = jax.jit(model.init)(jax.random.key(1), x, t, tokens)["params"]
    noise = jax.random.normal(jax.random.key(2), (997,))
    params = jax.tree.map(lambda leaf: leaf + 0.2 * jnp.resize(noise, leaf.shape), first)
    return first, params, jax.jit(lambda p, tokens: model.apply({"params": p}, x, t, tokens)), tokens


@pytest.mark.weekly
@pytest.mark.covers("GE-26")
def test_the_first_prediction_is_zero(drawn):
    first, _, run, tokens = drawn
    chex.assert_shape(run(first, tokens), (2, 8, 8, 3))
    assert not run(first, tokens).any()


@pytest.mark.weekly
@pytest.mark.covers("GE-26")
def test_every_word_and_its_place_change_the_prediction(drawn):
    _, params, run, tokens = drawn
    one = run(params, tokens)
    for other in ([[1, 4], [1, 3]], [[3, 1], [1, 3]], [[0, 0], [1, 3]]):
        two = run(params, jnp.array(other))
        assert np.abs(one[0] - two[0]).max() > 1e-3
        np.testing.assert_allclose(one[1], two[1], atol=1e-6)


def test_no_prompt_is_padding_alone():
    condition = prompt_condition()
    given = condition.read({"tokens": np.array([[1, 5, 2]])})
    assert condition.null(given).tolist() == [[0, 0, 0]]
    assert condition.classes is None


@pytest.mark.weekly
@pytest.mark.covers("GE-26")
def test_the_size_of_stable_diffusion():
    """The U-Net of version 1.5 has 859,520,964 parameters."""
    model = ConditionalUNet((320, 640, 1280, 1280), 2, (0, 1, 2), 8, groups=32)
    inputs = jnp.zeros((1, 64, 64, 4)), jnp.zeros(1), None, jnp.zeros((1, 77, 768))
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == 859_520_964


@pytest.mark.slow
def test_sizes_that_cannot_be_are_named():
    x, t = jnp.zeros((1, 6, 8, 3)), jnp.zeros(1)
    with pytest.raises(ValueError, match="x=6x8: sides do not divide; allowed: multiples of 4"):
        jax.eval_shape(ConditionalUNet(**SMALL).init, jax.random.key(0), x, t)


@pytest.mark.slow
def test_the_wiring_of_conditional_unet_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        ConditionalUNet(
            channels=(4,),
            num_res_blocks=1,
            attention_levels=(),
            add_attention=False,
            num_heads=2,
            groups=2,
            num_classes=3,
            resnet_time_scale_shift="scale_shift",
        ),
        (2, 4, 4, 3),
        np.array([3.0, 700.0]),
        np.array([0, 2]),
        [6.17476, 4.21643],
    )


@pytest.mark.slow
def test_the_wiring_of_spatial_transformer_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(SpatialTransformer(2, 1, 4), (1, 2, 3, 8), (1, 4, 6), [42.8338, -0.411819])


def run_numbered(model, *inputs):
    """Run a network whose k-th part gives k everywhere.

    Returns [(name, what it is given at the first position, what else, the module)], of all parts, and the output.
    """
    modules, given = [], []

    def numbered(call, args, kwargs, context):
        module = context.module
        if len(module.path) != 1:
            return call(*args, **kwargs)
        if context.method_name == "setup":
            return None
        x = args[0]
        features = getattr(module, "features", x.shape[-1])
        features = x.shape[-1] if features is None else features
        halves = module.name.endswith(("downsamplers_0_conv", "cond_embedding"))
        resample = "down" if halves else getattr(module, "resample", "none")
        sides = [{"none": side, "down": side // 2, "up": 2 * side}[resample] for side in x.shape[1:-1]]
        given.append((x[(0,) * (x.ndim - 1)], x.shape, [y[0] for y in args[1:] if y is not None]))
        modules.append(module)
        return jnp.full((len(x), *sides, features), float(len(modules) - 1))

    def run():
        with nn.intercept_methods(numbered):
            output = model.apply({}, *inputs)
        return [(first, more) for first, _, more in given], output

    values, output = jax.jit(run)()
    shapes = [shape for _, shape, _ in given]
    parts = [(m.name, shape[1:-1], x.tolist(), more, m)
             for m, shape, (x, more) in zip(modules, shapes, values, strict=True)]  # fmt: skip
    return parts, output


X, T = jnp.zeros((1, 8, 12, 3)), jnp.array([7.0])
WIDE, HALF = (4, 6), (2, 3)
CONTEXT = jnp.full((1, 2, 6), 50.0)
LEVELS = {"channels": (4, 8), "num_heads": None, "head_features": 2, "groups": 2, "patch_size": 2, "epsilon": 1e-3}


@pytest.mark.covers("GE-24", "GE-26", "GE-27")
def test_maps_go_down_and_up_the_levels_and_a_control_is_added():
    """Parts 3, 5, 6 and 7 give the maps of the two levels. The way up takes them from the last on, plus 100 to 400."""
    model = ConditionalUNet(**LEVELS, attention_levels=(0,), transformer_depths=(3, 5), num_classes=3, size_features=2,
                            out_channels=5)  # fmt: skip
    shapes = ((*WIDE, 4), (*WIDE, 4), (*HALF, 4), (*HALF, 8))
    control = [jnp.full((1, *shape), 100.0 * (k + 1)) for k, shape in enumerate(shapes)]
    pooled, sizes = jnp.array([[0.25, 0.5, 0.75]]), jnp.array([[3.0, 4.0]])
    inputs = X, T, jnp.array([2]), CONTEXT, (control, jnp.full((1, *HALF, 8), 1000.0)), (pooled, sizes)
    (time, add, label, *parts), output = run_numbered(model, *inputs)
    chex.assert_shape(output, (1, 8, 12, 5))
    # The embedding is the sum of parts 0, 1 and 2; that of two sizes has two waves each.
    assert [part[0] for part in (time, add, label)] == ["time_embedding", "add_embedding", "class_embedding"]
    np.testing.assert_allclose(time[2], timestep_embedding(T, 4, cosine_first=True)[0], rtol=1e-6)
    waves = timestep_embedding(jnp.array([3.0, 4.0]), 2, cosine_first=True)
    np.testing.assert_allclose(add[2], [0.25, 0.5, 0.75, *waves.reshape(-1)], rtol=1e-6)
    assert [part[4].features for part in (time, add, label)] == [16, 16, 16]
    assert label[2] == [2]
    assert [(name, side, given) for name, side, given, _, _ in parts] == [
        ("conv_in", WIDE, [0.0] * 12),  # 3: patches of 2 x 2 of 3 channels
        ("down_blocks_0_resnets_0", WIDE, [3] * 4),
        ("down_blocks_0_attentions_0", WIDE, [4] * 4),
        ("down_blocks_0_downsamplers_0_conv", WIDE, [5] * 4),
        ("down_blocks_1_resnets_0", HALF, [6] * 4),
        ("mid_block_resnets_0", HALF, [7] * 8),
        ("mid_block_attentions_0", HALF, [8] * 8),
        ("mid_block_resnets_1", HALF, [9] * 8),
        ("up_blocks_0_resnets_0", HALF, [1010] * 8 + [407] * 8),
        ("up_blocks_0_resnets_1", HALF, [11] * 8 + [306] * 4),
        ("up_blocks_0_upsamplers_0_conv", WIDE, [12] * 8),
        ("up_blocks_1_resnets_0", WIDE, [13] * 8 + [205] * 4),
        ("up_blocks_1_attentions_0", WIDE, [14] * 4),
        ("up_blocks_1_resnets_1", WIDE, [15] * 4 + [103] * 4),
        ("up_blocks_1_attentions_1", WIDE, [16] * 4),
        ("conv_norm_out", WIDE, [17] * 4),
        ("conv_out", WIDE, pytest.approx([18 / (1 + np.exp(-18))] * 4)),
    ]
    modules = {name: module for name, *_, module in parts}
    more = {name: given for name, _, _, given, _ in parts}
    for name, module in modules.items():
        if "resnets" in name:
            assert (module.groups, module.epsilon, module.scale_shift, module.resample) == (2, 1e-3, False, "none")
            assert np.all(more[name][0] == 0 + 1 + 2)
        elif "attentions" in name:
            wide = "mid" in name
            assert (module.num_heads, module.num_layers, module.groups) == ((4, 5, 2) if wide else (2, 3, 2))
            assert np.all(more[name][0] == 50)
    down = modules["down_blocks_0_downsamplers_0_conv"]
    assert (down.kernel_size, down.strides, down.padding) == ((3, 3), 2, ((1, 1), (1, 1)))
    assert modules["conv_in"].kernel_size == modules["up_blocks_0_upsamplers_0_conv"].kernel_size == (3, 3)
    norm, head = modules["conv_norm_out"], modules["conv_out"]
    assert (norm.num_groups, norm.epsilon, head.kernel_size, head.features) == (2, 1e-3, (3, 3), 4 * 5)


@pytest.mark.covers("GE-24")
def test_a_unet_of_classes_resamples_by_residual_blocks():
    """Without a context it attends to its own map, in the middle without a norm where asked, by heads of 2 features."""
    model = ConditionalUNet(**LEVELS, attention_levels=(1,), resample="resnet", norm_in_middle=False,
                            resnet_time_scale_shift="scale_shift", cosine_first=False, ends_at_period=True)  # fmt: skip
    parts, output = run_numbered(model, X, T)
    chex.assert_shape(output, (1, 8, 12, 3))
    np.testing.assert_allclose(parts[0][2], timestep_embedding(T, 4, ends_at_period=True)[0], rtol=1e-6)
    assert [(name, side) for name, side, *_ in parts[2:-2]] == [
        ("down_blocks_0_resnets_0", WIDE),
        ("down_blocks_0_downsamplers_0", WIDE),
        ("down_blocks_1_resnets_0", HALF),
        ("down_blocks_1_attentions_0", HALF),
        ("mid_block_resnets_0", HALF),
        ("mid_block_attentions_0", HALF),
        ("mid_block_resnets_1", HALF),
        ("up_blocks_0_resnets_0", HALF),
        ("up_blocks_0_attentions_0", HALF),
        ("up_blocks_0_resnets_1", HALF),
        ("up_blocks_0_attentions_1", HALF),
        ("up_blocks_0_upsamplers_0", HALF),
        ("up_blocks_1_resnets_0", WIDE),
        ("up_blocks_1_resnets_1", WIDE),
    ]
    modules = {name: module for name, *_, module in parts}
    assert all(module.scale_shift for name, module in modules.items() if "resnets" in name)
    assert [modules[f"{name}s_0"].resample for name in ("down_blocks_0_downsampler", "up_blocks_0_upsampler")] == [
        "down", "up",
    ]  # fmt: skip
    heads = [(m.num_heads, m.groups, m.epsilon) for name, m in modules.items() if "attentions" in name]
    assert heads == [(4, 2, 1e-3), (4, None, 1e-3), (4, 2, 1e-3), (4, 2, 1e-3)]
    plain = ConditionalUNet(**LEVELS, attention_levels=(), downsample_padding=0, add_attention=False)
    plain_modules = {name: module for name, *_, module in run_numbered(plain, X, T)[0]}
    assert not [name for name in plain_modules if "attentions" in name]
    assert plain_modules["down_blocks_0_downsamplers_0_conv"].padding == ((0, 1), (0, 1))
    middle = ConditionalUNet(**LEVELS | {"num_heads": 1}, attention_levels=())
    modules = {name: module for name, *_, module in run_numbered(middle, X, T)[0]}
    assert [(m.num_heads, m.groups) for name, m in modules.items() if "attentions" in name] == [(1, 2)]
    parts, _ = run_numbered(middle, X, T, None, CONTEXT)
    assert [m.num_layers for name, *_, m in parts if "attentions" in name] == [1]


@pytest.mark.covers("GE-27")
def test_a_control_net_adds_its_hint_to_the_stem_and_gives_a_map_for_each_of_the_unets():
    """Parts 1 and 2 are the stem and the hint, 1 + 2 = 3 the first map."""
    model = ControlNet(**LEVELS, attention_levels=(), add_attention=False, hint_channels=(4, 6))
    parts, (maps, middle) = run_numbered(model, X, T, jnp.zeros((1, 8, 12, 1)))
    assert [(name, given) for name, _, given, _, _ in parts[1:]] == [
        ("conv_in", [0] * 12),
        ("controlnet_cond_embedding", [0]),
        ("down_blocks_0_resnets_0", [1 + 2] * 4),
        ("down_blocks_0_downsamplers_0_conv", [3] * 4),
        ("down_blocks_1_resnets_0", [4] * 4),
        ("mid_block_resnets_0", [5] * 8),
        ("mid_block_resnets_1", [6] * 8),
        ("controlnet_down_blocks_0", [3] * 4),
        ("controlnet_down_blocks_1", [3] * 4),
        ("controlnet_down_blocks_2", [4] * 4),
        ("controlnet_down_blocks_3", [5] * 8),
        ("controlnet_mid_block", [7] * 8),
    ]
    assert [(x.shape, float(x[0, 0, 0, 0])) for x in (*maps, middle)] == [
        ((1, *WIDE, 4), 8), ((1, *WIDE, 4), 9), ((1, *HALF, 4), 10), ((1, *HALF, 8), 11), ((1, *HALF, 8), 12),
    ]  # fmt: skip
    modules = {name: module for name, *_, module in parts}
    hint = modules["controlnet_cond_embedding"]
    assert (hint.channels, hint.features) == ((4, 6), 4)
    zeros = [m for name, m in modules.items() if name.startswith("controlnet_") and m is not hint]
    assert all(m.kernel_size == (1, 1) and m.kernel_init is nn.initializers.zeros for m in zeros)


@pytest.mark.parametrize(("resample", "numbers"), [("down", [1.88004, -2.56388]), ("up", [17.1916, -11.9421])])
def test_the_wiring_of_a_resampling_block_is_as_it_was(resample, numbers):
    """A regression: the number holds the code as it was."""
    assert_wiring(ResnetBlock(4, groups=2, resample=resample), (1, 2, 4, 4), numbers)


@pytest.mark.slow
def test_the_wiring_of_a_control_net_with_a_larger_hint_is_as_it_was():
    """A regression: the number holds the code as it was."""
    network = ControlNet(
        channels=(4,), num_res_blocks=1, attention_levels=(), add_attention=False, groups=2, hint_channels=(3, 5)
    )
    assert_wiring(network, (1, 4, 2, 3), np.array([700.0]), (1, 8, 4, 1), [18.6075, -0.818775])
