"""Grids: moves by hand, slips by their frequency, and the environment as the process says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.rl import gridworld, mdp
from dlcore.rl.environments import rollout_episode

UP, RIGHT, DOWN, LEFT = range(4)


@pytest.mark.covers("RL-01")
def test_moves_walls_and_rewards_by_hand():
    # 0 1 2 3      ...G
    # 4 # 5 6      .#.P
    # 7 8 9 10     ....
    grid = gridworld.make(gridworld.MAPS["pit"], step_reward=-0.04)
    assert len(grid.cells) == 11
    np.testing.assert_array_equal(grid.index[1], [4, -1, 5, 6])
    np.testing.assert_array_equal(np.flatnonzero(grid.mdp.absorbing), [3, 6])
    successor = grid.mdp.successor[..., 0]
    np.testing.assert_array_equal(successor[0], [0, 1, 4, 0])
    np.testing.assert_array_equal(successor[1], [1, 2, 1, 0])  # a wall below
    np.testing.assert_array_equal(successor[5], [2, 6, 9, 5])  # a wall on the left
    np.testing.assert_array_equal(successor[3], 3)
    np.testing.assert_allclose(grid.mdp.reward[5, :, 0], [-0.04, -1.04, -0.04, -0.04])
    np.testing.assert_allclose(grid.mdp.reward[2, :, 0], [-0.04, 0.96, -0.04, -0.04])
    np.testing.assert_array_equal(grid.mdp.reward[3], 0)
    np.testing.assert_array_equal(gridworld.on_grid(grid, np.arange(11))[0], [0, 1, 2, 3])
    assert np.isnan(gridworld.on_grid(grid, np.arange(11))[1, 1])


@pytest.mark.covers("RL-01")
def test_slips_go_to_the_sides():
    grid = gridworld.make(gridworld.MAPS["pit"], slip=0.2)
    matrix = mdp.transition_matrix(grid.mdp)
    np.testing.assert_allclose(matrix[5, UP, [2, 6, 5]], [0.8, 0.1, 0.1])  # right is the pit, left a wall
    np.testing.assert_allclose(matrix[9, LEFT, [8, 5, 9]], [0.8, 0.1, 0.1])  # up is free, down the edge
    np.testing.assert_allclose(matrix.sum(-1), 1)


@pytest.mark.slow
@pytest.mark.covers("RL-01")
@pytest.mark.parametrize("slip", [0.0, 0.3])
def test_the_environment_moves_as_the_process_says(slip):
    grid = gridworld.make(gridworld.MAPS["pit"], slip=slip, step_reward=-0.1)
    environment, matrix = gridworld.environment(grid, max_steps=50), mdp.transition_matrix(grid.mdp)
    assert (environment.num_actions, environment.observation_shape) == (4, (11,))
    pairs = np.array([(s, a) for s in range(11) if s not in (3, 6) for a in range(4)])

    @jax.jit
    def reached(key):
        def one(key, state, action):
            return environment.step(key, (state, jnp.int32(0)), action)[1]

        return jax.vmap(one)(jax.random.split(key, len(pairs)), *jnp.asarray(pairs.T, jnp.int32))

    out = jax.device_get(jax.vmap(reached)(jax.random.split(jax.random.key(0), 1 if slip == 0 else 1500)))
    share = out.final_observation.mean(0)  # standard error at most .013
    np.testing.assert_allclose(share, matrix[tuple(pairs.T)], atol=1e-6 if slip == 0 else 0.06)
    ended = out.final_observation[..., [3, 6]].any(-1)
    np.testing.assert_array_equal(out.terminated, ended)
    assert not out.truncated.any()
    np.testing.assert_allclose(out.reward, -0.1 + out.final_observation[..., 3] - out.final_observation[..., 6])
    assert not out.observation[ended][:, [3, 6]].any()  # of the next episode


@pytest.mark.slow
@pytest.mark.covers("RL-01")
def test_episodes_repeat_by_key_and_are_cut_off():
    grid = gridworld.make(gridworld.corridor(3), step_reward=-1.0)
    environment = gridworld.environment(grid, max_steps=7, observation="coordinates")
    np.testing.assert_allclose(environment.reset(jax.random.key(0))[1], [0, 0])
    np.testing.assert_allclose(
        environment.step(jax.random.key(0), environment.reset(jax.random.key(0))[0], RIGHT)[1].observation, [0, 0.25]
    )

    def walked(key, policy):
        return rollout_episode(environment, policy, key, 50)

    walk = jax.jit(lambda key, action: walked(key, lambda key, seen: action))
    np.testing.assert_allclose(walk(jax.random.key(0), RIGHT), [-3 + 1, 3])
    np.testing.assert_allclose(walk(jax.random.key(0), LEFT), [-7, 7])
    random = jax.jit(lambda key: walked(key, lambda key, seen: jax.random.randint(key, (), 0, 4)))
    totals = [float(random(jax.random.key(k))[0]) for k in (0, 1, 2, 3, 0, 1, 2, 3)]
    assert totals[:4] == totals[4:]


def test_maps():
    assert gridworld.open_map(2, 3) == "...\n..G"
    assert gridworld.corridor(3) == "S..G"
    starts = gridworld.make("S.G\nS..").mdp.start
    np.testing.assert_array_equal(starts, [0.5, 0, 0, 0.5, 0, 0])
    for name, text in gridworld.MAPS.items():
        assert gridworld.make(text).mdp.absorbing.any(), name


def test_bad_maps_get_one_clear_error():
    with pytest.raises(ValueError, match=r"text: rows of \[1, 2\] cells; allowed: rows of one length"):
        gridworld.make("..\n.")
