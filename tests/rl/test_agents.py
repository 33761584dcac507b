"""What a report of reinforcement learning shows."""

import functools
import re
import types
from typing import Any, NamedTuple

import chex
import jax
import numpy as np
import pytest

from dlcore.cost.memory import memory_report
from dlcore.diagnostics.trivial import baseline
from dlcore.evaluators.returns import EpisodeReport, Returns, film_episode, return_panels
from dlcore.experiment.flags import Flags
from dlcore.experiment.resolve import resolve
from dlcore.learner import Learner, State
from dlcore.modes import finish
from dlcore.optim.annealed_adam import AnnealedAdam
from dlcore.rl import environments, networks
from dlcore.rl import gymnax_environments as tasks_environments
from dlcore.rl.agents import Agent
from dlcore.rl.gymnax_environments import GymnaxEnvironments
from dlcore.setting import FlagError
from experiments.rl import dqn as dqn_page
from experiments.rl import model_based as model_based_page
from experiments.rl import ppo as ppo_page
from experiments.rl import recurrent_ppo as recurrent_page
from experiments.rl import sac as sac_page
from experiments.rl import td3 as td3_page
from tests.overriding import run_of

FLAGS = {
    **vars(GymnaxEnvironments(num_seeds=2)),
    "batch_size": 4,
    "num_steps": 8,
    "seed": 0,
}


class Trained(NamedTuple):
    """The state of an agent, of which a film needs the parameters alone."""

    params: Any


def setup(**flags):
    return run_of(Flags({**FLAGS, **flags}), steps=10, dtype=np.float32)


def run(data, network=None, **technique):
    parts = types.SimpleNamespace(data=data, network=network, technique=functools.partial(dict, **technique))
    return types.SimpleNamespace(parts=parts, steps=10, dtype=np.float32, seed=0)


def test_the_axis_counts_the_steps_of_the_environments():
    history = [
        {"step": s, "split": "train", "return": 1.0 * s, "return/seed0": 1.0 * s, "examples_per_second": 3.0 * s}
        for s in (1, 2, 3)
    ]
    context = types.SimpleNamespace(history=history, flags=setup().flags)
    by_seed, joined = return_panels(context)
    assert by_seed.title == "Return of finished episodes, by seed"
    assert "seed 0 3" in by_seed.html
    for panel in (by_seed, joined):
        assert "environment steps</text>" in panel.html
        assert ">step</text>" not in panel.html
    ticks = [int(text) for text in re.findall(r">(\d+)</text>", joined.html)]
    assert max(ticks) > 60  # 3 steps of 4 instances with rollouts of 8
    assert "environment_steps_per_second</b>" in joined.html
    assert "train 72<" in joined.html  # 9 instances a second, 8 steps each


def test_the_rate_falls_to_zero():
    rate = AnnealedAdam(learning_rate=0.5).rate_of_step(10)
    assert [rate(step) for step in (0, 5, 10)] == [0.5, 0.25, 0.0]


def test_as_many_seeds_learn_as_asked_for():
    learner = Learner(lambda rng, batch: State(0, rng, {"w": np.zeros(2)}, None), None, None, None)
    state = jax.eval_shape(GymnaxEnvironments(num_seeds=3).wrap(learner, None).init, jax.random.key(0), {})
    chex.assert_shape(state.params["w"], (3, 2))


@pytest.mark.slow
def test_the_optimizers_of_all_seeds_are_counted():
    flags = resolve(ppo_page.experiment, ["--num_seeds=2", "--batch_size=4"])
    learner = ppo_page.experiment.run(flags, {}, 10, np.float32).build()
    state = jax.eval_shape(learner.init, jax.random.key(0), {"index": np.arange(4, dtype=np.int32)})
    report = memory_report(state, {})
    assert report["optimizer"] == pytest.approx(2 * report["parameters"], abs=100)  # Adam's two moments, and counts


def test_an_episode_is_recorded_until_it_ends():
    environment = environments.make("CartPole-v1")
    episode = environments.trace(environment, lambda key, memory, x: (memory, 1), (), jax.random.key(0), 30)
    states, seen, n = episode.state, episode.observation, int(episode.running.sum())
    assert 5 < n < 15  # pushed to the right alone, the pole falls
    np.testing.assert_array_equal(states.time[:n], np.arange(n))
    np.testing.assert_allclose(states.theta[:n], seen[:n, 2])
    assert (np.abs(states.theta[:n]) < 12 * np.pi / 180).all()  # where the episode ends


@pytest.mark.weekly
def test_an_environment_without_pictures_has_no_episode():
    flags = setup(environment="Catch-bsuite", num_seeds=1).flags
    network = networks.ActorCritic(3, width=4)
    params = network.init(jax.random.key(0), np.zeros((1, 10, 5)))["params"]
    context = types.SimpleNamespace(
        history=[{"step": 1, "split": "train", "return": 1.0}], flags=flags, state=types.SimpleNamespace(params=params)
    )
    agent = Agent(networks.actor_critic, networks.ActorCritic, {"width": 4})
    panels = EpisodeReport().panels(context, run(GymnaxEnvironments("Catch-bsuite", num_seeds=1), agent))
    assert [panel.title for panel in panels] == ["Learning curves"]


@pytest.mark.parametrize(
    ("page", "words", "message"),
    [
        (
            ppo_page,
            ["--num_minibatches=1000000000"],
            "=1000000000: not a divisor of the 2048 steps of a rollout; allowed",
        ),
        (
            ppo_page,
            ["--num_minibatches=3"],
            "=3: not a divisor of the 2048 steps of a rollout; allowed: divisors of 2048",
        ),
        (ppo_page, ["--num_minibatches=2048"], "=2048: minibatches of one step; allowed: at most 1024, of 2 steps"),
        (
            recurrent_page,
            ["--num_minibatches=16", "--num_steps=1"],
            "=16: minibatches of one step; allowed: at most 8, of 2 steps",
        ),
        (recurrent_page, ["--num_minibatches=32"], "=32: not a divisor of the 16 instances; allowed: divisors of 16"),
        (
            dqn_page,
            ["--buffer_size=3", "--minibatch_size=64"],
            "=3: 48 steps of 16 instances; allowed: at least 4, for",
        ),
        (
            model_based_page,
            ["--known_reward=true", "--environment=CartPole-v1"],
            "=True: unknown for CartPole-v1; allowed: false, and true for Pendulum-v1",
        ),
        (
            dqn_page,
            ["--learning_starts=256", "--num_steps=64", "--steps=4"],
            "=256: each instance takes 256 steps, so that no gradient step follows; allowed: below 256, or more",
        ),
        (td3_page, ["--learning_starts=1000000"], "=1000000: each instance takes [0-9]+ steps, so that no gradient"),
        (sac_page, ["--learning_starts=1000000"], "=1000000: each instance takes [0-9]+ steps, so that no gradient"),
        (dqn_page, ["--buffer_size=1000000000"], r"=1000000000: takes 1,360.0 GB or more of [\d,.]+ GB of memory"),
    ],
)
def test_minibatches_buffers_and_rewards_are_checked_by_the_flags_alone(page, words, message):
    """PPO: 32 instances of 64 steps; DQN: 16 instances, 64 steps at once, 5 seeds of 2 x 4 + 9 bytes a step."""
    flag = words[0].partition("=")[0]
    with pytest.raises(FlagError, match=f"^{flag}{message}"):
        page.experiment.run(resolve(page.experiment, words)).check()
    page.experiment.run(resolve(page.experiment, [])).check()


def test_an_unknown_environment_is_refused_by_the_flags_alone():
    with pytest.raises(ValueError, match=r"^environment='Foo': unknown; allowed: names of gymnax such as"):
        ppo_page.experiment.run(resolve(ppo_page.experiment, ["--environment=Foo"])).check()


@pytest.mark.slow
def test_random_actions_stand_beside_the_test_return_alone():
    """A pole falls after about 22 steps of random actions; where actions are classes there is no action of zero."""
    cart = run(GymnaxEnvironments("CartPole-v1"))
    assert Returns().evaluators(cart, None, "valid") == []
    (evaluator,) = Returns().evaluators(cart, None, "test")
    numbers = evaluator.finish(evaluator.add(None, {}, {}))
    assert [*numbers] == ["random_return"]
    assert 15 < numbers["random_return"] < 30
    found = baseline("return", numbers, {})
    assert found == (numbers["random_return"], "random actions")
    assert finish._baseline_card("return", found) == {"baseline: random actions": f"{numbers['random_return']:.4g}"}


def test_validation_and_test_are_different_episodes_and_training_has_the_instances():
    splits = GymnaxEnvironments("CartPole-v1", eval_episodes=3).load(batch_size=4)
    assert (len(splits.train), splits.train.name) == (4, "environments")
    for part, name, episodes in ((splits.valid, "validation", [0, 1, 2]), (splits.test, "test", [3, 4, 5])):
        assert (part.name, part.arrays["episode"].tolist()) == (f"{name} episodes", episodes)
        assert part.arrays["episode"].dtype == np.int32
    assert splits.spec == {"dataset": "CartPole-v1", "counts": "episodes"}


def test_adam_has_a_rate_that_falls_over_all_gradient_steps_and_clips_the_norm():
    """Ten steps of three updates are 30 gradient steps: the second one has the rate 0.5 * 29 / 30.

    Gradients 1 and 0.25, clipped to 0.25, are equal, and Adam then moves a weight by the rate itself.
    """
    adam = AnnealedAdam(learning_rate=0.5, max_grad_norm=0.25, updates=lambda values: values["rounds"])
    weight, optimizer = np.float32(0), adam.arguments(run(None, rounds=3))["optimizer"]
    state, moves = optimizer.init(weight), []
    for gradient in (1.0, 0.25):
        move, state = optimizer.update(np.float32(gradient), state, weight)
        moves.append(float(move))
    assert moves == pytest.approx([-0.5, -0.5 * 29 / 30], rel=1e-4)
    constant = AnnealedAdam(learning_rate=0.5, lr_schedule="constant").rate_of_step(10)
    assert [constant(step) for step in (0, 5, 10)] == [0.5] * 3


def test_wrappers_are_put_around_an_environment_in_their_order_and_only_where_asked_for(monkeypatch):
    """Each stand-in of a wrapper adds its name and its argument to a tuple."""
    monkeypatch.setattr("dlcore.rl.environments.make", lambda name: (name,))
    for name in ("mask_velocities", "time_limit", "repeat_actions", "stack_frames"):
        monkeypatch.setattr(f"dlcore.rl.wrappers.{name}", lambda inner, *args, name=name: (*inner, (name, *args)))
    build = tasks_environments.environment_of
    assert build(setup(environment="e").flags) == ("e",)
    assert build(setup(environment="e", time_limit=1).flags) == ("e", ("time_limit", 1))
    for name in ("repeat_actions", "stack_frames"):
        assert build(setup(environment="e", **{name: 2}).flags) == ("e", (name, 2))
    everything = {"mask_velocities": True, "time_limit": 9, "repeat_actions": 3, "stack_frames": 4}
    assert build(setup(environment="e", **everything).flags) == (
        *("e", ("mask_velocities",), ("time_limit", 9), ("repeat_actions", 3), ("stack_frames", 4)),
    )

    def refuse(inner, *args):
        raise ValueError("no")

    monkeypatch.setattr("dlcore.rl.wrappers.mask_velocities", refuse)
    with pytest.raises(FlagError, match=r"^--mask_velocities: no$"):
        build(setup(environment="e", mask_velocities=True).flags)


def test_steps_of_several_rollouts_are_counted_and_a_history_without_seeds_has_no_curve_of_seeds():
    """Two rollouts take 16 steps in each of four instances, so that step 3 of the run comes after 192 of them."""
    flags = Flags({**FLAGS, "num_rollouts": 2})
    history = [{"step": step, "split": "train", "return": 1.0} for step in (1, 2, 3)]
    (joined,) = return_panels(types.SimpleNamespace(history=history, flags=flags))
    assert max(int(text) for text in re.findall(r">(\d+)</text>", joined.html)) > 150


@pytest.mark.parametrize(
    ("num_seeds", "length", "steps", "told", "milliseconds"),
    [
        (2, 199, range(199), "Seed 1,.* 199 steps, each step shown", 40),
        (1, 200, range(0, 200, 2), "Seed 0,.* 200 steps, one step in 2 shown", 80),
        (1, 30, range(30), "Seed 0,.* 30 steps, each step shown", 40),
    ],
)
def test_the_film_is_of_the_best_seed_in_at_most_about_a_hundred_frames(
    monkeypatch, num_seeds, length, steps, told, milliseconds
):
    """Of three episodes the first seed's mean return is 3, the second one's 4.

    Each seed's network prefers the action of its number.
    The observation of step t in the episode is 10 t plus the action of the policy.
    """
    shown = []

    def trace(environment, policy, memory, key, max_steps):
        _, action = policy(key, memory, np.zeros(1))
        t = np.arange(max_steps)
        return environments.Episode(t, 10 * t + action, t, t, t < length, t)

    monkeypatch.setattr("dlcore.rl.environments.trace", trace)
    monkeypatch.setattr(
        "dlcore.report.environments.draw_environment", lambda name, state, seen: (int(state), int(seen))
    )
    monkeypatch.setattr("dlcore.report.film.film", lambda frames, *texts: shown.append((frames, texts)) or "film")
    context = types.SimpleNamespace(
        flags=setup(num_seeds=num_seeds).flags,
        state=types.SimpleNamespace(inner=Trained(np.eye(2)), params=np.eye(2)[0]),
        outputs={"return": np.array([[1.0, 9], [7, 2], [1, 1]])},
    )
    model = types.SimpleNamespace(apply=lambda variables, observations: variables["params"][None])
    environment = types.SimpleNamespace(max_steps=300)
    assert film_episode(context, environment, model) == ["film"]
    ((frames, (_, caption, interval)),) = shown
    assert frames == [(step, 10 * step + num_seeds - 1) for step in steps]
    assert re.match(told, caption)
    assert interval == milliseconds
    monkeypatch.setattr("dlcore.report.environments.draw_environment", lambda *args: None)
    assert film_episode(context, environment, model) == []


def test_a_filmed_policy_normalizes_remembers_and_takes_the_mode_of_its_first_output(monkeypatch):
    """Observations of 3 become (3 + 1) 10 = 40; the memory begins with 5 for one instance, and counts the steps.

    The network gives its memory plus 1, and (a distribution, values): its mode is the observation plus the old memory.
    """
    played = []

    def trace(environment, policy, memory, key, max_steps):
        for _ in range(2):
            memory, action = policy(key, memory, np.array([3.0]))
            played.append((np.asarray(memory).tolist(), np.asarray(action).tolist()))
        t = np.arange(max_steps)
        return environments.Episode(types.SimpleNamespace(inner=t), t, t, t, t < 1, t)

    def apply(variables, memory, observations):
        mode = observations + memory[:, None] + variables["params"]
        return memory + 1, (types.SimpleNamespace(mode=lambda: mode), "values")

    seen = []
    monkeypatch.setattr("dlcore.rl.environments.trace", trace)
    monkeypatch.setattr("jax.jit", lambda function: function)
    monkeypatch.setattr("jax.device_get", lambda episode: episode)
    monkeypatch.setattr("dlcore.report.environments.draw_environment", lambda *rest: seen.append(rest))
    normalizer = types.SimpleNamespace(normalize_obs=lambda observation: 10 * (observation + 1))
    context = types.SimpleNamespace(
        flags=setup(num_seeds=1).flags, state=types.SimpleNamespace(params=100, normalizer=normalizer), outputs={}
    )
    model = types.SimpleNamespace(apply=apply, memory=lambda count: np.full(count, 5.0))
    assert film_episode(context, types.SimpleNamespace(max_steps=2), model) == []
    assert played == [([6.0], [145.0]), ([7.0], [146.0])]
    assert [int(state) for _, state, _ in seen] == [0], "the state of the environment itself, without its wrappers"
