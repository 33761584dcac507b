"""`--mode=gradcheck` names the array whose gradient is wrong, and refuses what would blur the comparison."""

import re
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.classification import supervised
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.diagnostics.gradient_check import VERDICTS, LeafCheck, verdict
from dlcore.experiment.parts import Run, Sanity
from dlcore.learner import Learner, State
from dlcore.main import run
from dlcore.modes import gradcheck
from experiments.classification.supervised import experiment
from tests.overriding import with_run

SMALL = ["--mode=gradcheck", "--model=mlp", "--batch_size=32", "--gradcheck_samples=2"]


@jax.custom_vjp
def wrong_tanh(x):
    return jnp.tanh(x)


wrong_tanh.defvjp(lambda x: (jnp.tanh(x), x), lambda x, g: (-g * (1 - jnp.tanh(x) ** 2),))


class Small(nn.Module):
    dtype: object

    @nn.compact
    def __call__(self, x, train=False):
        x = wrong_tanh(nn.Dense(8, dtype=self.dtype, name="hidden")(x.reshape(x.shape[0], -1)))
        return nn.Dense(10, dtype=self.dtype, name="head")(x)


def planted():
    def build(run):
        return supervised.learner(
            model=Small(run.dtype), optimizer=run.optimizer(), preprocess=run.arguments()["preprocess"], l2=run.flags.l2
        )

    return with_run(experiment, build=build)


def printed(capsys, experiment, *words, status):
    capsys.readouterr()
    assert run(experiment, [*SMALL, *words]) == status
    out, err = capsys.readouterr()
    return out if status != 2 else err


@pytest.mark.weekly
@pytest.mark.covers("TR-05")
def test_data_loss_and_penalty_are_checked_apart_over_every_array(capsys):
    out = printed(capsys, experiment, "--model.hidden=16,16", status=0)
    data_loss, penalty = out.split("penalty:")
    for part in (data_loss, penalty):
        for name in ("dense1", "dense2", "head"):
            assert f"{name}/kernel" in part
    assert "no gradient is wrong" in penalty
    assert "nothing to compare" in penalty, "biases are not penalized"


@pytest.mark.slow
def test_a_table_has_as_many_samples_as_asked_by_the_method_asked(capsys):
    words = ("--gradcheck_method=one_sided", "--gradcheck_h=1e-7", "--seed=1")
    out = printed(capsys, experiment, "--model.hidden=4", *words, status=0)
    assert "data loss: one_sided against jax.grad, float64, after up to 20 steps" in out
    assert set(re.findall(r" \d+ of (\d+)", out)) == {"2"}
    assert out.splitlines()[-1] == "no gradient is wrong"


@pytest.mark.weekly
@pytest.mark.covers("TR-03")
def test_a_planted_sign_is_found_and_named(capsys):
    out = printed(capsys, planted(), status=1)
    lines = {line.split()[0]: line for line in out.split("penalty:")[0].splitlines() if "/" in line}
    assert "wrong" in lines["hidden/kernel"]
    assert "wrong" not in lines["head/kernel"]
    assert "2 arrays have a gradient that does not agree with its numerical gradient" in out


@pytest.mark.covers("TR-05")
def test_active_regularization_is_refused_by_its_name(capsys):
    err = printed(capsys, experiment, "--model.dropout=0.5", status=2)
    assert "--model.dropout=0.5: blurs a gradient check; allowed: --model.dropout=0.0" in err
    assert "--augment=affine: blurs a gradient check" in printed(capsys, experiment, "--augment=affine", status=2)
    assert "--gradcheck_method=forward: unknown" in printed(capsys, experiment, "--gradcheck_method=forward", status=2)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--gradcheck_h=0"], "--gradcheck_h=0.0: rounding would take over; allowed: [1e-10, 1)"),
        (["--gradcheck_h=2"], "--gradcheck_h=2.0: rounding would take over; allowed: [1e-10, 1)"),
        (["--gradcheck_h=1e-12"], "--gradcheck_h=1e-12: rounding would take over"),
        (["--gradcheck_h=0", "--gradcheck_method=complex_step"], "of a complex step (0, 1)"),
    ],
)
def test_a_step_that_rounding_swallows_is_refused_before_any_work(capsys, monkeypatch, words, error):
    def unread(flags):
        raise AssertionError("data was read")

    assert error in printed(capsys, with_run(experiment, load=unread), *words, status=2)


@pytest.mark.weekly
def test_a_penalty_that_is_not_in_the_loss_is_not_called_right(capsys):
    def build(run):
        return supervised.learner(
            model=Small(run.dtype), optimizer=run.optimizer(), preprocess=run.arguments()["preprocess"]
        )

    out = printed(capsys, with_run(experiment, build=build), status=1)
    assert "penalty: nothing was compared, so nothing was proven" in out
    assert "no gradient is wrong" not in out


def test_the_verdicts_of_the_table_are_explained(capsys):
    lines = [
        LeafCheck("a/kernel", 3, 0, 1.0, 1.0, 1e-8, 0, "happy"),
        LeafCheck("b/kernel", 3, 0, 1.0, 1.0, 1e-5, 2, "fine with kinks"),
        LeafCheck("b/bias", 0, 3, 0.0, 0.0, 0.0, 0, None),
    ]
    gradcheck._print(lines)
    said = [line for line in capsys.readouterr().out.splitlines() if ": " in line and "nothing" not in line]
    assert [line.split(":")[0].strip() for line in said] == ["happy", "fine with kinks"]
    assert said[0].endswith("a relative error of at most 1e-7, as of an exact gradient in float64")


def test_every_verdict_has_a_meaning():
    found = [verdict(error, kinks) for error, kinks in ((1, 0), (1e-3, 0), (1e-5, 1), (1e-5, 0), (1e-8, 0))]
    assert set(found) == set(VERDICTS)


def halving(seen, gain=0.5):
    """A page of one weight w, which each step multiplies by the gain; the loss is w^2 / 2, and l2 w^2 is added."""

    def build(run):
        seen.append(run)

        def loss(params, state, batch):
            seen.append(batch)
            value = params["w"].astype(run.dtype)
            return value**2 / 2 + run.flags.get("l2", 0.0) * value**2, {}

        def update(state, batch):
            return state.replace(step=state.step + 1, params={"w": gain * state.params["w"]}), {}

        def init(rng, batch):
            return State(jnp.zeros((), jnp.int32), rng, {"w": jnp.float32(2)}, ())

        return Learner(init, update, None, None, loss)

    return build


def stand_in(build, start=None, regularizer="l2"):
    flags = SimpleNamespace(seed=3, replace=lambda **changes: changes)

    class Halving(Run):
        def build(self):
            return build(self)

        def start(self):
            return start

    def training(flags, dtype):
        return Halving(None, flags, {}, 1000, dtype)

    return SimpleNamespace(
        flags=flags,
        plain={"dropout": 0.0},
        experiment=SimpleNamespace(sanity=Sanity(regularizer=regularizer), name="topic.page"),
        training_of=lambda data, flags, dtype: training(flags, dtype),
        build=lambda *given: None,
    )


def splits(width=2):
    label = np.arange(12) % 4
    return Splits(Source({"image": np.ones((12, width), np.float32), "label": label}), None, None, {})


def test_losses_are_those_of_a_training_that_ends_where_the_loss_has_halved():
    """2 halved is 1: the loss falls from 2 to 0.5 in one step. Twice as much is taken off by the start."""
    seen = []
    with jax.enable_x64(True):
        losses, params = gradcheck.losses_after_burn_in(stand_in(halving(seen)), splits())
        assert params["w"] == 1
        assert losses["data loss"](params) == 0.5
        assert losses["penalty"](params) == pytest.approx(0.01)
        assert params["w"].dtype == losses["penalty"](params).dtype == jnp.float64
        given = stand_in(halving([]), lambda state: state.replace(params={"w": jnp.float32(8)}), None)
        losses, params = gradcheck.losses_after_burn_in(given, splits())
        assert (params["w"], list(losses)) == (4, ["data loss"])
        stuck = stand_in(halving([], 0.99), None, None)
        _, params = gradcheck.losses_after_burn_in(stuck, splits())
        assert params["w"] == pytest.approx(2 * 0.99**20), "20 steps at most"
    setup, batch = seen[0], seen[1]
    assert (setup.flags, setup.steps, setup.dtype) == ({"spmd": "jit", "dropout": 0.0}, 20, jnp.float64)
    chex.assert_shape(batch["image"], (8, 2))
    assert batch["image"].dtype == np.float64
    assert sorted(batch["label"]) == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(("width", "count"), [(2**14 - 3, 8), (2**14 - 2, 7), (2**17, 2)])
def test_of_large_examples_few_are_checked(width, count):
    """Beside the pixels there are a label, an index and a mask: 8 * 2^14 values are the most."""
    seen = []
    with jax.enable_x64(True):
        gradcheck.losses_after_burn_in(stand_in(halving(seen), regularizer=None), splits(width))
    chex.assert_shape(seen[1]["image"], (count, width))
