"""Sharpness read at equal loss, the verdict, and a short run whose eigenvalue numpy confirms."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.losses import softmax_cross_entropy_loss
from experiments.studies import batch_size_sharpness as study
from experiments.studies.small_runs import Digits, SmallNet


def run(*rows):
    """One seed of (loss, eigenvalue, accuracy)."""
    return np.array([rows])


def test_the_figure_has_a_panel_for_time_loss_and_accuracy():
    """Two batch sizes of two seeds, two evaluations in ten steps: at steps 5 and 10; the edge is 2 / 0.1 = 20."""
    runs = np.concatenate([run((0.5, 3, 0.8), (0.01, 1, 0.95)), run((0.4, 5, 0.8), (0.02, 2, 0.85))])
    left, middle, right = study.draw({8: runs, 64: runs}, 10, 0.1).axes
    np.testing.assert_allclose(left.lines[0].get_xydata(), [(5, 4), (10, 1.5)])
    np.testing.assert_allclose(left.lines[2].get_ydata(), 20)
    np.testing.assert_allclose(middle.lines[1].get_xydata(), [(0.4, 5), (0.02, 2)])
    seeds, mean = right.lines[2:]  # of batch 64
    np.testing.assert_allclose(seeds.get_xydata(), [(1, 95), (1, 85)])
    np.testing.assert_allclose(mean.get_xydata(), [(0.75, 90), (1.25, 90)])
    assert len(study.draw(dict.fromkeys(range(6), runs), 10, 0.1).axes[2].lines) == 2 * 6  # one more than colors


def test_the_eigenvalue_where_the_loss_is_first_low_enough():
    runs = np.concatenate([run((1, 5, 0), (0.2, 4, 0), (0.1, 3, 0)), run((1, 5, 0), (0.3, 6, 0), (0.25, 7, 0))])
    np.testing.assert_array_equal(study.at_loss(runs, 0.2), [4, np.nan])
    np.testing.assert_array_equal(study.at_loss(runs, 0.3), [4, 6])


@pytest.mark.covers("TR-23")
def test_the_verdict_follows_the_numbers():
    small, large = run((0.5, 3, 0.8), (0.01, 1, 0.95)), run((0.5, 6, 0.8), (0.01, 2, 0.94))
    verdict, holds = study.judge({8: small, 64: large}, 0.1, 0.5)
    assert holds
    assert "by batch size: 1.00 for 8, 2.00 for 64; where the training loss first is 0.5: 3.00 for 8, 6.00" in verdict
    assert "on 1 and 1 of 1 seeds; its eigenvalue rises to 6.0, where 2 / rate is 20." in verdict
    assert not study.judge({8: large, 64: small}, 0.1, 0.5)[1]
    better = large.copy()
    better[:, -1, 2] = 0.96  # sharper and yet better
    assert not study.judge({8: small, 64: better}, 0.1, 0.5)[1]
    assert not study.judge({8: small, 64: run((0.6, 6, 0.8), (0.6, 2, 0.9))}, 0.1, 0.5)[1]  # it never is at that loss


@pytest.mark.weekly
@pytest.mark.covers("TR-23")
def test_the_measured_eigenvalue_is_that_of_the_whole_hessian(monkeypatch):
    """A perceptron of two hidden units on four pixels of the digits: 40 parameters, its Hessian by jax.hessian."""
    monkeypatch.setattr(study, "SmallNet", lambda hidden: SmallNet((2,)))
    data = study.shuffled_digits()
    few = data._replace(images=data.images[:, 3:5, 3:5], test_images=data.test_images[:, 3:5, 3:5])
    monkeypatch.setattr(study, "shuffled_digits", lambda: few)
    captured = {}

    def train(*args, **kwargs):
        captured.update(batch_size=kwargs["batch_size"])
        results = lab_train(*args, **kwargs)
        jax.debug.callback(lambda p: captured.update(params=p), results[0]["params"])
        return results

    lab_train = study.train
    monkeypatch.setattr(study, "train", train)
    measured = study.measure(16, 1, 20, 0.1, 1)
    jax.effects_barrier()
    params = jax.tree.map(lambda w: jnp.asarray(w[0]), captured["params"])
    flat, unravel = jax.flatten_util.ravel_pytree(params)

    def loss(w):
        logits = SmallNet((2,)).apply({"params": unravel(w)}, jnp.asarray(few.images), False)
        return softmax_cross_entropy_loss(logits, few.labels).mean()

    assert captured["batch_size"] == 16
    chex.assert_shape(flat, (4 * 2 + 2 + 2 * 10 + 10,))
    values = np.linalg.eigvalsh(jax.jit(jax.hessian(loss))(flat))
    chex.assert_shape(measured, (1, 1, 3))
    assert measured[0, 0, 0] == pytest.approx(float(loss(flat)), rel=1e-4)
    assert measured[0, 0, 1] == pytest.approx(values[np.abs(values).argmax()], rel=0.02)


@pytest.mark.covers("TR-23")
def test_each_batch_size_is_trained_and_reported_under_its_number(monkeypatch):
    """A run whose loss is 1 / size after half and 2 / size at the end, with eigenvalues 10 size and size."""
    asked = []

    def measure(batch_size, *settings):
        asked.append((batch_size, *settings))
        return np.array([[[1 / batch_size, 10 * batch_size, 0.5], [2 / batch_size, batch_size, 1 - batch_size / 100]]])

    monkeypatch.setattr(study, "measure", measure)
    monkeypatch.setattr(study, "draw", lambda *args: None)
    result = study.study(num_seeds=1, batch_sizes=(4, 16), steps=6, learning_rate=0.2, num_evaluations=2, level=0.3)
    assert asked == [(4, 1, 6, 0.2, 2), (16, 1, 6, 0.2, 2)]
    for size in (4, 16):
        assert result.numbers[f"eigenvalue at the end, batch {size}"] == [size]
        assert result.numbers[f"eigenvalue at equal loss, batch {size}"] == [10 * size]
        assert result.numbers[f"training loss at the end, batch {size}"] == [2 / size]
        assert result.numbers[f"test accuracy, batch {size}"] == [1 - size / 100]
    assert result.holds
    assert result.headline.values == [4]


@pytest.mark.covers("TR-23")
def test_a_run_has_its_batch_size_and_rate(monkeypatch):
    """The whole training split as its weights: the loss and the eigenvalue are of them, whatever the batch."""
    asked = {}

    class Bias:
        def __init__(self, hidden):
            asked["hidden"] = hidden

        def apply(self, variables, x, train):
            return jnp.broadcast_to(variables["params"], (len(x), 10))

    def train(key, net, optimizer, images, labels, steps, **settings):
        asked.update(settings, steps=steps, examples=len(labels))
        with jax.ensure_compile_time_eval():
            asked["step"] = float(optimizer.update(jnp.ones(()), optimizer.init(jnp.zeros(())))[0])
        return {"params": jnp.zeros((settings["snapshots"], 10))}, None

    def top_eigenvalues(loss, params, key, steps, tolerance):
        return jnp.array([loss(params) + 1]), None

    few = Digits(np.zeros((5, 8, 8, 1)), np.zeros(5, int), np.zeros((3, 8, 8, 1)), np.zeros(3, int))
    monkeypatch.setattr(study, "shuffled_digits", lambda: few)
    for name, fake in (("SmallNet", Bias), ("train", train), ("top_eigenvalues", top_eigenvalues)):
        monkeypatch.setattr(study, name, fake)
    measured = study.measure(16, 1, 20, 0.1, 2)
    assert asked == {"hidden": (32, 32), "batch_size": 16, "snapshots": 2, "steps": 20, "examples": 5,
                     "step": pytest.approx(-0.1)}  # fmt: skip
    np.testing.assert_allclose(measured[0, :, 0], np.log(10), rtol=1e-5)
    np.testing.assert_allclose(measured[0, :, 1], np.log(10) + 1, rtol=1e-5)
