"""What every test of the runner leaves as it was."""

import jax
import pytest


@pytest.fixture(autouse=True)
def precision():
    """`run` sets the process' matmul precision."""
    before = jax.config.jax_default_matmul_precision
    yield
    jax.config.update("jax_default_matmul_precision", before)
