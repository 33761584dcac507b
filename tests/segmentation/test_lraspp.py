"""LR-ASPP beside torchvision's in test_torch_segmenters.py; here its gate, and images of any size."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model
from dlcore.segmentation.lraspp import LRASPP, LRASPPHead
from tests.detection.detectors import Small
from tests.wiring import assert_wiring


@pytest.mark.slow
@pytest.mark.covers("SG-05")
def test_a_closed_gate_leaves_the_fine_scores():
    head = LRASPPHead(3, channels=4)
    fine, coarse = jax.random.normal(jax.random.key(0), (1, 8, 8, 2)), jnp.ones((1, 4, 4, 5))
    variables = head.init(jax.random.key(1), fine, coarse, False)
    params = jax.tree.map(lambda leaf: leaf + 0.1, variables["params"])
    out = {}
    for name, weight in (("open", 100.0), ("closed", -100.0)):
        params["scale_1"]["kernel"] = jnp.full_like(params["scale_1"]["kernel"], weight)
        out[name] = head.apply({**variables, "params": params}, fine, coarse, False)
    low, high = params["low_classifier"], params["high_classifier"]
    want = fine @ low["kernel"][0, 0] + low["bias"] + high["bias"]
    np.testing.assert_allclose(out["closed"], want, atol=1e-5)
    assert np.abs(out["open"] - want).max() > 1e-3


@pytest.mark.weekly
@pytest.mark.covers("SG-05")
def test_images_of_any_size_on_the_dilated_mobilenet():
    backbone = create_model("mobilenet_v3_large", width_mult=0.25, first_blocks=True, dilate=True)
    maps = jax.eval_shape(
        lambda: backbone.init_with_output(jax.random.key(0), jnp.zeros((1, 64, 64, 3)), method="features")
    )[0]
    assert {name: maps[name].shape[1] for name in ("stem", "stage3_first", "stage4", "last")} == {
        "stem": 32,
        "stage3_first": 8,
        "stage4": 4,
        "last": 4,  # 2 without dilation
    }
    model = LRASPP(backbone, 5)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    chex.assert_shape(jax.eval_shape(model.apply, variables, jnp.zeros((2, 45, 61, 3))), (2, 45, 61, 5))


def test_the_wiring_of_lraspp_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(LRASPP(Small(), 2, "fine", "coarse", channels=4), (2, 16, 24, 3), [78.9283, 3.17464])
