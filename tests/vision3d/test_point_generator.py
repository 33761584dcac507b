"""The point generator: its Chamfer distance falls, whatever the order of the points."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.vision3d import point_generator
from dlcore.vision3d.point_generator import PointGenerator
from tests.wiring import assert_wiring

MODEL = point_generator.PointGenerator(num_points=6, widths=(4,), hidden=(), depth=0.0)
RNG = np.random.default_rng(0)
BATCH = {
    "image": jnp.asarray(RNG.random((2, 4, 4, 1)), jnp.float32),
    "points": jnp.asarray(RNG.normal(size=(2, 6, 3)), jnp.float32),
    "index": jnp.arange(2),
}


@pytest.mark.slow
@pytest.mark.covers("TD-10")
def test_the_chamfer_distance_falls():
    learner = point_generator.learner(model=MODEL, optimizer=optax.adam(0.02))

    @jax.jit
    def train(key):
        state = learner.init(key, BATCH)

        def step(state, _):
            state, metrics = learner.update(state, BATCH)
            return state, metrics["loss"].total

        return jax.lax.scan(step, state, length=60)[1]

    losses = train(jax.random.key(0))
    assert float(losses[-1]) < 0.2 * float(losses[0])


@pytest.mark.covers("TD-10")
def test_the_loss_does_not_depend_on_the_order_of_the_points():
    learner = point_generator.learner(model=MODEL, optimizer=optax.sgd(1.0))
    state = jax.eval_shape(learner.init, jax.random.key(0), BATCH)
    params = jax.tree.map(lambda v: jnp.asarray(RNG.normal(size=v.shape), v.dtype), state.params)
    loss = jax.jit(lambda points: learner.loss(params, state, BATCH | {"points": points})[0])
    # The same nearest points; only the order of a sum differs.
    assert float(loss(BATCH["points"][:, ::-1])) == pytest.approx(float(loss(BATCH["points"])), rel=1e-6)


def test_measures_of_known_sets():
    # {0, 1} for {0, 3}: Chamfer 0.5 + 2 (squares 0, 1 and 0, 4); within 0.1 one of two and one of two: F1 = 1/2.
    p, q = (jnp.array([[[x, 0.0, 0.0] for x in xs]]) for xs in ((0.0, 1.0), (0.0, 3.0)))
    got = point_generator.point_measures(p, q, jnp.ones(1), 0.1)
    assert {k: float(v.compute()) for k, v in got.items()} == {"chamfer": 2.5, "f1": 0.5}


def test_the_wiring_of_point_generator_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        PointGenerator(num_points=3, widths=(4, 4), hidden=(5,), depth=2.0), (1, 8, 16, 3), [4.78642, -3.59069]
    )
