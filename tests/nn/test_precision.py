"""float64 overrides a model's dtype, and logits are at least float32."""

import jax
import jax.numpy as jnp
import pytest

from dlcore.nn import compute_dtype, logits_dtype


def test_the_field_decides_unless_something_is_float64():
    x = jnp.zeros(3)
    assert compute_dtype(None, x, {"params": {"w": x}}) is None
    assert compute_dtype(jnp.bfloat16, x, {}) == jnp.bfloat16
    with jax.enable_x64(True):
        wide = jnp.zeros(3, jnp.float64)
        for dtype in (None, jnp.float32, jnp.bfloat16):
            assert compute_dtype(dtype, x, {"params": {"w": wide}}) == jnp.float64
            assert compute_dtype(dtype, wide) == jnp.float64


@pytest.mark.parametrize(
    ("dtype", "logits"),
    [(jnp.bfloat16, jnp.float32), (jnp.float16, jnp.float32), (jnp.float32, jnp.float32), (jnp.float64, jnp.float64)],
)
def test_logits_are_at_least_float32(dtype, logits):
    assert logits_dtype(dtype) == logits
