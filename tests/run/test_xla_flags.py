"""The flag for convolutions on a CPU: what it sets, when it keeps out, and that programs differ by it."""

import os
import subprocess
import sys

import pytest

from dlcore.run import xla_flags
from dlcore.run.xla_flags import CPU_CONVOLUTIONS, use_fast_cpu_convolutions

PROGRAM = """
import jax, jax.numpy as jnp
from dlcore.run.xla_flags import use_fast_cpu_convolutions
use_fast_cpu_convolutions()
x, w = jnp.ones((4, 16, 16, 32)), jnp.ones((3, 3, 32, 32))
f = jax.jit(lambda x, w: jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))
print(float(f(x, w).sum()), "ynn" in f.lower(x, w).compile().as_text())
"""


@pytest.mark.parametrize(("before", "after"), [(None, ""), ("--xla_dump_to=d", "--xla_dump_to=d ")])
def test_it_joins_the_flags_that_are_set(monkeypatch, before, after):
    monkeypatch.setattr(xla_flags, "version", lambda package: "0.10.2")
    if before is None:
        monkeypatch.delenv("XLA_FLAGS", raising=False)
    else:
        monkeypatch.setenv("XLA_FLAGS", before)
    use_fast_cpu_convolutions()
    use_fast_cpu_convolutions()
    assert os.environ["XLA_FLAGS"] == after + CPU_CONVOLUTIONS


@pytest.mark.parametrize(
    ("set_already", "jaxlib"),
    [("--xla_cpu_experimental_ynn_fusion_type=reduce", "0.10.2"), ("", "0.12.0"), ("", "0.9.2")],
)
def test_it_keeps_out_of_the_users_choice_and_of_untried_versions(monkeypatch, set_already, jaxlib):
    monkeypatch.setattr(xla_flags, "version", lambda package: jaxlib)
    monkeypatch.setenv("XLA_FLAGS", set_already)
    use_fast_cpu_convolutions()
    assert os.environ["XLA_FLAGS"] == set_already


def run(flags: str) -> tuple[float, bool]:
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment)
    total, library = done.stdout.split()
    return float(total), library == "True"


@pytest.mark.weekly
def test_convolutions_leave_the_library_and_keep_their_values():
    """With the library named by the user, and without: another program, the same sums."""
    with_library = run("--xla_cpu_experimental_ynn_fusion_type=individual_convolution,reduce")
    without = run("")
    assert (with_library[1], without[1]) == (True, False)
    assert without[0] == pytest.approx(with_library[0], rel=1e-6)
    assert without[0] == (14 * 14 * 9 + 4 * 14 * 6 + 4 * 4) * 32 * 32 * 4
