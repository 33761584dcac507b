"""An expert is trained, found again and recorded once; what it cannot be is refused in one line."""

import types

import jax
import numpy as np
import pytest

from dlcore.experiment.catalog import find_experiment
from dlcore.experiment.resolve import resolve
from dlcore.kits.training import earlier_run
from dlcore.main import run
from dlcore.rl import demonstrations, networks
from dlcore.tasks import imitation

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
    first = imitation.record_expert(flags(f"--expert={expert}"))
    assert len(first.length) == imitation.NUM_RECORDED
    phase, length = earlier_run.load(expert), first.length[0]
    model, observation, played = networks.ActorCritic(2, 8), first.observation[0, :length], first.action[0, :length]
    seeds = [jax.tree.map(lambda x, k=k: x[k], phase.params) for k in range(3)]
    chosen = [np.asarray(model.apply({"params": params}, observation)[0].mode()) for params in seeds]
    assert any((actions == played).all() for actions in chosen)
    file = expert / "demonstrations.npz"
    written = file.stat().st_mtime_ns
    splits = find_experiment(PAGE).data(flags(f"--demonstrations={file}", "--num_demonstrations=2", "--every=3"))
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
    assert status == 1
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
