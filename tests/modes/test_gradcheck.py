"""`--mode=gradcheck` names the array whose gradient is wrong, and refuses what would blur the comparison."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from dlcore.classification import supervised
from dlcore.diagnostics.gradient_check import VERDICTS, LeafCheck, verdict
from dlcore.kits.images import labeled_images
from dlcore.kits.training import optimizer
from dlcore.main import run
from dlcore.modes import gradcheck
from experiments.classification.supervised import experiment
from tests.overriding import with_task

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
    def build(setup):
        return supervised.learner(
            model=Small(setup.dtype),
            optimizer=optimizer.build(setup),
            preprocess=labeled_images.preprocess(setup),
            l2=setup.flags.l2,
        )

    return with_task(experiment, build=build)


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

    assert error in printed(capsys, with_task(experiment, data=unread), *words, status=2)


@pytest.mark.weekly
def test_a_penalty_that_is_not_in_the_loss_is_not_called_right(capsys):
    def build(setup):
        return supervised.learner(
            model=Small(setup.dtype), optimizer=optimizer.build(setup), preprocess=labeled_images.preprocess(setup)
        )

    out = printed(capsys, with_task(experiment, build=build), status=1)
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
