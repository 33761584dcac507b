"""Arguments of parts of reinforcement learning that do not fit: each is named before anything is computed."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.rl import dynamic_programming, gradient_estimators, gridworld, inverse, mdp, networks
from dlcore.rl.behavior_cloning import actor
from dlcore.rl.demonstrations import Demonstrations, load, record, select
from dlcore.rl.distributions import Categorical
from dlcore.rl.dqn import q_target
from dlcore.rl.environments import check_environment, env_step, epsilon_greedy, make, rollout_episode
from dlcore.rl.gail import discriminator_loss, features
from dlcore.rl.model_based import cross_entropy_method, pendulum_reward
from dlcore.rl.normalization import Moments, Normalizer
from dlcore.rl.off_policy import OffPolicy, td_target
from dlcore.rl.policy_gradient import score_weights
from dlcore.rl.ppo import PPO, objective, update_epochs
from dlcore.rl.replay import Replay, Transition
from dlcore.rl.rollout import collect, step_keys
from dlcore.rl.sac import soft_value
from dlcore.rl.wrappers import repeat_actions, stack_frames, time_limit

KEY, KEYS = jax.random.key(0), jax.random.split(jax.random.key(0), 2)
ONE, TWO, THREE, PAIRS = (np.ones(shape, np.float32) for shape in ((), 2, 3, (3, 2)))
GRID = gridworld.make("..G")
PROCESS, ENVIRONMENT = GRID.mdp, gridworld.environment(GRID)
UNIFORM = mdp.uniform_policy(PROCESS)
SHOWN = inverse.Demonstrations(np.zeros((1, 2), int), np.zeros((1, 2), int), 3)
EPISODES = Demonstrations("x", np.ones((1, 2, 3)), np.zeros((1, 2), int), np.array([2]), np.array([True]), np.ones(1))
CONTINUOUS = SimpleNamespace(name="arm", num_actions=None, action_size=1)
STEP = Transition(PAIRS, np.zeros(3, np.int32), THREE, THREE > 0, PAIRS)
REPLAY = Replay.empty(STEP, 4, 2)


def target(**change):
    arguments = {"reward": ONE, "terminated": ONE, "next_q": TWO, "next_target_q": TWO, "gamma": 0.9}
    return q_target(**arguments | change)


def imitated(**change):
    arguments = {"observation": PAIRS, "action": np.zeros(3, int), "absorbing": THREE > 1, "num_actions": 2}
    return features(**arguments | change)


def judged(weight=THREE, policy=PAIRS, gradient_penalty=1.0):
    return discriminator_loss(lambda params, x: x[:, 0], None, PAIRS, weight, policy, KEY, gradient_penalty)


def searched(score=len, mean=TWO, std=1.0, **numbers):
    return cross_entropy_method(score, KEY, mean, std, **numbers)


def trained(data=PAIRS, **numbers):
    return update_epochs(len, None, None, data, KEY, PPO(**{"num_minibatches": 1} | numbers))


CASES = {
    "reward of a row": (lambda: target(reward=TWO), r"reward=float32\[2\]: wrong shape"),
    "end": (lambda: target(terminated=np.nan), "terminated=nan: no mask"),
    "values of the target": (lambda: target(next_target_q=THREE), r"next_target_q=float32\[3\]: wrong shape"),
    "discount of a target": (lambda: target(gamma=2.0), "gamma=2: out of range; allowed: 0 to 1"),
    "improvements": (
        lambda: dynamic_programming.policy_iteration(PROCESS, max_improvements=1.5),
        "max_improvements=1.5: no whole number",
    ),
    "half a sweep": (lambda: dynamic_programming.value_sweeps(PROCESS, 1.5), "num_sweeps=1.5: no whole number"),
    "policy of sweeps": (
        lambda: dynamic_programming.value_sweeps(PROCESS, 1, UNIFORM[None]),
        r"policy=\[1, 3, 4\]: wrong shape",
    ),
    "chances of sweeps": (
        lambda: dynamic_programming.value_sweeps(PROCESS, 1, 2 * UNIFORM),
        r"policy\[0\]=.*sums to",
    ),
    "no process": (
        lambda: mdp.make(np.zeros((0, 1, 1)), np.zeros((0, 1, 1)), 0, gamma=0.5),
        r"successor: shape \[0",
    ),
    "reward of outcomes": (
        lambda: mdp.make(np.zeros((1, 1, 1)), np.ones((1, 1, 1)), TWO, gamma=0.5),
        r"reward: shape \[2\]; allowed: what broadcasts to \[1, 1, 1\]",
    ),
    "action of a step": (
        lambda: ENVIRONMENT.step(KEY, ENVIRONMENT.reset(KEY)[0], 4),
        "action=4: out of range; allowed: 0 to 3, of 4 actions",
    ),
    "observations": (lambda: mdp.as_environment(PROCESS, 5, PAIRS * np.nan), r"observations\[0, 0\]=nan: not finite"),
    "discount of a learner": (lambda: check_environment(ENVIRONMENT, np.nan), "gamma=nan: out of range"),
    "keys of actions": (lambda: epsilon_greedy(ENVIRONMENT, KEYS[:1], np.ones((2, 4)), 0.5), "keys="),
    "actions of instances": (lambda: env_step(ENVIRONMENT, None, KEYS, np.array([0, -1])), r"action\[1\]=-1: out of"),
    "steps of an episode": (lambda: rollout_episode(ENVIRONMENT, None, KEY, 0), "max_steps=0: out of range"),
    "rows of observations": (lambda: imitated(action=np.zeros(2, int)), r"action=int32\[2\]: wrong shape"),
    "absorbing rows": (lambda: imitated(absorbing=PAIRS), r"absorbing=float32\[3, 2\]: wrong shape"),
    "action of an expert": (lambda: imitated(action=np.array([0, 2, 0])), r"action\[1\]=2: out of range"),
    "no action": (lambda: imitated(num_actions=0), "num_actions=0: out of range"),
    "weights of an expert": (lambda: judged(-THREE), r"weight\[0\]=-1: no mask"),
    "steps of a policy": (lambda: judged(policy=PAIRS[:1]), r"policy=float32\[1, 2\]: wrong shape"),
    "penalty": (lambda: judged(gradient_penalty=-1.0), "gradient_penalty=-1: out of range"),
    "cost of a row": (lambda: gradient_estimators.surrogate_loss(TWO, ONE), r"cost=float32\[2\]: wrong shape"),
    "baseline": (
        lambda: gradient_estimators.score_function_gradients(None, None, None, 0.0, KEYS, np.nan),
        "baseline=nan: not finite",
    ),
    "values of a variable": (
        lambda: gradient_estimators.enumerated_gradient(None, None, 0.0, 2.5),
        "count=2.5: no whole number",
    ),
    "probabilities of a variable": (
        lambda: gradient_estimators.enumerated_gradient(lambda p: p * THREE, jnp.float32, 1.0, 2),
        r"probabilities=float32\[3\]: wrong shape or dtype; allowed: \[2\]",
    ),
    "height of a map": (lambda: gridworld.open_map(1.5, 2), "height=1.5: no whole number"),
    "length of a corridor": (lambda: gridworld.corridor(2.5), "length=2.5: no whole number"),
    "chance to slip": (lambda: gridworld.make("..G", slip="often"), "slip='often': no number"),
    "values of states": (lambda: gridworld.on_grid(GRID, np.ones(4)), r"values=float32\[4\]: wrong shape"),
    "horizon": (lambda: inverse.soft_policy(PROCESS, THREE, -1), "horizon=-1: out of range"),
    "reward of states": (lambda: inverse.soft_policy(PROCESS, TWO, 2), r"reward=.*\[2\].*: wrong shape"),
    "trajectories": (lambda: inverse.demonstrate(PROCESS, UNIFORM[None], KEY, 2.5), "count=2.5: no whole number"),
    "policy without steps": (lambda: inverse.demonstrate(PROCESS, UNIFORM, KEY, 2), r"policy=float32\[3, 4\]: wrong"),
    "states of an expert": (lambda: inverse.visits(SHOWN._replace(num_states=0)), r"states\[0, 0\]=0: out of range"),
    "rate of Adam": (lambda: inverse.explain(PROCESS, SHOWN, learning_rate=0.0), "learning_rate=0: out of range"),
    "decay": (lambda: inverse.explain(PROCESS, SHOWN, l2=-1.0), "l2=-1: out of range; allowed: at least 0"),
    "pendulum": (lambda: pendulum_reward(TWO, np.ones(1), None), r"observation=float32\[2\]: wrong shape"),
    "population": (lambda: searched(population=10.5), "population=10.5: no whole number"),
    "deviations of a search": (lambda: searched(std=THREE), r"std=float32\[3\]: wrong shape"),
    "deviation of a search": (lambda: searched(std=-1.0), "std=-1: out of range; allowed: above 0"),
    "scores": (lambda: searched(score=lambda x: x), r"score=float32\[100, 2\]: wrong shape or dtype; allowed: \[100\]"),
    "width of an actor": (lambda: actor(ENVIRONMENT, -1), "width=-1: out of range; allowed: at least 1"),
    "width of a critic": (lambda: networks.actor_critic(ENVIRONMENT, 0), "width=0: out of range"),
    "width of two critics": (lambda: networks.actor_twin_critic(ENVIRONMENT, 0), "width=0: out of range"),
    "width of values": (lambda: networks.q_network(ENVIRONMENT, np.nan), "width=nan: no whole number"),
    "width of a memory": (lambda: networks.recurrent_actor_critic(ENVIRONMENT, 0), "width=0: out of range"),
    "values of an arm": (
        lambda: networks.q_network(CONTINUOUS),
        "environment='arm': continuous actions; allowed",
    ),
    "moments": (lambda: Moments.start((2,)).update(np.ones((3, 1))), r"x=float32\[3, 1\]: wrong shape"),
    "discount of a reward": (
        lambda: Normalizer.start(jnp.ones((3, 2)), False, True).update(PAIRS, THREE, THREE > 1, 1.5),
        "gamma=1.5: out of range",
    ),
    "value of next states": (lambda: td_target(STEP, PAIRS, OffPolicy()), r"next_value=float32\[3, 2\]: wrong shape"),
    "rewards of one episode": (lambda: score_weights(THREE), r"rewards=float32\[3\]: wrong shape"),
    "targets": (
        lambda: objective(None, THREE, STEP, THREE, np.ones((3, 1)), PPO()),
        r"target=float32\[3, 1\]: wrong shape or dtype; allowed: \[3\]",
    ),
    "rows of data": (lambda: trained((PAIRS, TWO)), "data: arrays of 3 and of 2 rows"),
    "no minibatch": (lambda: trained(num_minibatches=0), "num_minibatches=0: out of range"),
    "no epoch": (lambda: trained(num_epochs=0), "num_epochs=0: out of range"),
    "size of a buffer": (lambda: Replay.empty(STEP, 4.5, 2), "buffer_size=4.5: no whole number"),
    "rows of a buffer": (lambda: REPLAY.add(STEP._replace(reward=np.ones(1))), r"reward=float32\[1\]: wrong shape"),
    "empty buffer": (lambda: REPLAY.sample(KEY, 2), "written=0: out of range; allowed: at least 1"),
    "probability": (lambda: soft_value(np.ones((2, 3, 2)), PAIRS, 0.1, PAIRS), r"probability\[0\]=.*sums to 2"),
    "steps of a rollout": (lambda: step_keys(KEY, {"index": np.arange(2)}, 0), "num_steps=0: out of range"),
    "discount of a rollout": (lambda: collect(None, None, None, KEY, {}, 2, -0.5), "gamma=-0.5: out of range"),
    "part of the steps": (lambda: select(EPISODES, 1.5), "every=1.5: no whole number"),
    "seed": (lambda: select(EPISODES, 1, -1), "seed=-1: too small"),
    "half an episode": (lambda: EPISODES.first(0.5), "demonstrations=0.5: no whole number"),
    "no map": (lambda: gridworld.make(None), "text=None: no map"),
    "ends without rewards": (lambda: gridworld.make("..G", ends=["G"]), r"ends=\['G'\]: no letters"),
    "end of two letters": (lambda: gridworld.make("..G", ends={"GO": 1.0}), "ends=.*: no letters; allowed: one letter"),
    "reward of an end": (lambda: gridworld.make("..G", ends={"G": "one"}), r"ends=\['one'\]: no number"),
    "unequal rows": (
        lambda: mdp.make([[[0, 0]], [[0]]], [[[1.0]]], 0.0, gamma=0.9),
        "successor and probability: no arr",
    ),
    "absorbing number": (
        lambda: mdp.make(np.zeros((1, 1, 1)), np.ones((1, 1, 1)), 0.0, gamma=0.9, absorbing=0),
        "absorbing=0: no numbers of states; allowed: a list",
    ),
    "no discount": (
        lambda: mdp.make(np.zeros((1, 1, 1)), np.ones((1, 1, 1)), 0.0, gamma=None),
        "gamma=None: no number",
    ),
    "greedy values": (
        lambda: dynamic_programming.greedy_policy(PROCESS, THREE * np.nan),
        r"values\[0\]=nan: not finite",
    ),
    "values of actions": (
        lambda: epsilon_greedy(ENVIRONMENT, KEYS, np.full((2, 4), np.nan), 0.0),
        r"values\[0, 0\]=nan: not finite",
    ),
    "chances of actions": (lambda: Categorical(THREE * np.nan).sample(KEY), r"logits\[0\]=nan: no logit"),
    "best of no action": (lambda: Categorical(-THREE * np.inf).mode(), "logits: -inf of all"),
    "samples of no key": (
        lambda: gradient_estimators.pathwise_gradients(None, None, ONE, KEYS[:0]),
        r"keys.shape=\(0,\): none",
    ),
    "scores of no key": (
        lambda: gradient_estimators.score_function_gradients(None, None, None, ONE, KEYS[:0]),
        r"keys.shape=\(0,\): none",
    ),
    "no name": (lambda: make(None), "environment=None: no name"),
    "no file": (lambda: load(None), "demonstrations='None': no demonstrations"),
    "no limit": (lambda: time_limit(ENVIRONMENT, None), "max_steps=None: no whole number"),
    "no frames": (lambda: stack_frames(ENVIRONMENT, None), "num_frames=None: no whole number"),
    "no repeats": (lambda: repeat_actions(ENVIRONMENT, None), "num_repeats=None: no whole number"),
    "key of an episode": (lambda: record(ENVIRONMENT, None, KEY), "keys=.*: wrong shape"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_named(case):
    call, message = CASES[case]
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
