"""Sharpness read at equal loss, the verdict, and a short run whose eigenvalue numpy confirms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.losses import softmax_cross_entropy_loss
from experiments.studies import batch_size_sharpness as study
from experiments.studies.small_runs import SmallNet


def run(*rows):
    """One seed of (loss, eigenvalue, accuracy)."""
    return np.array([rows])


def test_the_figure_has_a_panel_for_time_loss_and_accuracy():
    runs = run((0.5, 3, 0.8), (0.01, 1, 0.95))
    assert len(study.draw({8: runs, 64: runs}, 10, 0.1).axes) == 3


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


@pytest.mark.slow
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
    assert flat.shape == (4 * 2 + 2 + 2 * 10 + 10,)
    values = np.linalg.eigvalsh(jax.jit(jax.hessian(loss))(flat))
    assert measured.shape == (1, 1, 3)
    assert measured[0, 0, 0] == pytest.approx(float(loss(flat)), rel=1e-4)
    assert measured[0, 0, 1] == pytest.approx(values[np.abs(values).argmax()], rel=0.02)
