"""The layer pattern: strings and the networks that they build."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.nn import PatternNet, conv_pattern, expand_pattern
from tests.wiring import assert_wiring


@pytest.mark.covers("CV-30")
def test_patterns_are_lists_of_layers():
    assert expand_pattern("[(CONV-RELU)*2-POOL?]*2-(FC-RELU)*1-SOFTMAX") == (
        ["CONV", "RELU", "CONV", "RELU", "POOL"] * 2 + ["FC", "RELU", "SOFTMAX"]
    )
    assert expand_pattern("[(CONV-RELU)*1-POOL?]*2-SOFTMAX", include_optional=False) == ["CONV", "RELU"] * 2 + [
        "SOFTMAX"
    ]
    assert expand_pattern("(CONV-RELU)*3") == ["CONV", "RELU"] * 3
    assert conv_pattern(2, 3, 1) == "[(CONV-RELU)*2-POOL]*3-(FC-RELU)*1-SOFTMAX"
    assert conv_pattern(1, 2, 0, pool=False) == "[(CONV-RELU)*1]*2-SOFTMAX"
    for n in range(1, 6):
        for k in range(3):
            layers = expand_pattern(conv_pattern(n, 4, k))
            assert (layers.count("CONV"), layers.count("POOL"), layers.count("FC")) == (4 * n, 4, k)


@pytest.mark.covers("CV-30", "CV-25")
def test_a_pattern_is_a_network():
    net = PatternNet(10, conv_pattern(2, 2, 1), features=(4, 8), hidden_features=16)
    logits, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), jnp.ones((2, 8, 8, 3)))
    chex.assert_shape(logits, (2, 10))
    assert list(variables["params"]) == ["conv0", "conv1", "conv2", "conv3", "fc0", "head"]
    sizes = {k: sum(p.size for p in jax.tree.leaves(v)) for k, v in variables["params"].items()}
    # 3x3 to 4, 4, 8, 8 channels; two pools leave 2 2 8 = 32 numbers for 16, and 16 for 10; a bias each.
    assert sizes == {"conv0": 112, "conv1": 148, "conv2": 296, "conv3": 584, "fc0": 528, "head": 170}


def test_texts_that_are_no_pattern():
    with pytest.raises(ValueError, match="ends too early"):
        expand_pattern("CONV-")


@pytest.mark.covers("CV-30")
def test_the_wiring_of_a_pattern_is_as_it_was():
    """A regression: the number holds the code as it was. The second convolution has the last of the features, too."""
    assert_wiring(PatternNet(3, conv_pattern(1, 2, 2), (4,), 5), (2, 4, 6, 2), [29.068542, 2.974511])


@pytest.mark.covers("CV-30")
def test_a_new_pattern_says_nothing():
    """All logits are 0, so that the first loss is log C."""
    net = PatternNet(3, conv_pattern(1, 1, 0), (2,))
    assert not jax.jit(net.init_with_output)(jax.random.key(0), np.ones((1, 2, 2, 1), np.float32))[0].any()
