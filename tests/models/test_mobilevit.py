"""MobileViT against transformers; unfold, attend, fold."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch, torch_names
from dlcore.models.mobilevit import MobileViTBlock, fold, unfold
from dlcore.models.normalization import normalization
from dlcore.models.stored_counts import stored_models
from tests.models.parity import check_output, nchw, nhwc, read_golden, weight_rule
from tests.models.training import draw

TINY = {"widths": (8, 8, 12, 16, 24, 32, 64), "hidden_sizes": (16, 24, 32), "num_heads": 2}


@pytest.mark.weekly
@pytest.mark.covers("AT-42")
def test_mobilevit_equals_transformers():
    golden, meta, weights = read_golden("hf_mobilevit")
    fields = TINY | {"num_classes": 0}
    model, variables = create_model("mobilevit_s", **fields), load_torch("mobilevit_s", weights, **fields)
    x = nhwc(weight_rule().det_input(meta["inputs"]["pixel_values"]))
    maps = jax.jit(lambda v, x: model.apply(v, x, method="features"))(variables, x)
    check_output(golden, meta, "last_hidden_state", nchw(maps["last"]))


@pytest.mark.covers("AT-42")
def test_unfold_puts_equal_positions_of_patches_together():
    """A map of 4 x 4 in patches of 2 x 2: the upper left pixels are 0, 2, 8 and 10."""
    x = jnp.arange(16).reshape(1, 4, 4, 1)
    sets = unfold(x, 2)
    np.testing.assert_array_equal(sets[0, :, :, 0], [[0, 2, 8, 10], [1, 3, 9, 11], [4, 6, 12, 14], [5, 7, 13, 15]])
    chex.assert_trees_all_equal(fold(sets, 4, 4, 2), x)
    wide = jnp.arange(24).reshape(1, 2, 6, 2)
    chex.assert_trees_all_equal(fold(unfold(wide, 2), 2, 6, 2), wide)


@pytest.mark.slow
@pytest.mark.covers("AT-42")
def test_a_pixel_attends_to_one_pixel_of_each_patch():
    """Read off the gradient of the transformers' output: with 1x1 kernels around them no neighbor is seen."""
    block, x = MobileViTBlock(8, 1, 2), jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 4, 4)), jnp.float32)
    variables = draw(block, x, False)
    middle = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1)
    for name in ("conv_kxk", "fusion"):
        variables["params"][name]["0"]["kernel"] *= middle

    @jax.jit
    def influence(x):
        slope = jax.grad(lambda x: jnp.square(block.apply(variables, x, False)[0, 1, 2]).sum())(x)
        return jnp.abs(slope[0]).sum(-1) > 1e-9

    expected = np.zeros((4, 4), bool)
    expected[1::2, ::2] = True
    np.testing.assert_array_equal(influence(x), expected)


@pytest.mark.slow
@pytest.mark.covers("AT-42")
def test_sides_that_patches_do_not_divide_keep_their_size():
    block = MobileViTBlock(8, 1, 2)
    out = jax.eval_shape(lambda: block.init_with_output(jax.random.key(0), jnp.zeros((1, 5, 7, 4)), False))[0]
    chex.assert_shape(out, (1, 5, 7, 4))


@pytest.mark.covers("AT-42")
@pytest.mark.parametrize(
    ("name", "count"),  # 5.6M, 2.3M and 1.3M in the paper
    [("s", 5_578_632), ("xs", 2_317_848), ("xxs", 1_272_024)],
)
def test_stored_parameter_counts(name, count):
    assert stored_models("image")[f"mobilevit_{name}"]["parameters"] == count
    assert normalization(f"mobilevit_{name}") == ((0, 0, 0), (1, 1, 1))


@pytest.mark.slow
@pytest.mark.covers("AT-42")
def test_names_of_the_classifier_are_transformers():
    names = set(torch_names("mobilevit_s", **TINY).values())
    assert {"classifier.weight", "encoder.layer.2.downsampling_layer.reduce_1x1.normalization.weight"} <= names
    query = "encoder.layer.4.transformer.layer.2.attention.attention.query.weight"
    assert any(query in name.split(" + ") for name in names)
