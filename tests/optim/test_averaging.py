"""The average of stochastic weight averaging is exact, and batch statistics are those of the averaged network."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.nn import BatchNorm
from dlcore.optim import recompute_batch_stats, swa_params, track_swa


def moved(tx, targets, params=0.0):
    params = jnp.float32(params)
    state = tx.init(params)
    for target in targets:
        updates, state = tx.update(jnp.float32(target) - params, state, params)
        params = optax.apply_updates(params, updates)
    return state, params


@pytest.mark.covers("RG-28")
@pytest.mark.parametrize(
    ("start", "every", "want"),
    [
        (1, 1, (1 + 4 + 2 + 9 + 5 + 3) / 6),
        (3, 1, (2 + 9 + 5 + 3) / 4),
        (2, 2, (4 + 9 + 3) / 3),  # updates 2, 4 and 6
        (6, 1, 3),
        (0, 3, (2 + 3) / 2),  # 3 and 6
        (4, 3, 9),  # 4; the next would be 7
        (99, 1, 3),  # not begun: the parameters as they are
    ],
)
def test_the_average_is_the_plain_mean_of_the_named_updates(start, every, want):
    state, params = moved(track_swa(start, every), [1, 4, 2, 9, 5, 3])
    assert float(swa_params(state, params)) == pytest.approx(want, rel=1e-6)
    assert float(params) == 3
    assert int(state.count) == 6


def test_dtypes_and_arguments():
    params = {"w": jnp.ones(3, jnp.bfloat16)}
    tx = optax.chain(optax.sgd(0.1), track_swa(1))
    state = tx.init(params)
    _, after = jax.jit(tx.update)({"w": jnp.ones(3, jnp.bfloat16)}, state, params)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert swa_params(after, params)["w"].dtype == jnp.bfloat16
    assert after[1].mean["w"].dtype == jnp.float32
    with pytest.raises(ValueError, match=r"opt_state=\w+: holds 0 of track_swa; allowed: one"):
        swa_params(optax.sgd(0.1).init(params), params)


class Net(nn.Module):
    momentum: float = 0.9

    @nn.compact
    def __call__(self, x, train):
        x = BatchNorm(not train, momentum=self.momentum, unbiased_running_var=False, name="first")(x)
        x = nn.relu(nn.Dense(3, name="dense")(x))
        return BatchNorm(not train, momentum=self.momentum, unbiased_running_var=False, name="second")(x)


@pytest.mark.slow(unless=["0.5"])
@pytest.mark.covers("RG-28")
@pytest.mark.parametrize("momentum", [0.9, 0.5])
def test_statistics_are_the_mean_over_batches_whatever_was_there_and_whatever_the_momentum(momentum):
    rng = np.random.default_rng(0)
    batches = [jnp.asarray(rng.normal(3 * k, 1 + k, (16, 2)), jnp.float32) for k in range(3)]
    net = Net(momentum)
    variables = net.init(jax.random.key(0), batches[0], False)
    params, stale = variables["params"], jax.tree.map(lambda x: x + 77, variables["batch_stats"])

    def forward(stats, batch):
        return net.apply({"params": params, "batch_stats": stats}, batch, True, mutable=["batch_stats"])[1][
            "batch_stats"
        ]

    result = recompute_batch_stats(forward, stale, batches)
    np.testing.assert_allclose(result["first"]["mean"], np.mean([b.mean(0) for b in batches], 0), rtol=1e-5)
    np.testing.assert_allclose(result["first"]["var"], np.mean([b.var(0) for b in batches], 0), rtol=1e-4)
    hidden = []
    for b in batches:
        normed = (b - b.mean(0)) / np.sqrt(b.var(0) + 1e-5)
        hidden.append(np.maximum(normed @ params["dense"]["kernel"] + params["dense"]["bias"], 0))
    np.testing.assert_allclose(result["second"]["mean"], np.mean([h.mean(0) for h in hidden], 0), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"batches=.*: empty; allowed: at least one"):
        recompute_batch_stats(forward, stale, [])
