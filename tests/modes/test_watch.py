"""`--watch`: snapshots are taken, saved through a resume, and shown; the log holds the four things to watch."""

import json
from types import SimpleNamespace

import jax
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.classification import supervised
from dlcore.data.digits import digits
from dlcore.data.pipeline import Pipeline, batch_at
from dlcore.main import run
from dlcore.models import create_model
from dlcore.modes import watch as watch_module
from dlcore.modes.watch import Watch, kernels_in_order, watch_hooks
from dlcore.run import fit
from experiments.classification.supervised import experiment
from tests.overriding import with_run

SMALL = ["--batch_size=32", "--augment=none", "--log_every=10", "--progress=false"]
MLP = [*SMALL, "--model=mlp", "--model.hidden=32,16"]


def planted(model):
    def build(run):
        return supervised.learner(model=model, optimizer=run.optimizer(), preprocess=run.arguments()["preprocess"])

    return with_run(experiment, build=build)


class Dead(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        bias = nn.initializers.constant(-100.0)
        x = nn.relu(nn.Dense(16, bias_init=bias, name="hidden")(x.reshape(x.shape[0], -1)))
        return nn.Dense(10, name="head")(x)


class Convolution(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.Conv(4, (3, 3), strides=2, name="conv1")(x))
        return nn.Dense(10, name="head")(x.reshape(x.shape[0], -1))


@pytest.mark.slow
@pytest.mark.covers("TR-09")
def test_a_watched_run_shows_loss_accuracies_ratios_and_filters(tmp_path):
    words = [*SMALL, "--watch=10", "--log_every=2", "--steps=20", "--eval_every=10", f"--run_dir={tmp_path / 'run'}"]
    assert run(planted(Convolution()), words) == 0
    report = (tmp_path / "run" / "report.html").read_text()
    for title in (
        "Learning curves",
        "What the curves say",
        "First-layer filters",
        "Updates and gradients",
        "Activations",
        "Memory of a step",
    ):
        assert f"<h2>{title}" in report, title
    assert "conv1/kernel" in report
    rows = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert '"split": "train"' in rows
    assert '"split": "valid"' in rows


@pytest.mark.weekly
def test_snapshots_are_as_far_apart_as_asked_and_survive_a_resume(tmp_path):
    learner = supervised.learner(model=create_model("mlp", num_classes=10), optimizer=optax.sgd(0.01))
    pipeline = Pipeline(digits("train"), 32)

    def go(steps):
        watch = Watch(learner, batch_at(pipeline, 0), 20)
        fit(learner, pipeline, steps=steps, folder=tmp_path, hooks=[watch], log_every=10, progress=False)
        return [snapshot["step"] for snapshot in watch.memory["snapshots"]]

    assert go(50) == [10, 30, 50]
    assert go(90) == [10, 30, 50, 70, 90]


def look(dead, ratio):
    """Return what a snapshot of one activation and one kernel measures."""
    activation = {"std": 1.0, "dead": dead, "finite": True}
    return {"updates": {"a/kernel": ratio}, "gradients": {}, "activations": {"relu": activation}}


@pytest.fixture
def watched(monkeypatch):
    """Watch every 20 steps; the state of a call is the fraction of dead units that its snapshot finds."""
    monkeypatch.setattr(watch_module, "snapshot", lambda learner, state, batch: look(state, 0.5))
    return Watch("learner", np.zeros(1), 20)


def test_snapshots_are_at_least_as_far_apart_as_asked_and_the_memory_is_json(watched, capsys):
    for step in (1, 10, 20, 21, 30, 45):
        watched(step, 0.0, {})
    assert [seen["step"] for seen in watched.memory["snapshots"]] == [1, 21, 45]
    assert watched.memory["next"] == 65
    assert json.loads(json.dumps(watched.memory)) == watched.memory
    assert capsys.readouterr().out == "", "an update that is too large is for the report alone"
    with pytest.raises(ValueError, match="every=0: too small; allowed: at least 1"):
        Watch(None, None, 0)


def test_a_finding_is_said_when_its_kind_is_new(watched, capsys):
    for step, dead in ((20, 0.0), (40, 0.5), (60, 0.75)):
        watched(step, dead, {})
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in said] == ["step 40"]
    assert "50% of the units of relu give 0" in said[0]


def test_a_run_is_watched_in_one_process_and_under_jit(monkeypatch):
    def run(watch):
        flags = SimpleNamespace(watch=watch, replace=lambda **words: words)
        training = SimpleNamespace(build=lambda: "learner")
        return SimpleNamespace(flags=flags, training=lambda spec, flags: training)

    setup = SimpleNamespace(spec="spec")
    assert watch_hooks(run(0), setup, "batch") == []
    (hook,) = watch_hooks(run(5), setup, "batch")
    assert (hook.every, hook.batch) == (5, "batch")
    monkeypatch.setattr(watch_module.jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match=r"^--watch=5: there are 2 processes; allowed: one process$"):
        watch_hooks(run(5), setup, "batch")
    assert watch_hooks(run(0), setup, "batch") == []


class Reversed(nn.Module):
    """A network that uses its layers against the order of their names, with a norm between them that has no kernel."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(2, name="c_first")(x.reshape(x.shape[0], -1))
        return nn.Dense(10, name="a_last")(nn.LayerNorm(name="norm")(x))


def test_kernels_come_in_the_order_of_use():
    learner = supervised.learner(model=Reversed(), optimizer=optax.sgd(0.01))
    label = np.zeros(2, np.int32)
    batch = {"image": np.zeros((2, 2, 3, 1), np.float32), "label": label, "index": label}
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    assert kernels_in_order(learner, state, batch) == ["c_first/kernel", "a_last/kernel"]
    watch = Watch(learner, batch, 1)
    gradients = {"c_first/kernel": {"norm": 1e-9, "finite": True}, "a_last/kernel": {"norm": 1.0, "finite": True}}
    watch.memory["snapshots"] = [{"step": 1, "updates": {}, "gradients": gradients, "activations": {}}]
    page = "".join(panel.html for panel in watch.panels(SimpleNamespace(learner=learner, state=state)))
    assert "the gradient at c_first/kernel is 1.0e-09 of that at a_last/kernel" in page


@pytest.mark.weekly
@pytest.mark.covers("TR-19", "TR-20")
def test_dead_units_are_named_while_the_run_goes_on_and_in_its_report(tmp_path, capsys):
    words = [*SMALL, "--steps=20", "--watch=10", "--eval_every=20", f"--run_dir={tmp_path}"]
    assert run(planted(Dead()), words) == 0
    assert "step 10: 100% of the units of relu give 0 for every example" in capsys.readouterr().out
    assert "100% of the units of relu give 0 for every example" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.weekly(unless=["1e-6-too low"])
@pytest.mark.covers("TR-11")
@pytest.mark.parametrize(("rate", "verdict"), [("0.5", "too high"), ("1e-6", "too low"), ("0.03", "good")])
def test_the_report_says_what_a_rate_is(tmp_path, rate, verdict):
    words = [*MLP, "--optimizer=sgd", "--schedule=constant", "--warmup=0", "--ema=none", f"--learning_rate={rate}"]
    assert run(experiment, [*words, "--steps=100", "--eval_every=25", f"--run_dir={tmp_path}"]) == 0
    report = (tmp_path / "report.html").read_text()
    section = report.split("What the curves say</h2>")[1].split("</section>")[0]
    assert f"Learning rate {verdict}" in section


@pytest.mark.weekly
@pytest.mark.covers("TR-11")
def test_a_rate_that_blows_up_is_an_error_that_names_the_step(tmp_path, capsys):
    words = [*MLP, "--optimizer=sgd", "--schedule=constant", "--warmup=0", "--ema=none", "--learning_rate=1e4"]
    assert run(experiment, [*words, "--steps=40", f"--run_dir={tmp_path}"]) == 1
    assert "training is no longer finite, first at step" in capsys.readouterr().err
