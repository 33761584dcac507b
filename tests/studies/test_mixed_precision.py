"""Half the bits: bfloat16 ends where float32 does, float16 loses gradients, and scaling brings them back."""

import jax
import numpy as np
import pytest
from jax.extend.core import Literal

from experiments.studies import mixed_precision as study

SETTINGS = {"loss_divisors": (1.0, 65536.0), "depth": 3, "steps": 60, "batch_size": 128, "learning_rate": 0.05}


@pytest.fixture(scope="module")
def runs():
    """Two seeds in every format; all tests look at these."""
    keys = jax.random.split(jax.random.key(0), 2)
    return {name: study.all_runs(name, keys, **SETTINGS) for name in study.FORMATS}


@pytest.fixture
def results(runs):
    """{(format, divisor): measures of the first seed}."""
    columns = list(enumerate(SETTINGS["loss_divisors"]))
    return {(name, small): {k: v[i][0] for k, v in f.items()} for name, f in runs.items() for i, small in columns}


@pytest.mark.weekly
@pytest.mark.covers("SY-04")
def test_bfloat16_is_within_five_percent_of_float32(results):
    for small in (1.0, 65536.0):
        whole, half = (results[name, small]["losses"].mean() for name in ("float32", "bfloat16"))
        assert abs(half / whole - 1) < 0.05
        assert whole < 0.7, "and float32 learns: chance is 2.3"


@pytest.mark.weekly
@pytest.mark.covers("SY-04")
def test_float16_loses_small_gradients_and_scaling_brings_them_back(results):
    lost = {key: f["zeros"] - results["float32", key[1]]["zeros"] for key, f in results.items()}
    assert lost["float16", 65536.0] > 0.2
    assert abs(lost["float16, scaled", 65536.0]) < 0.01
    assert abs(lost["float16", 1.0]) < 0.01
    whole = results["float32", 65536.0]["losses"].mean()
    assert results["float16", 65536.0]["losses"].mean() > 2 * whole
    assert abs(results["float16, scaled", 65536.0]["losses"].mean() / whole - 1) < 0.05
    assert results["float16, scaled", 65536.0]["scale"] >= 2**15


@pytest.mark.slow
def test_float32_does_not_mind_the_divisor(results):
    np.testing.assert_allclose(results["float32", 65536.0]["losses"], results["float32", 1.0]["losses"], rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "dtype", "scaled"),
    [
        ("float32", "float32", False),
        ("bfloat16", "bfloat16", False),
        ("float16", "float16", False),
        ("float16, scaled", "float16", True),
    ],
)
def test_each_format_computes_in_its_type_and_one_scales_its_loss(name, dtype, scaled):
    jaxpr = jax.make_jaxpr(lambda key: study.run(name, key, 1, 3, 2, 0.1, 1.0))(jax.random.key(0))
    losses, scale, zeros = jaxpr.jaxpr.outvars
    assert (losses.aval.shape, scale.aval.shape, zeros.aval.shape) == ((3,), (), ())
    assert isinstance(scale, Literal) is not scaled  # without scaling it is the constant 1
    assert not isinstance(zeros, Literal)
    program = str(jaxpr)
    short = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}[dtype]
    assert f":{short}[2,128] = dot_general[" in program
    assert all(f":{other}[2,128]" not in program for other in {"bf16", "f16"} - {short})


@pytest.mark.covers("SY-04")
def test_one_optimizer_alone_scales_its_loss():
    """Slopes of 1 after a division by 8, at rate 0.1: steps of 0.8, whatever the loss scale."""
    params = np.zeros(1, np.float32)
    for scaled in (False, True):
        tx = study.optimizer(0.1, 8.0, scaled)
        state = tx.init(params)
        scale = study.loss_scale(state)
        assert (scale > 1) == scaled
        np.testing.assert_allclose(tx.update(scale * np.ones(1, np.float32), state, params)[0], -0.8, rtol=1e-6)
