"""What is recorded, kept in a file and selected, by hand; and what demonstrations of something else get."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.rl import demonstrations as demos
from dlcore.rl.environments import Environment, Step
from dlcore.rl.wrappers import repeat_actions, stack_frames, time_limit

ENDS = 3
"""Where the walk is over; its time is up after five steps."""


def walk(name: str = "walk", shape: tuple[int, ...] = (2,), num_actions: int = 2) -> Environment:
    """Observations are (position, time), an action of 1 goes on; a reward of one half a step."""

    def seen(state):
        return jnp.stack(state).astype(jnp.float32)

    def reset(key):
        zero = jnp.zeros((), jnp.int32)
        return (zero, zero), seen((zero, zero))

    def step(key, state, action):
        after = state[0] + action.astype(jnp.int32), state[1] + 1
        over, late = after[0] == ENDS, (after[1] == 5) & (after[0] != ENDS)
        first, _ = reset(key)
        new = jax.tree.map(lambda a, b: jnp.where(over | late, a, b), first, after)
        return new, Step(seen(new), jnp.float32(0.5), over, late, seen(after))

    return Environment(name, reset, step, num_actions, shape, 5)


@pytest.fixture(scope="module")
def recorded() -> demos.Demonstrations:
    """One episode that goes on at every step, and one that waits in the even keys' steps."""
    return demos.record(walk(), lambda key, x: jax.random.bernoulli(key, 0.5).astype(jnp.int32), keys(12))


def keys(count):
    return jax.random.split(jax.random.key(0), count)


def test_episodes_by_hand():
    found = demos.record(walk(), lambda key, x: (x[1] > 0).astype(jnp.int32), keys(1))
    # waits once, goes on three times: four steps, over
    assert (found.length, found.terminated, found.total) == (4, True, 2.0)
    np.testing.assert_array_equal(found.action[0, :4], [0, 1, 1, 1])
    np.testing.assert_array_equal(found.observation[0, :4], [[0, 0], [0, 1], [1, 2], [2, 3]])
    still = demos.record(walk(), lambda key, x: jnp.int32(0), keys(1))
    assert (still.length, still.terminated, still.total) == (5, False, 2.5), "time is up: not terminated"


def test_a_continuous_action_is_recorded_as_it_is_played():
    """`Environment.step` clips to [-1, 1], so 2.5 and -0.5 are 1 and -0.5."""
    pulls = walk()._replace(num_actions=None, action_low=np.zeros(2), action_high=np.ones(2))
    one_way = pulls._replace(step=lambda key, state, action: pulls.step(key, state, jnp.int32(1)))
    found = demos.record(one_way, lambda key, x: jnp.array([2.5, -0.5]), keys(1))
    np.testing.assert_array_equal(found.action[0, :3], [[1, -0.5]] * 3)
    demos.check(found, one_way)


@pytest.mark.parametrize("wrapped", [repeat_actions(walk(), 2), time_limit(walk(), 3), stack_frames(walk(), 1)])
def test_steps_of_a_wrapped_environment_are_of_another(recorded, wrapped):
    found = demos.record(wrapped, lambda key, x: jnp.int32(0), keys(1))
    demos.check(found, wrapped)
    with pytest.raises(ValueError, match=r"environment='walk': the demonstrations are of another; allowed: .*\(walk, "):
        demos.check(found, walk())
    with pytest.raises(ValueError, match=r"the demonstrations are of another; allowed: walk"):
        demos.check(recorded, wrapped)


def test_the_policy_draws_with_its_own_keys(recorded):
    assert len({tuple(row) for row in recorded.action}) > 3
    assert recorded.mean_return == pytest.approx(0.5 * recorded.length.mean())


def test_a_file_gives_back_what_was_saved(recorded, tmp_path):
    demos.save(tmp_path / "walk.npz", recorded)
    assert [path.name for path in tmp_path.iterdir()] == ["walk.npz"]
    again = demos.load(tmp_path / "walk.npz")
    assert again.environment == "walk"
    for one, other in zip(again[1:], recorded[1:], strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_every_kth_step_from_a_random_start():
    times = np.arange(20, dtype=np.float32)
    observation = np.stack([100 * episode + times for episode in range(40)])
    lengths = np.array([20, 7] * 20)
    episodes = demos.Demonstrations("x", observation, observation.astype(int), lengths, lengths < 20, lengths)
    pairs = demos.select(episodes, 5)
    np.testing.assert_array_equal(pairs["observation"], pairs["action"])
    starts = set()
    for episode, length in enumerate(lengths):
        mine = pairs["observation"][pairs["observation"] // 100 == episode] % 100
        np.testing.assert_array_equal(mine, np.arange(mine[0], length, 5))
        assert mine[0] < 5
        starts.add(mine[0])
    assert starts == {0, 1, 2, 3, 4}
    whole = demos.select(episodes.first(2))["observation"]
    np.testing.assert_array_equal(whole, [*range(20), *range(100, 107)])


def test_a_step_is_taken_of_episodes_shorter_than_k(recorded):
    assert len(demos.select(recorded, 1000)["action"]) == len(recorded.length)


def test_bad_input_is_named(recorded, tmp_path):
    demos.check(recorded, walk())
    with pytest.raises(ValueError, match="environment='run': the demonstrations are of another; allowed: walk"):
        demos.check(recorded, walk("run"))
    with pytest.raises(ValueError, match=r"observations of shape \(2,\); allowed: \(3,\)"):
        demos.check(recorded, walk(shape=(3,)))
    with pytest.raises(ValueError, match=r"actions are int32 of shape \(\); allowed: whole numbers from 0 to 0"):
        demos.check(recorded, walk(num_actions=1))
    for action, problem in (
        (np.zeros((12, 5)), r"float64 of shape \(\)"),
        (np.where(np.arange(5) == 0, -1, recorded.action), r"int32 of shape \(\)"),
        (np.ones((12, 5, 2), int), r"int64 of shape \(2,\)"),
    ):
        with pytest.raises(ValueError, match=f"actions are {problem}; allowed: whole numbers from 0 to 1"):
            demos.check(recorded._replace(action=action), walk())
    pulls = walk()._replace(num_actions=None, action_low=np.zeros(2), action_high=np.ones(2))
    with pytest.raises(ValueError, match=r"actions are int32 of shape \(\); allowed: vectors of 2"):
        demos.check(recorded, pulls)
    fitting = demos.Demonstrations("walk", np.zeros((3, 4, 2)), np.zeros((3, 4, 2)), *(np.ones(3, int),) * 3)
    demos.check(fitting, pulls)
    for changed, message in (
        ({"length": np.array([1, 5, 4])}, "an episode of length 5; allowed: 1 to 4 steps, as the arrays hold"),
        ({"length": np.array([1, 0, 4])}, "an episode of length 0; allowed"),
        ({"length": np.array([1, 4])}, r"actions \(3, 4\), lengths \(2,\)|length=.*: wrong shape|terminated=.*: wrong"),
        ({"action": np.zeros((3, 3, 2))}, r"actions \(3, 3\), lengths \(3,\); allowed: .* 3 episodes of 4 steps"),
    ):
        with pytest.raises(ValueError, match=message):
            demos.check(fitting._replace(**changed), pulls)
    with pytest.raises(ValueError, match="an episode of length 15; allowed: 1 to 4 steps"):
        demos.select(fitting._replace(length=np.array([1, 15, 4])))
    # Behind the end of an episode anything may lie.
    behind = np.zeros((3, 4, 2))
    behind[:, 1:] = np.nan
    demos.check(fitting._replace(action=behind, observation=behind), pulls)
    with pytest.raises(ValueError, match="demonstrations=13: not that many; allowed: 1 to 12 episodes"):
        recorded.first(13)
    for name, content in (("text.npz", b"no arrays"), ("empty.npz", b""), ("none.npz", None)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}': no demonstrations; allowed: a file of"):
            demos.load(tmp_path / name)
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("other.npz", "array.npy"):
        with pytest.raises(ValueError, match="no demonstrations"):
            demos.load(tmp_path / name)
