"""Inception v3 against torchvision, and how it takes kernels apart."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model, feature_info
from dlcore.models.inception_v3 import InceptionA, InceptionV3
from dlcore.ops import max_pool, receptive_field
from tests.models.parity import check_golden, check_output, parameter_count, read_golden
from tests.models.tracing import layers_traced_once
from tests.models.training import compiled, draw

SMALL = {"width_mult": 0.03, "stem": "cifar", "num_classes": 2}


def heads_in_use(model, x):
    return model.auxiliary(x, train=False)


@pytest.mark.weekly
@pytest.mark.covers("ZO-10")
def test_inception_v3_equals_torchvision():
    pooled = {"maxpool2": lambda maps: max_pool(maps["Conv2d_4a_3x3"], (3, 3), (2, 2))}
    modules = {f"Mixed_{name}": lambda maps, name=name: maps[f"Mixed_{name}"] for name in ("5d", "6e", "7c")}
    _, heads = check_golden("tv_inception_v3", "inception_v3", pooled | modules, method=heads_in_use)
    golden, meta, _ = read_golden("tv_inception_v3")
    check_output(golden, meta, "aux", heads["aux"])


@pytest.mark.slow
@pytest.mark.covers("ZO-10")
def test_parameter_counts():
    assert parameter_count("inception_v3", aux=False) == 23_834_568
    assert parameter_count("inception_v3") == 27_161_264


@pytest.mark.slow
def test_the_network_of_published_distances():
    """It differs in its classes, and in how A, C and E pool; all else is the network that equals torchvision's."""
    assert parameter_count("inception_v3_fid") == 23_834_568 + 8 * 2049
    model, x = create_model("inception_v3_fid"), jnp.zeros((1, 299, 299, 3))
    maps = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), x, method="features")[0])
    chex.assert_shape(maps["Mixed_7c"], (1, 8, 8, 2048))

    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 2))
    padded = np.pad(np.asarray(x)[0], ((1, 1), (1, 1), (0, 0)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (0, 1))
    expected = {
        "average": np.nansum(windows, (-2, -1)) / 9,
        "inside": np.nanmean(windows, (-2, -1)),
        "max": np.nanmax(windows, (-2, -1)),
    }
    for pool, value in expected.items():
        found = InceptionA(pool=pool).pooled(x)[0]
        np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6)


@pytest.mark.weekly
def test_which_module_pools_how():
    pools = {}

    def see(next_function, args, kwargs, context):
        if context.method_name == "pooled":
            pools[context.module.name] = context.module.pool
        return next_function(*args, **kwargs)

    x = jnp.zeros((1, 8, 8, 3))
    for fid in (False, True):
        with nn.intercept_methods(see):
            model = InceptionV3(**SMALL, fid=fid, aux=False)
            jax.eval_shape(model.init, jax.random.key(0), x)
        assert set(pools) == {f"Mixed_{name}" for name in ("5b", "5c", "5d", "6b", "6c", "6d", "6e", "7b", "7c")}
        assert pools.pop("Mixed_7c") == ("max" if fid else "average")
        assert set(pools.values()) == {"inside" if fid else "average"}


@pytest.mark.covers("ZO-10")
def test_how_kernels_are_taken_apart():
    model, x = create_model("inception_v3"), np.zeros((1, 299, 299, 3), np.float32)
    with layers_traced_once():
        params = jax.eval_shape(lambda: model.init(jax.random.key(0), x))["params"]

    def kernels(module, branch):
        layers = {name: layer for name, layer in params[module].items() if name.startswith(f"{branch}_")}
        return [layers[name]["conv"]["kernel"].shape for name in sorted(layers)]

    # 5x5 as two 3x3s: a reach of 5 for 2 9 of 25 weights a pair of channels
    assert [k[:2] for k in kernels("Mixed_5b", "branch3x3dbl")] == [(1, 1), (3, 3), (3, 3)]
    assert receptive_field((3, 3)) == receptive_field((5,)) == 5
    # 7x7 as a row and a column: a reach of 7 in both directions for 2 7 of 49 weights
    for name in ("6b", "6c", "6d", "6e"):
        seven, double = kernels(f"Mixed_{name}", "branch7x7"), kernels(f"Mixed_{name}", "branch7x7dbl")
        assert [k[:2] for k in seven] == [(1, 1), (1, 7), (7, 1)]
        assert [k[:2] for k in double] == [(1, 1), (7, 1), (1, 7), (7, 1), (1, 7)]
        for axis in (0, 1):
            assert receptive_field([k[axis] for k in seven]) == 7
            assert receptive_field([k[axis] for k in double]) == 13
    assert [k[2] for k in kernels("Mixed_6b", "branch7x7")] == [768, 128, 128]
    # 3x3 as a row beside a column
    for name in ("7b", "7c"):
        assert [k[:2] for k in kernels(f"Mixed_{name}", "branch3x3")] == [(1, 1), (1, 3), (3, 1)]


@pytest.mark.slow
@pytest.mark.covers("ZO-10")
def test_sizes_and_channels():
    x = jnp.zeros((1, 299, 299, 3))
    model = create_model("inception_v3")
    maps = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), x, method="features")[0])
    sides = {"Conv2d_2b_3x3": 147, "Conv2d_4a_3x3": 71, "Mixed_5d": 35, "Mixed_6e": 17, "Mixed_7c": 8}
    assert {name: maps[name].shape[1] for name in sides} == sides
    assert [maps[f"Mixed_{name}"].shape[-1] for name in ("5b", "5c", "6a", "6b", "7a", "7b")] == [
        256,
        288,
        768,
        768,
        1280,
        2048,
    ]
    small = feature_info(create_model("inception_v3", stem="cifar"), (32, 32, 3))
    assert [small[f"Mixed_{name}"]["stride"] for name in ("5d", "6e", "7c")] == [1, 2, 5]


@pytest.mark.slow
@pytest.mark.covers("ZO-09")
def test_the_auxiliary_head_stands_behind_6e_and_is_absent_in_use():
    model = InceptionV3(**SMALL, modules=("6a", "6e", "7a"))
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    shapes, rng = jax.eval_shape(model.init, jax.random.key(0), x), np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: np.abs(rng.normal(size=leaf.shape)).astype(np.float32), shapes)
    run = jax.jit(lambda variables: model.apply(variables, x, method=heads_in_use))
    reached = {}
    for name in variables["params"]:
        params = {**variables["params"], name: jax.tree.map(lambda p: p * np.nan, variables["params"][name])}
        logits, heads = run({**variables, "params": params})
        values = {"logits": logits, **heads}
        reached[name] = {output for output, value in values.items() if not np.isfinite(value).all()}
    assert reached == {
        "Conv2d_1a_3x3": {"aux", "logits"},
        "Mixed_6a": {"aux", "logits"},
        "Mixed_6e": {"aux", "logits"},
        "Mixed_7a": {"logits"},
        "head": {"logits"},
        "AuxLogits": {"aux"},
    }
    without = {n: {k: v for k, v in tree.items() if k != "AuxLogits"} for n, tree in variables.items()}
    bare = model.clone(aux=False)
    assert jax.tree.map(jnp.shape, jax.eval_shape(bare.init, jax.random.key(0), x)) == jax.tree.map(jnp.shape, without)
    for used in (model, bare):
        chex.assert_shape(jax.eval_shape(used.apply, without, x), (2, 2))  # nothing asks for its parameters
    with pytest.raises(ValueError, match="aux=False"):
        bare.apply(without, x, method=heads_in_use)


@pytest.mark.slow
def test_dropout_and_symmetric_pixels():
    assert create_model("inception_v3").dropout == 0.5
    x = jax.random.uniform(jax.random.key(0), (1, 8, 8, 3))
    model = InceptionV3(**SMALL, modules=(), aux=False, head_init=nn.initializers.normal(1.0), dropout=1.0)
    variables = draw(model, x)
    standardized = (x - jnp.array([0.485, 0.456, 0.406])) / jnp.array([0.229, 0.224, 0.225])
    got = compiled(model.clone(transform_input=True), variables, standardized)
    np.testing.assert_allclose(got, compiled(model, variables, 2 * x - 1), rtol=1e-4)
    rngs = {"dropout": jax.random.key(1)}
    dropped, _ = jax.jit(lambda v: model.apply(v, x, True, mutable=["batch_stats"], rngs=rngs))(variables)
    np.testing.assert_array_equal(dropped, 0)


@pytest.mark.slow
def test_bad_input_is_named():
    for stem, smallest in (("imagenet", 75), ("cifar", 7)):
        model = InceptionV3(stem=stem)
        with pytest.raises(ValueError, match=f"at least {smallest}x{smallest}"):
            model.init(jax.random.key(0), jnp.zeros((1, smallest - 1, 80, 3)))
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, smallest, smallest, 3)))
