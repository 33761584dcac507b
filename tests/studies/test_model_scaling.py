"""The verdict on written numbers, and the work of the variants."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.studies import model_scaling
from experiments.studies.small_runs import train


@pytest.mark.slow
@pytest.mark.covers("ZO-22")
def test_every_variant_has_about_four_times_the_work_of_the_base():
    base = model_scaling.work(model_scaling.VARIANTS["base"])
    shares = {n: model_scaling.work(v) / base for n, v in model_scaling.VARIANTS.items() if n != "base"}
    assert all(3.8 < share < 4.6 for share in shares.values()), shares


@pytest.mark.covers("ZO-22")
def test_the_verdict_follows_the_numbers():
    flops = {"base": 1.0, "wider": 4.0, "deeper": 4.2, "larger images": 4.0, "all three": 3.9}
    accuracy = {name: np.array([0.5, 0.6]) for name in flops}
    accuracy["larger images"] = np.array([0.7, 0.8])
    accuracy["all three"] = np.array([0.72, 0.79])
    verdict, holds = model_scaling.judge(accuracy, flops)
    assert holds
    assert "base 55.0% (50.0% to 60.0%) at 1.0 times the work" in verdict
    assert "+0.5 points from the best single one (larger images), ahead on 1 of 2 seeds" in verdict
    accuracy["wider"] = np.array([0.9, 0.9])
    verdict, holds = model_scaling.judge(accuracy, flops)
    assert not holds
    assert "-14.5 points from the best single one (wider), ahead on 0 of 2" in verdict


@pytest.mark.slow
@pytest.mark.covers("ZO-22")
def test_a_network_of_every_resolution_can_be_trained():
    """Traced, not compiled, which would take 15 s."""
    labels = jnp.zeros(4, jnp.int32)
    for variant in ("base", "all three"):
        net, side = model_scaling.network(model_scaling.VARIANTS[variant]), model_scaling.VARIANTS[variant][2]
        run = functools.partial(train, net=net, optimizer=optax.sgd(0.1), labels=labels, steps=2, batch_size=2)
        assert jax.eval_shape(lambda x, run=run: run(jax.random.key(0), images=x), jnp.zeros((4, side, side, 3)))


@pytest.mark.slow
@pytest.mark.covers("ZO-22")
def test_each_variant_grows_what_it_is_called():
    def facts(name):
        side = model_scaling.VARIANTS[name][2]
        net = model_scaling.network(model_scaling.VARIANTS[name])
        shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros((1, side, side, 3)), False))["params"]
        kernels = [leaf.shape for leaf in jax.tree.leaves(shapes) if len(leaf.shape) == 4]
        return min(shape[-1] for shape in kernels), len(kernels), side

    base = facts("base")
    more = {name: tuple(a > b for a, b in zip(facts(name), base, strict=True)) for name in model_scaling.VARIANTS}
    assert more == {
        "base": (False, False, False),
        "wider": (True, False, False),
        "deeper": (False, True, False),
        "larger images": (False, False, True),
        "all three": (True, True, True),
    }
