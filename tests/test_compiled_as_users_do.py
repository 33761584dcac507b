"""The numeric tests, and one step of every experiment, compiled exactly as a user's program is.

All other tests run with a compiler that optimizes little, with a compilation cache, and on eight virtual
devices. What a fused or vectorized program computes is seen here alone.
"""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


PAGES = "tests/test_learner_contract.py"


@pytest.mark.slow
@pytest.mark.weekly(unless=["first_steps"])
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["tests/ops", "tests/nn"], id="layers"),
        pytest.param(["tests/losses", "tests/metrics", "tests/classic_ml"], id="losses_metrics_and_classic_ml"),
        pytest.param([PAGES, "-m", "user_compile and not weekly"], id="first_steps"),
        pytest.param([PAGES, "-m", "user_compile and weekly"], id="first_steps_of_the_other_pages"),
    ],
)
def test_results_hold_as_users_compile(arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XLA_", "JAX_", "PYTEST"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env=environment | {"DLCORE_TESTS_COMPILE": "user"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
