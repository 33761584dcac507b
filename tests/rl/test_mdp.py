"""Markov decision processes: what is refused, what a trajectory draws, and sums from t = 0 on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.rl import mdp as mdps
from dlcore.rl.environments import rollout_episode


def random_process(seed=0, num_states=5, num_actions=3, gamma=0.9, **kwargs):
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.full(num_states, 0.5), (num_states, num_actions))
    np.put_along_axis(transition, transition.argmin(-1)[..., None], 0, -1)
    transition /= transition.sum(-1, keepdims=True)
    return transition, rng.normal(size=transition.shape), dict(gamma=gamma, **kwargs)


def two_states(gamma=0.5, **kwargs):
    """State 0 goes on to state 1, the end, with probability 0.25 and reward 8; else it stays for -1."""
    return mdps.make([[[0, 1]], [[0, 0]]], [[[0.75, 0.25]]] * 2, [-1.0, 8.0], gamma=gamma, absorbing=[1], **kwargs)


@pytest.mark.covers("RL-01")
def test_rewards_are_discounted_from_time_0_on():
    # 3 + 0.5 * 4 + 0.25 * 8 = 7; E79: the first reward counts in full.
    np.testing.assert_allclose(mdps.discounted_sum(jnp.array([3.0, 4.0, 8.0]), 0.5), 7.0)
    np.testing.assert_allclose(mdps.discounted_sum(jnp.ones((4, 2)), 1.0), [4.0, 4.0])


@pytest.mark.covers("RL-01")
def test_matrix_and_outcomes_say_the_same():
    transition, reward, kwargs = random_process()
    process = mdps.from_transition(transition, reward, **kwargs)
    assert process.successor.shape[2] == (transition > 0).sum(-1).max() < 5
    np.testing.assert_allclose(mdps.transition_matrix(process), transition, atol=1e-12)
    np.testing.assert_allclose(mdps.expected_reward(process), (transition * reward).sum(-1), rtol=1e-5, atol=1e-6)
    flat = mdps.from_transition(transition, (transition * reward).sum(-1), **kwargs)
    np.testing.assert_allclose(mdps.expected_reward(flat), mdps.expected_reward(process), rtol=1e-5, atol=1e-6)


@pytest.mark.covers("RL-01")
def test_absorbing_states_stay_for_nothing():
    process = two_states()
    np.testing.assert_array_equal(mdps.transition_matrix(process)[1, 0], [0, 1])
    np.testing.assert_array_equal(mdps.expected_reward(process)[:, 0], [0.75 * -1 + 0.25 * 8, 0])
    np.testing.assert_array_equal(process.start, [1, 0])


@pytest.mark.slow
@pytest.mark.covers("RL-01")
def test_trajectories_follow_the_process_and_repeat_by_key():
    transition, reward, kwargs = random_process(1)
    process = mdps.from_transition(transition, reward, **kwargs)
    policy = np.random.default_rng(2).dirichlet(np.ones(3), 5)
    draw = jax.jit(jax.vmap(lambda key: mdps.rollout(process, policy, key, 20)))
    keys = jax.random.split(jax.random.key(0), 3000)
    seen = jax.device_get(draw(keys))
    np.testing.assert_array_equal(seen.state, jax.device_get(draw(keys)).state)
    np.testing.assert_array_equal(seen.state[:, 1:], seen.next_state[:, :-1])
    np.testing.assert_allclose(seen.reward, reward[seen.state, seen.action, seen.next_state], rtol=1e-6)
    for state in range(5):
        here = seen.state == state  # thousands of times each: standard errors below .01
        np.testing.assert_allclose(np.bincount(seen.action[here], minlength=3) / here.sum(), policy[state], atol=0.03)
        for action in range(3):
            rows = here & (seen.action == action)
            share = np.bincount(seen.next_state[rows], minlength=5) / rows.sum()
            np.testing.assert_allclose(share, transition[state, action], atol=4 * (0.25 / rows.sum()) ** 0.5)
    exact = mdps.state_distributions(process, policy, 20)
    np.testing.assert_allclose(exact.sum(1), 1, rtol=1e-5)
    drawn = (seen.state[..., None] == np.arange(5)).mean(0)
    np.testing.assert_allclose(drawn, exact, atol=0.04)


def test_distributions_by_hand():
    np.testing.assert_allclose(
        mdps.state_distributions(two_states(), np.ones((2, 1)), 3), [[1, 0], [0.75, 0.25], [0.5625, 0.4375]]
    )


@pytest.mark.covers("RL-01")
def test_a_step_of_the_environment_by_hand():
    """States 0, 1, 2 in a row, the last absorbing; episodes start in 1. A step goes on for a reward of 3."""
    process = mdps.make(
        [[[1]], [[2]], [[2]]], np.ones((3, 1, 1)), 3.0, gamma=0.5, absorbing=[2], start=np.array([0, 1.0, 0])
    )
    environment = mdps.as_environment(process, 4, np.array([[5.0, 1], [6, 1], [7, 1]]), "row")
    assert (environment.name, environment.max_steps, environment.observation_shape) == ("row", 4, (2,))
    assert (environment.num_actions, environment.endless) == (1, False)
    assert mdps.as_environment(process._replace(absorbing=np.zeros(3, bool)), 1).endless

    @jax.jit
    @jax.vmap
    def step(state, time):
        return environment.step(jax.random.key(0), (state, time), jnp.int32(0))

    # A step within, one that is the fourth, and two to the end, of which the second is also the fourth.
    (state, time), out = step(jnp.int32([0, 0, 1, 1]), jnp.int32([1, 3, 0, 3]))
    np.testing.assert_array_equal(state, [1, 1, 1, 1])
    np.testing.assert_array_equal(time, [2, 0, 0, 0])
    np.testing.assert_array_equal(out.truncated, [False, True, False, False])
    np.testing.assert_array_equal(out.terminated, [False, False, True, True])
    np.testing.assert_array_equal(out.final_observation[:, 0], [6, 6, 7, 7])
    np.testing.assert_array_equal(out.observation[:, 0], [6] * 4)
    np.testing.assert_array_equal(out.reward, [3] * 4)
    with pytest.raises(ValueError, match="max_steps=0: too small; allowed: at least 1"):
        mdps.as_environment(process, 0)
    with pytest.raises(ValueError, match="observations=2: for 3 states; allowed: one a state"):
        mdps.as_environment(process, 1, np.zeros((2, 1)))


@pytest.mark.covers("RL-01")
def test_a_trajectory_stays_in_the_end_for_nothing():
    """State 0 goes to 1 by action 0 and to the end, 2, by action 1; state 1 goes to the end.

    The policy takes the first, the second, and again the first action.
    """
    process = mdps.make(
        [[[1], [2]], [[2], [2]], [[2], [2]]], np.ones((3, 2, 1)), [[[1.0], [2]], [[3], [4]], [[9], [9]]],
        gamma=0.5, absorbing=[2], start=np.array([1.0, 0, 0]),
    )  # fmt: skip
    first, second = np.tile([1.0, 0], (3, 1)), np.tile([0, 1.0], (3, 1))
    seen = mdps.rollout(process, np.stack([first, second, first]), jax.random.key(0), 3)
    np.testing.assert_array_equal(seen.state, [0, 1, 2])
    np.testing.assert_array_equal(seen.action, [0, 1, 0])
    np.testing.assert_array_equal(seen.reward, [1, 4, 0])
    np.testing.assert_array_equal(seen.next_state, [1, 2, 2])
    np.testing.assert_array_equal(seen.running, [True, True, False])


@pytest.mark.slow
@pytest.mark.covers("RL-01")
def test_an_environment_ends_by_absorption_or_by_time():
    environment = mdps.as_environment(two_states(), max_steps=3)
    total, length = jax.jit(
        jax.vmap(lambda key: rollout_episode(environment, lambda key, seen: jnp.int32(0), key, 50))
    )(jax.random.split(jax.random.key(0), 4000))
    # Lengths 1, 2, 3 with probability 1/4, 3/16 and 9/16; the last step of 3 goes on with probability 3/4: -1 each.
    np.testing.assert_allclose(np.bincount(length)[1:] / 4000, [0.25, 0.1875, 0.5625], atol=0.03)
    assert set(np.unique(total)) == {8.0, 7.0, 6.0, -3.0}
    state, _ = environment.reset(jax.random.key(0))
    for t in range(12):
        state, out = environment.step(jax.random.key(t), state, jnp.int32(0))
        assert not (out.terminated and out.truncated)
        assert int(out.final_observation.argmax()) == int(out.terminated)
        np.testing.assert_array_equal(out.observation, [1, 0])
        assert (int(state[1]) == 0) == bool(out.terminated | out.truncated)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": 1.5}, "gamma=1.5: out of range; allowed: 0 to 1"),
        ({"probability": [[[0.5, 0.6]], [[1, 0]]]}, r"probability: a sum of 1.1 at \[0, 0\]; allowed: 1"),
        ({"probability": [[[0.5, 0.4]], [[1, 0.5]]]}, r"probability: a sum of 1.5 at \[1, 0\]; allowed: 1"),
        ({"probability": [[[0.5, 0.6]], [[0.2, 0]]]}, r"probability: a sum of 0.2 at \[1, 0\]; allowed: 1"),
        ({"probability": [[[1.5, -0.5]], [[1, 0]]]}, "probability: -0.5 among them; allowed: at least 0"),
        ({"probability": [[1.0]]}, r"shapes \[2, 1, 2\] and \[1, 1\]; allowed: \[S, A, K\] both"),
        ({"successor": [[[0, 2]], [[1, 1]]]}, "successor=2: no such state; allowed: 0 to 1"),
        ({"start": [0.5, 0.5], "absorbing": [1]}, "start: state 1 is absorbing; allowed: states that go on"),
        ({"reward": np.nan}, r"reward\[0, 0, 0\]=nan: not finite"),
        ({"start": [0.5, 0.4]}, "start: a sum of 0.9; allowed: 1"),
    ],
)
def test_bad_input_gets_one_clear_error(change, message):
    fine = {"successor": [[[0, 1]], [[0, 1]]], "probability": [[[0.5, 0.5]]] * 2, "reward": 0.0, "gamma": 0.9}
    mdps.make(**fine)
    with pytest.raises(ValueError, match=message):
        mdps.make(**fine | change)


def test_a_matrix_without_chance_has_one_outcome_of_each_action():
    certain = np.eye(3)[[[1, 2], [0, 0], [2, 1]]]
    process = mdps.from_transition(certain, np.arange(6.0).reshape(3, 2), gamma=0.5)
    np.testing.assert_array_equal(process.successor, [[[1], [2]], [[0], [0]], [[2], [1]]])
    np.testing.assert_array_equal(process.reward, [[[0], [1]], [[2], [3]], [[4], [5]]])
    with pytest.raises(ValueError, match=r"probability: a sum of 0 at \[0, 0\]; allowed: 1"):
        mdps.from_transition(0 * certain, np.zeros((3, 2)), gamma=0.5)


def test_rewards_of_a_matrix_have_its_shape_or_one_for_each_action():
    with pytest.raises(ValueError, match=r"reward: shape \[2\]; allowed: \[2, 3\] or \[2, 3, 2\]"):
        mdps.from_transition(np.full((2, 3, 2), 0.5), np.zeros(2), gamma=0.9)
    with pytest.raises(ValueError, match=r"transition: shape \[2, 3, 3\]; allowed: \[S, A, S\]"):
        mdps.from_transition(np.full((2, 3, 3), 1 / 3), np.zeros((2, 3)), gamma=0.9)


def test_episodes_start_where_the_process_says():
    """Of 4,000 a fifth, three tenths and a half, with deviations of at most .008."""
    stays = np.arange(3).reshape(3, 1, 1)
    process = mdps.make(stays, np.ones((3, 1, 1)), 0.0, gamma=0.5, start=np.array([0.2, 0.3, 0.5]))
    reset = jax.jit(jax.vmap(lambda key: mdps.as_environment(process, 1).reset(key)[1]))
    np.testing.assert_allclose(reset(jax.random.split(jax.random.key(0), 4000)).mean(0), process.start, atol=0.03)


def test_endless_episodes_need_a_discount():
    mdps.check_endings(two_states(1.0))
    # Action 0 stays, action 1 ends: the policy decides whether an episode ends.
    choice = mdps.make([[[0], [1]], [[1], [1]]], np.ones((2, 2, 1)), -1.0, gamma=1.0, absorbing=[1])
    mdps.check_endings(choice)
    mdps.check_endings(choice, mdps.uniform_policy(choice))
    with pytest.raises(ValueError, match="gamma=1: state 0 never reaches an absorbing state"):
        mdps.check_endings(choice, [[1, 0], [1, 0]])
    mdps.check_endings(choice._replace(gamma=0.99), [[1, 0], [1, 0]])
    with pytest.raises(ValueError, match="gamma=1: a policy may stay away from the end for ever and pay nothing, from"):
        mdps.check_endings(choice._replace(reward=0 * choice.reward))
    # Action 0 stays and pays 1 wherever it leads; action 1 ends, with 5 or nothing by chance: nobody stays for free.
    paid = mdps.make(
        [[[0, 0], [1, 1]], [[1, 1], [1, 1]]],
        np.full((2, 2, 2), 0.5),
        np.array([[[-1, -1], [5, 0]], [[0, 0], [0, 0]]], float),
        gamma=1.0,
        absorbing=[1],
    )
    mdps.check_endings(paid)
    # In state 0 the action that costs nothing leads on to state 1, where every action costs 1: nobody stays for free.
    circles = mdps.make(
        [[[0], [1], [2]], [[2], [0], [1]], [[2], [2], [2]]],
        np.ones((3, 3, 1)),
        np.array([[-1, 0, -1], [-1, -1, -1], [0, 0, 0]], float)[..., None],
        gamma=1.0,
        absorbing=[2],
    )
    mdps.check_endings(circles)
    circles.reward[0, 0] = 0  # of staying in state 0
    with pytest.raises(ValueError, match="stay away from the end for ever and pay nothing, from state 0 on"):
        mdps.check_endings(circles)
    circles.reward[0], circles.reward[1, 2] = -1, 0  # of staying in state 1
    with pytest.raises(ValueError, match="stay away from the end for ever and pay nothing, from state 1 on"):
        mdps.check_endings(circles)
    endless = mdps.make([[[1]], [[0]]], np.ones((2, 1, 1)), -1.0, gamma=1.0)
    with pytest.raises(ValueError, match="gamma=1: state 0 never reaches an absorbing state, its episodes are endless"):
        mdps.check_endings(endless)
