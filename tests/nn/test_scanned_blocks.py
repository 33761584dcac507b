"""One loop over equal blocks gives what the blocks one by one give, with the same parameters."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch, torch_names
from dlcore.models.backbone import PERTURBATIONS
from dlcore.nn import drop_path
from dlcore.nn.scanned_blocks import stack_blocks, unstack_blocks

SMALL = {"depth": 3, "width": 16, "num_heads": 2, "mlp_features": 32, "image_size": 8, "patch_size": 4}
IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 3)), jnp.float32)
TOKENS = jnp.asarray([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])


def vit(name="vit_b_16", **fields):
    return create_model(name, **({**SMALL, "num_classes": 5, "head_init": jax.nn.initializers.normal()} | fields))


def gpt2(**fields):
    return create_model(
        "gpt2", **({"vocab_size": 11, "window": 8, "num_layers": 3, "num_heads": 2, "width": 8} | fields)
    )


def variables_of(model, x):
    """Parameters that are no zeros or ones, with numbered blocks."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape, scale=0.3), s.dtype), shapes)


def test_stacks_are_the_blocks_in_their_order():
    """blocks_10 comes after blocks_2; what is no block stays."""
    blocks = {f"blocks_{i}": {"kernel": np.full((2, 3), i)} for i in range(11)}
    tree = {"params": {"head": np.ones(4), **blocks}}
    stacked = stack_blocks(tree)
    assert set(stacked["params"]) == {"head", "blocks"}
    chex.assert_shape(stacked["params"]["blocks"]["kernel"], (11, 2, 3))
    np.testing.assert_array_equal(stacked["params"]["blocks"]["kernel"][:, 1, 2], np.arange(11))
    chex.assert_trees_all_equal(unstack_blocks(stacked), tree)


def test_unequal_blocks_are_named():
    tree = {"blocks_0": {"bias": np.zeros(2)}, "blocks_1": {"bias": np.zeros(3)}}
    with pytest.raises(ValueError, match="variables: blocks_0 to blocks_1 differ; allowed: blocks of one structure"):
        stack_blocks(tree)


@pytest.mark.slow(unless=["vit_b_16"])
@pytest.mark.weekly(only=["cait*", "eva02*"])
@pytest.mark.parametrize("name", ["vit_b_16", "beit_base_patch16_224", "eva02_small_patch14_224", "cait_s24_224"])
def test_a_scanned_vit_equals_the_unrolled_one(name):
    plain, scanned = (vit(name, scan_blocks=value) for value in (False, True))
    variables = variables_of(plain, IMAGES)

    @jax.jit
    def both(variables):
        stacked = stack_blocks(variables)
        return plain.apply(variables, IMAGES), scanned.apply(stacked, IMAGES)

    want, got = both(variables)
    np.testing.assert_allclose(got, want, atol=1e-5)
    chex.assert_trees_all_equal_shapes(
        jax.eval_shape(scanned.init, jax.random.key(0), IMAGES), jax.eval_shape(stack_blocks, variables)
    )


@pytest.mark.slow
def test_gradients_maps_and_perturbations_are_equal():
    plain, scanned = vit(), vit(scan_blocks=True, remat="full")
    variables = variables_of(plain, IMAGES)
    added = {"block2": jnp.ones((2, 3, 2, 16))}
    images = jnp.concatenate([IMAGES, IMAGES[:, :4]], 1)  # 12 x 8 pixels

    def outputs(model, variables):
        maps = model.apply({**variables, PERTURBATIONS: added}, images, method="features")
        return (maps["block3"] ** 2).sum(), maps

    def values(model, variables):
        return jax.value_and_grad(lambda v: outputs(model, v), has_aux=True)(variables)

    (loss, maps), gradient = jax.jit(lambda v: values(plain, v))(variables)
    (other, other_maps), other_gradient = jax.jit(lambda v: values(scanned, stack_blocks(v)))(variables)
    np.testing.assert_allclose(other, loss, rtol=1e-5)
    chex.assert_trees_all_close(other_maps, maps, atol=1e-4)
    chex.assert_trees_all_close(unstack_blocks(other_gradient), gradient, atol=1e-4, rtol=1e-4)


def test_each_block_of_a_loop_has_its_own_rate_of_drop_path():
    """A rate of 0 keeps all of 64 examples, a rate of 0.5 doubles what it keeps, one of 1 keeps none."""
    import flax.linen as nn

    class Branch(nn.Module):
        @nn.compact
        def __call__(self, x, rate):
            return drop_path(x, rate, True)

    x = jnp.ones((64, 2))
    drop = jax.jit(lambda rate: Branch().apply({}, x, rate, rngs={"dropout": jax.random.key(0)}))
    values = [set(np.unique(drop(jnp.float32(rate)))) for rate in (0, 0.5, 1)]
    assert values == [{1.0}, {0.0, 2.0}, {0.0}]


@pytest.mark.weekly
def test_a_scanned_vit_drops_branches_in_training():
    model = vit(scan_blocks=True, drop_path=1.0, depth=2)
    variables = model.init(jax.random.key(0), IMAGES)
    apply = jax.jit(lambda v: model.apply(v, IMAGES, train=True, rngs={"dropout": jax.random.key(1)}))
    changed = jax.tree.map(lambda leaf: leaf.at[1].add(1.0), variables["params"]["blocks"])
    other = {"params": variables["params"] | {"blocks": changed}}
    np.testing.assert_array_equal(apply(variables), apply(other))  # the last block's rate is 1
    assert np.abs(model.apply(variables, IMAGES) - model.apply(other, IMAGES)).max() > 1e-3


@pytest.mark.weekly
def test_a_scanned_gpt2_equals_the_unrolled_one_with_and_without_a_cache():
    plain, scanned = gpt2(), gpt2(scan_blocks=True)
    variables = variables_of(plain, TOKENS)
    stacked = stack_blocks(variables)
    want = jax.jit(plain.apply)(variables, TOKENS)
    np.testing.assert_allclose(jax.jit(scanned.apply)(stacked, TOKENS), want, atol=1e-4)

    @jax.jit
    def in_two_parts(stacked):
        cache, _ = scanned.apply(stacked, TOKENS[:, :3], jnp.array([3, 3]), scanned.init_cache(2), method="prefill")
        return scanned.apply(stacked, TOKENS[:, 3:], cache=cache)[0]

    np.testing.assert_allclose(in_two_parts(stacked), want[:, 3:], atol=1e-4)


@pytest.mark.slow
def test_published_weights_load_into_the_stack():
    fields = {**SMALL, "num_classes": 5}
    names = torch_names("vit_b_16", **fields)
    plain = create_model("vit_b_16", **fields)
    shapes = jax.eval_shape(plain.init, jax.random.key(0), IMAGES)
    flat = {
        jax.tree_util.keystr(p, simple=True, separator="/"): s for p, s in jax.tree_util.tree_leaves_with_path(shapes)
    }
    rng = np.random.default_rng(0)
    state_dict = {}
    for path, name in names.items():
        shape = flat[path].shape
        shape = shape[::-1] if path.endswith("kernel") and len(shape) == 2 else shape
        shape = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape
        state_dict[name] = rng.normal(size=shape).astype(np.float32)
    want = stack_blocks(load_torch("vit_b_16", state_dict, **fields))
    got = load_torch("vit_b_16", state_dict, **fields, scan_blocks=True)
    chex.assert_trees_all_equal(got, want)
