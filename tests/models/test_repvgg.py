"""RepVGG against timm, its branches by formula, and their fold into one convolution."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch
from dlcore.models.repvgg import RepConv, RepVGGBlock, fold_branches, identity_kernel
from tests.models.parity import parameter_count

TINY = {"stages": (1, 2), "widths": (8, 12), "stem_width": 4, "num_classes": 3}


def random_variables(module, *args, seed=0):
    """Every number is random; variances are positive."""
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        value = rng.normal(size=leaf.shape) * 0.3
        return jnp.asarray(1 + abs(value) if path[-1].key in ("var", "scale") else value, leaf.dtype)

    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *args))
    return jax.tree_util.tree_map_with_path(fill, shapes)


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.slow
@pytest.mark.covers("ZO-31")
def test_a_folded_network_equals_the_unfolded_one():
    model, folded = create_model("repvgg_b1g4", groups=4, **TINY), create_model("repvgg_b1g4", folded=True, **TINY)
    x = images(2, 32, 32, 3)
    variables = random_variables(model, x)
    merged = fold_branches(variables)
    assert "batch_stats" not in merged
    chex.assert_trees_all_equal_shapes(merged, jax.eval_shape(lambda: folded.init(jax.random.key(0), x)))
    expected = jax.jit(model.apply)(variables, x)
    np.testing.assert_allclose(jax.jit(folded.apply)(merged, x), expected, atol=1e-5 * np.std(expected), rtol=1e-5)
    with pytest.raises(ValueError, match="variables: no module has branches; allowed: variables of a network with"):
        fold_branches(merged)


def normalized(y, p, s):
    return (y - s["mean"]) / np.sqrt(s["var"] + 1e-5) * p["scale"] + p["bias"]


@pytest.mark.covers("ZO-31")
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_layer_is_the_sum_of_its_branches_and_so_is_its_fold(groups):
    """In float64 by NumPy: a 3x3 and a 1x1 convolution in groups, and the input, each with its own batch norm."""
    x, layer = images(1, 4, 5, 4), RepConv(4, groups=groups)
    variables = random_variables(layer, x, False)
    p, s = (jax.tree.map(lambda v: np.asarray(v, np.float64), variables[k]) for k in ("params", "batch_stats"))

    def conv(name):
        kernel, size = p[name]["0"]["kernel"], 4 // groups
        k = kernel.shape[0]
        padded = np.pad(np.asarray(x[0], np.float64), ((k // 2,) * 2, (k // 2,) * 2, (0, 0)))
        patches = np.lib.stride_tricks.sliding_window_view(padded, (k, k), (0, 1))
        parts = [slice(g * size, (g + 1) * size) for g in range(groups)]
        y = [np.einsum("hwcij,ijcd->hwd", patches[:, :, part], kernel[..., part]) for part in parts]
        return normalized(np.concatenate(y, -1), p[name]["1"], s[name]["1"])

    expected = conv("large") + conv("small") + normalized(np.asarray(x[0]), p["identity"], s["identity"])
    apply = jax.jit(lambda v, folded: layer.clone(folded=folded).apply(v, x, False), static_argnums=1)
    np.testing.assert_allclose(apply(variables, False)[0], expected, atol=1e-5)
    np.testing.assert_allclose(apply(fold_branches(variables), True)[0], expected, atol=1e-5)


@pytest.mark.covers("ZO-31")
def test_the_input_is_added_where_its_shape_stays():
    def branches(features, stride):
        init = lambda x: RepVGGBlock(features, stride).init(jax.random.key(0), x, False)  # noqa: E731
        return set(jax.eval_shape(init, jnp.zeros((1, 4, 4, 4)))["params"]["conv"])

    assert branches(4, 1) == {"large", "small", "identity"}
    assert branches(4, 2) == branches(8, 1) == {"large", "small"}


@pytest.mark.covers("ZO-31")
def test_the_kernel_that_changes_nothing():
    kernel = np.asarray(identity_kernel((3, 3, 2, 4)))  # two groups: outputs 0 and 2 read the first channel of theirs
    assert kernel.sum() == 4
    np.testing.assert_array_equal(kernel[1, 1], [[1, 0, 1, 0], [0, 1, 0, 1]])


@pytest.mark.slow(unless=["repvgg_a0-False-*"])
@pytest.mark.weekly(only=["repvgg_b3*", "repvgg_d2se*", "repvgg_b1g4*"])
@pytest.mark.covers("ZO-31")
@pytest.mark.parametrize(
    ("name", "folded", "count"),  # folded 8.30M, 36.12M and 110.96M in the paper
    [
        ("repvgg_a0", False, 9_108_968),
        ("repvgg_a0", True, 8_309_384),
        ("repvgg_b1g4", True, 36_125_416),
        ("repvgg_b3", True, 110_960_872),
        ("repvgg_d2se", False, 133_334_836),
    ],
)
def test_parameter_counts(name, folded, count):
    assert parameter_count(name, folded=folded) == count


@pytest.mark.slow
@pytest.mark.covers("ZO-31")
def test_timms_folded_names_load_into_the_folded_form():
    weights = {
        "stem.reparam_conv.weight": images(4, 3, 3, 3), "stem.reparam_conv.bias": images(4),
        "stages.0.0.reparam_conv.weight": images(8, 4, 3, 3), "stages.0.0.reparam_conv.bias": images(8),
        "stages.1.0.reparam_conv.weight": images(12, 8, 3, 3), "stages.1.0.reparam_conv.bias": images(12),
        "stages.1.1.reparam_conv.weight": images(12, 12, 3, 3), "stages.1.1.reparam_conv.bias": images(12),
        "head.fc.weight": images(3, 12), "head.fc.bias": images(3),
    }  # fmt: skip
    params = load_torch("repvgg_a0", weights, folded=True, **TINY)["params"]
    kernel = params["stages_1_1"]["conv"]["folded"]["kernel"]
    np.testing.assert_array_equal(kernel, np.asarray(weights["stages.1.1.reparam_conv.weight"]).transpose(2, 3, 1, 0))


def test_modules_with_branches_are_folded_wherever_they_stand():
    """A rule of two modules; what else there is stays, and statistics of what is folded are left out."""

    def rule(params, statistics):
        return {"folded": params["branch"] + statistics["mean"]} if "branch" in params else None

    params = {"stem": {"branch": 1}, "block": {"conv": {"branch": 2}, "norm": {"scale": 3}}, "head": {"kernel": 4}}
    statistics = {"stem": {"mean": 10}, "block": {"conv": {"mean": 20}, "norm": {"var": 30}}}
    found = fold_branches({"params": params, "batch_stats": statistics}, (lambda *_: None, rule))
    block = {"conv": {"folded": 22}, "norm": {"scale": 3}}
    assert found["params"] == {"stem": {"folded": 11}, "block": block, "head": {"kernel": 4}}
    assert found["batch_stats"] == {"block": {"norm": {"var": 30}}}
    found = fold_branches(
        {"params": {"stem": {"branch": 1}}}, (lambda params, _: {5: 6} if "branch" in params else None,)
    )
    assert found == {"params": {"stem": {5: 6}}}
