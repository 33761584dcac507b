"""The networks, and the verdict on numbers that were written for it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.studies import depth
from experiments.studies.small_runs import train


@pytest.mark.covers("ZO-12", "ZO-25")
def test_the_verdict_follows_the_numbers():
    loss = {
        "plain 20": np.array([0.02, 0.04]),
        "plain 56": np.array([0.5, 0.3]),
        "residual 20": np.array([0.01, 0.01]),
        "residual 56": np.array([0.02, 0.005]),
    }
    verdict, holds = depth.judge(loss)
    assert holds
    assert "plain 20 layers 0.0300, plain 56 layers 0.4000" in verdict
    assert "deeper plain network is worse on 2 of 2 seeds, the deeper residual one on 1" in verdict
    assert "at 56 layers the residual one is better on 2" in verdict
    assert not depth.judge({**loss, "plain 56": np.array([0.5, 0.03])})[1]
    assert not depth.judge({**loss, "residual 56": np.array([0.2, 0.2])})[1]  # degraded as the plain one


@pytest.mark.slow
@pytest.mark.covers("ZO-12", "ZO-25")
def test_the_networks_differ_by_their_shortcuts_and_can_be_trained():
    """Traced, not compiled, which would take 15 s."""
    images, labels = jnp.zeros((4, 16, 16, 1)), jnp.zeros(4, jnp.int32)

    def run(net):
        return train(jax.random.key(0), net, optax.sgd(0.1), images, labels, 2, batch_size=2)[0]

    shapes = {skip: jax.eval_shape(lambda skip=skip: run(depth.network(8, skip, 4))) for skip in (False, True)}
    kernels = {
        skip: sum("kernel" in jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree))
        for skip, tree in shapes.items()
    }
    assert kernels == {False: 8, True: 8}
    assert [depth.network(n, True, 4).model.stages for n in (20, 56)] == [(3, 3, 3), (9, 9, 9)]
    assert [depth.network(8, skip, 4).model.skip for skip in (False, True)] == [False, True]


@pytest.mark.covers("ZO-12")
def test_the_residual_kind_alone_has_shortcuts():
    assert depth.KINDS == {"plain": False, "residual": True}
    for skip in (False, True):
        model = depth.network(20, skip, 4).model
        assert (model.skip, tuple(model.stages), model.width) == (skip, (3, 3, 3), 4)
