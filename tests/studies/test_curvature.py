"""Noise by kernel, and the verdict of the study of curvature and noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import curvature as study


def test_noise_is_relative_to_each_kernel_and_leaves_other_parameters_alone():
    params = {"a": {"kernel": 2 * jnp.ones((80, 80)), "bias": jnp.ones(80)}, "b": {"scale": jnp.ones(3)}}
    noisy = study.perturbed(params, jax.random.key(0), 0.5)
    difference = np.asarray(noisy["a"]["kernel"] - params["a"]["kernel"])
    assert difference.std() == pytest.approx(1.0, abs=0.05)  # 0.5 times a root mean square of 2
    np.testing.assert_array_equal(noisy["a"]["bias"], params["a"]["bias"])
    np.testing.assert_array_equal(noisy["b"]["scale"], params["b"]["scale"])


EIGENVALUES = {"without": [0.0, -0.001], "with": [0.01, 0.008], "added": [0.0101, 0.0099]}
LOST = {"plain": [0.3, 0.4], "batch norm": [0.2, 0.3], "layer norm": [0.1, 0.2]}


@pytest.mark.parametrize(
    ("eigenvalues", "lost", "holds"),
    [
        ({}, {}, True),
        ({"without": EIGENVALUES["with"], "with": EIGENVALUES["without"]}, {}, False),  # the arms swapped
        ({"added": [0.0101, 0.02]}, {}, False),
        ({}, {"plain": LOST["batch norm"], "batch norm": LOST["plain"]}, False),
        ({}, {"plain": LOST["layer norm"], "layer norm": LOST["plain"]}, False),
        ({}, {"layer norm": [0.1, 0.41]}, False),  # one seed
    ],
)
def test_the_verdict(eigenvalues, lost, holds):
    result = study.report(EIGENVALUES | eigenvalues, LOST | lost, 0.01)
    assert result.holds is holds
    if not lost:
        np.testing.assert_allclose(result.headline.values, [0.2, 0.3])


@pytest.mark.parametrize("norm", study.NORMS)
def test_a_network_has_the_norm_of_its_name(norm):
    """Only batch norm has statistics; a norm has a scale behind each of four layers."""
    net, x = study.DeepNet(norm, 4), jnp.zeros((2, 8, 8, 1))
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), x, True))
    norms = {name for name in shapes["params"] if name.startswith("norm")}
    assert norms == (set() if norm == "plain" else {f"norm{i}" for i in range(4)})
    assert ("batch_stats" in shapes) == (norm == "batch norm")
