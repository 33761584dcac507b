"""An expert is trained, found again and recorded once; what it cannot be is refused in one line."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.evaluators import imitation
from dlcore.experiment.flags import Flags
from dlcore.experiment.resolve import resolve
from dlcore.learner import Learner
from dlcore.main import run
from dlcore.optim import annealed_adam
from dlcore.rl import agents, demonstrations, gail, networks
from dlcore.setting import with_flags
from dlcore.weights import earlier_run
from dlcore.weights import expert as expert_parts
from experiments import find_experiment

PAGE = "rl.behavior_cloning"


@pytest.fixture(scope="module")
def expert(tmp_path_factory):
    """The folder of a run of rl.ppo with three seeds."""
    folder = tmp_path_factory.mktemp("expert") / "run"
    words = ["--smoke", f"--run_dir={folder}", "--network.width=8", "--eval_episodes=2", "--progress=false"]
    assert run(find_experiment("rl.ppo"), words) == 0
    return folder


def flags(*words):
    return resolve(find_experiment(PAGE), ["--smoke", *words])


@pytest.mark.weekly
def test_the_best_seed_is_recorded_once(expert):
    first = expert_parts.record_expert(flags(f"--expert={expert}"))
    assert len(first.length) == expert_parts.NUM_RECORDED
    phase, length = earlier_run.load(expert), first.length[0]
    model, observation, played = networks.ActorCritic(2, 8), first.observation[0, :length], first.action[0, :length]
    seeds = [jax.tree.map(lambda x, k=k: x[k], phase.params) for k in range(3)]
    chosen = [np.asarray(model.apply({"params": params}, observation)[0].mode()) for params in seeds]
    assert any((actions == played).all() for actions in chosen)
    file = expert / "demonstrations.npz"
    written = file.stat().st_mtime_ns
    splits = find_experiment(PAGE).run(flags(f"--demonstrations={file}", "--num_demonstrations=2", "--every=3")).load()
    assert file.stat().st_mtime_ns == written
    chosen = demonstrations.select(first.first(2), 3)
    np.testing.assert_array_equal(splits.train.arrays["observation"], chosen["observation"])
    assert splits.spec["expert_return"] == pytest.approx(first.mean_return)
    assert 10 < splits.spec["random_return"] < 40
    assert len(splits.valid) == len(splits.test) == 20


@pytest.mark.slow
@pytest.mark.weekly(only=["words0---environment=Acrobot-v1: the demonstrations are of another; allowed: CartPole-v1"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--environment=Acrobot-v1"],
            "--environment=Acrobot-v1: the demonstrations are of another; allowed: CartPole-v1",
        ),
        (["--expert=nowhere"], "--expert=nowhere: no such run; allowed: the folder of a run of rl.ppo"),
        (["--demonstrations=nowhere.npz"], "--demonstrations=nowhere.npz: no demonstrations; allowed: a file of"),
    ],
)
def test_other_demonstrations_are_one_clear_line(expert, tmp_path, capsys, words, message):
    given = [] if "=nowhere" in words[0] else [f"--expert={expert}"]
    status = run(find_experiment(PAGE), ["--smoke", f"--runs={tmp_path}", *given, *words])
    assert status == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_returns_stand_beside_the_experts_by_hand(monkeypatch):
    """Two seeds on two episodes: means of (1 + 3) / 2 = 2 and (2 + 6) / 2 = 4, together 3."""
    monkeypatch.setattr("dlcore.report.tables.table", lambda rows, title, subtitle: (rows, subtitle))
    context = types.SimpleNamespace(
        outputs={"return": np.array([[1.0, 2.0], [3.0, 6.0]])},
        spec={"expert_return": 9.04, "random_return": 0.25},
        numbers={"clone_return": 5.0},
        flags=types.SimpleNamespace(num_demonstrations=2, every=5),
    )
    rows, subtitle = imitation._comparison(context)
    assert [list(row.values()) for row in rows] == [
        ["expert", 9.0],
        ["this policy", 3.0, "2.0, 4.0"],
        ["behavior cloning of the same steps", 5.0],
        ["random policy", 0.2],
    ]
    assert subtitle == "The expert showed one step in 5 of 2 episodes."
    context.numbers, context.outputs = {}, {"return": np.array([1.0, 3.0])}
    context.flags = types.SimpleNamespace(num_demonstrations=1, every=1)
    rows, subtitle = imitation._comparison(context)
    assert [list(row.values()) for row in rows] == [["expert", 9.0], ["this policy", 2.0], ["random policy", 0.2]]
    assert subtitle == "The expert showed all steps of 1 episode."


FLAGS = Flags(
    {
        "environment": "CartPole-v1", "time_limit": 0, "mask_velocities": False, "stack_frames": 1, "repeat_actions": 1,
        "demonstrations": None, "expert": None, "expert_steps": 70, "smoke": False, "seed": 3, "every": 1,
        "num_demonstrations": 2, "eval_episodes": 4, "batch_size": 5, "discriminator_learning_rate": 0.5,
    }
)  # fmt: skip
EPISODES = demonstrations.Demonstrations(
    "CartPole-v1",
    np.arange(36, dtype=np.float32).reshape(3, 3, 4),
    np.array([[0, 1, 0], [1, 1, 0], [0, 0, 0]]),
    np.array([2, 3, 1], np.int32),
    np.array([True, False, True]),
    np.array([2.0, 3.0, 4.0]),
)


class Threshold:
    """A policy that acts by its one parameter: the most probable action is w times the first number."""

    def init(self, key, observation):
        assert observation.shape == (1, 4)
        return {"params": {"w": 7}}

    def apply(self, variables, observations):
        actions = variables["params"]["w"] * observations[:, 0]
        return types.SimpleNamespace(mode=lambda: actions), None


@pytest.fixture
def toy(monkeypatch):
    """An environment that is not played: an expert's return is its action on ones; returns what was recorded."""
    recorded = []

    def record(environment, policy, keys):
        action = policy(keys[0], np.ones(4))
        recorded.append((environment, float(action), len(keys)))
        return EPISODES._replace(total=np.full(3, float(action)))

    environment = types.SimpleNamespace(
        name="CartPole-v1", observation_shape=(4,), action_size=0, num_actions=2, max_steps=500,
        reset=lambda key: (None, np.zeros(4)),
    )  # fmt: skip
    monkeypatch.setattr(expert_parts, "environment_of", lambda flags: environment)
    monkeypatch.setattr(expert_parts.demos, "record", record)
    monkeypatch.setattr(expert_parts.networks, "actor_critic", lambda environment, **fields: Threshold())
    return environment, recorded


def run_of(flags, data=None):
    parts = types.SimpleNamespace(data=data, technique=functools.partial(dict))
    return types.SimpleNamespace(flags=flags, spec={}, seed=flags.seed, steps=10, parts=parts)


def splits_of(flags, adversarial=False):
    data = with_flags(expert_parts.Demonstrations(adversarial=adversarial), flags)
    return data.finish_data(data.load(batch_size=5), run_of(flags))


def test_the_default_expert_is_trained_in_the_same_environment_and_its_best_seed_recorded_once(
    toy, monkeypatch, tmp_path
):
    environment, recorded = toy
    found, phase = [], types.SimpleNamespace(
        flags=types.SimpleNamespace(normalize_observation=False, num_seeds=3, group=lambda name: {}),
        params={"w": np.array([1, 3, 2])},
    )  # fmt: skip
    monkeypatch.setattr(earlier_run, "find_or_train", lambda flags, *rest: found.append(rest) or tmp_path)
    monkeypatch.setattr(earlier_run, "load", lambda folder: phase)
    assert expert_parts.record_expert(FLAGS, "the page").mean_return == 3
    assert recorded == [(environment, action, 16) for action in (1, 3, 2)]
    argument, page, words = found[0]
    assert (argument, page, words[-2:]) == ("expert", "the page", ["--num_seeds=1", "--steps=70"])
    assert words[:2] == ["--environment=CartPole-v1", "--time_limit=0"]
    assert words[2:-2] == ["--mask_velocities=False", "--stack_frames=1", "--repeat_actions=1"]
    assert expert_parts.record_expert(FLAGS).mean_return == 3
    assert len(recorded) == 3, "read from the file"
    # A smoke run of a named expert has no number of steps; without one, an untrained network plays four episodes.
    expert_parts.record_expert(FLAGS.replace(smoke=True, expert="run"))
    assert found[-1][2][-1] == "--num_seeds=1"
    assert expert_parts.record_expert(FLAGS.replace(smoke=True)).mean_return == 7
    assert recorded[-1] == (environment, 7, 4)
    (tmp_path / "demonstrations.npz").unlink()
    phase.flags.normalize_observation = True
    with pytest.raises(ValueError, match="the expert sees normalized observations; allowed: a run without --normalize"):
        expert_parts.record_expert(FLAGS)
    phase.flags.normalize_observation, phase.flags.num_seeds, phase.params = False, 1, {"w": 5}
    assert expert_parts.record_expert(FLAGS).mean_return == 5


def test_the_steps_of_the_first_episodes_are_the_data_and_returns_are_said(toy, monkeypatch, tmp_path):
    """Two episodes of two and of three steps; the first ends, so that GAIL gets a sixth step that is absorbing."""
    demonstrations.save(tmp_path / "file.npz", EPISODES)
    flags = FLAGS.replace(demonstrations=str(tmp_path / "file.npz"))
    monkeypatch.setattr(expert_parts, "trivial_returns", lambda environment: {"random_return": 0.5})
    splits = splits_of(flags)
    assert splits.train.arrays["action"].tolist() == [0, 1, 1, 1, 0]
    np.testing.assert_array_equal(splits.train.arrays["observation"][:, 0], [0, 4, 12, 16, 20])
    assert splits.notes == ("5 steps of 2 episodes; the expert's return is 3.0",)
    assert (splits.spec["expert_return"], splits.spec["random_return"]) == (3, 0.5)
    both = splits_of(flags, adversarial=True)
    assert both.train["demonstrations"].arrays["absorbing"].tolist() == [False] * 5 + [True]
    assert (len(both.train["environments"]), len(both.test)) == (5, 4)
    with pytest.raises(ValueError, match="demonstrations=5: not that many; allowed: 1 to 3 episodes"):
        splits_of(flags.replace(num_demonstrations=5))
    assert len(splits_of(flags.replace(num_demonstrations=5, smoke=True)).train) == 6


def test_a_clone_learns_from_the_steps_that_are_not_absorbing_and_is_measured_on_episodes(monkeypatch):
    """A learner starts from the sum of 1 + 2 and adds the actions' sum 5 three times; it returns 18 + 1 and 18 + 3."""

    def learner(**settings):
        assert settings["model"] == "actor of cart"
        return Learner(
            lambda key, batch: batch["observation"].sum() + 0 * batch["index"][1],
            lambda state, batch: (state + batch["action"].sum(), {}),
            None,
            lambda state, episodes: {"return": state + episodes["episode"]},
        )

    monkeypatch.setattr(imitation.behavior_cloning, "actor", lambda environment: f"actor of {environment}")
    monkeypatch.setattr(imitation.behavior_cloning, "learner", learner)
    steps = {
        "observation": np.array([1, 2, 9]),
        "action": np.array([2, 3, 9]),
        "absorbing": np.array([False, False, True]),
    }
    measure = imitation.clone_return("cart", steps, {"episode": np.array([1, 3])}, 3)
    assert measure(jax.random.key(0)) == 20


def test_cloning_is_measured_at_the_end_alone(toy, monkeypatch):
    """A return of three times the steps that are cloned, 1,000 or two in a smoke run."""

    def clone_return(environment, demonstrations, episodes, steps):
        assert (demonstrations, episodes["episode"].tolist()) == ("steps", [5, 6])
        return lambda key: jnp.float32(3 * steps)

    monkeypatch.setattr(imitation, "clone_return", clone_return)
    train = {"demonstrations": types.SimpleNamespace(arrays="steps")}
    splits = Splits(train, None, Source({"episode": np.array([5, 6])}), {})
    cloned, data = imitation.ReturnBesideExpert(clone=True), expert_parts.Demonstrations()
    for smoke, value in ((False, 3000), (True, 6)):
        (evaluator,) = cloned.evaluators(run_of(FLAGS.replace(smoke=smoke), data), splits, "test")
        assert evaluator.finish(evaluator.add(None, None, None)) == {"clone_return": value}
        assert evaluator.names == ("clone_return",)
    assert cloned.evaluators(None, splits, "valid") == []
    assert imitation.ReturnBesideExpert().evaluators(None, splits, "test") == []


def test_the_discriminator_has_its_own_fields_and_rate():
    run = run_of(FLAGS, expert_parts.Demonstrations("CartPole-v1"))
    networks_of_both = agents.AgentAndDiscriminator(
        networks.actor_critic, networks.ActorCritic, {"width": 5}, discriminator={"width": 6}
    ).arguments(run)
    assert networks_of_both == {"model": networks.ActorCritic(2, 5), "discriminator": gail.Discriminator(width=6)}
    arguments = annealed_adam.AdversarialAdam(discriminator_learning_rate=0.5).arguments(run)
    optimizer, params = arguments["discriminator_optimizer"], {"w": jnp.zeros(1)}
    step = jax.jit(lambda: optimizer.update({"w": jnp.ones(1)}, optimizer.init(params), params)[0])()
    assert float(step["w"][0]) == pytest.approx(-0.5, rel=1e-4)  # Adam's first step is its rate


def test_the_expert_is_a_run_of_ppo_and_returns_stand_before_the_curves(monkeypatch, bare_panels):
    monkeypatch.setattr(earlier_run, "origin", lambda *rest: rest)
    assert expert_parts.Demonstrations().settings["expert"].origin("flags") == ("flags", "expert", "rl.ppo")
    monkeypatch.setattr("dlcore.report.tables.table", lambda rows, title, subtitle: title)
    monkeypatch.setattr(imitation, "split_by_seed", lambda history: (f"{history} of one seed", None))
    context = types.SimpleNamespace(
        outputs={"return": np.zeros(2)}, spec={"expert_return": 1.0, "random_return": 0.0}, numbers={}, flags=FLAGS,
        history="curves",
    )  # fmt: skip
    assert imitation.ReturnBesideExpert().panels(context, None) == ["Returns"]
    assert imitation.seed_curves(context) == ["curves of one seed"]
