"""What every learner of images shares: rows that are apart, an index that finds them, a count of evaluations."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.interpretability import style_transfer
from dlcore.interpretability.image_optimization import image_learner
from dlcore.optim import create_optimizer
from dlcore.run import Placement, evaluate, fit, make_mesh
from tests.interpretability.linear import Linear
from tests.interpretability.style_networks import MEAN, STD, make, trained


def pairs(count):
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(2, count, 16, 16, 3)).astype(np.float32)
    return Source({"content": images[0], "style": images[1]})


@pytest.mark.weekly
def test_images_do_not_know_of_one_another(variables):
    source = pairs(2)
    state, _ = trained(make(variables), source, 3)
    alone, _ = trained(make(variables), Source({k: v[:1] for k, v in source.arrays.items()}), 3)
    np.testing.assert_allclose(state.params[0], alone.params[0], atol=1e-5)


@pytest.mark.slow
def test_predictions_follow_the_index():
    source, network = pairs(3), {"params": {"a": np.array([[1.0, 2], [3, -1], [0, 2]], np.float32)}}
    learner = style_transfer.learner(
        model=Linear((2,)), variables=network, mean=MEAN, std=STD, optimizer=optax.sgd(0.1), content_layer="a",
        style_layers=("a",), start="content",
    )  # fmt: skip
    state = jax.jit(learner.init)(jax.random.key(0), source[np.array([2, 0, 1])])
    shown = jax.jit(learner.predict)(state, source[np.array([1, 2])])["image"]
    np.testing.assert_allclose(shown, source.arrays["content"][1:], atol=1e-6)
    assert evaluate(learner, state, source)["content"] == pytest.approx(0, abs=1e-9)


@pytest.mark.weekly
def test_evaluations_are_counted(variables):
    _, adam = trained(make(variables), pairs(1), 3)
    assert adam["evaluations"] == 3
    _, lbfgs = trained(make(variables, optax.lbfgs()), pairs(1), 3)
    assert lbfgs["evaluations"] >= 4  # the first gradient, and at least one trial step each time


@pytest.mark.slow
def test_a_line_search_hands_its_gradient_on(variables):
    """The step taken from the stored value and gradient is the one taken from fresh ones."""
    learner = make(variables, optax.lbfgs())
    batch = pairs(1)[np.arange(1)]
    state, _ = trained(learner, pairs(1), 2)
    update = jax.jit(learner.update)
    forgot = optax.tree.set(state.opt_state, value=jnp.float32(jnp.inf))
    handed_on, fresh = update(state, batch)[0], update(state.replace(opt_state=forgot), batch)[0]
    np.testing.assert_allclose(handed_on.params, fresh.params, atol=1e-5)
    assert int(fresh.evaluations) == int(handed_on.evaluations) + 1


class Searched(NamedTuple):
    """What a line search of three evaluations leaves."""

    value: jax.Array
    grad: jax.Array
    num_linesearch_steps: jax.Array


def search():
    """Steps of a quarter of the slope, after which twice the slope is stored, so that its use shows."""

    def update(slopes, state, params, *, value, value_fn, **_):
        later, slope = jax.value_and_grad(value_fn)(params - slopes / 4)
        return -slopes / 4, Searched(later, 2 * slope, jnp.int32(3))

    start = lambda images: Searched(jnp.float32(jnp.inf), jnp.zeros_like(images), jnp.int32(0))  # noqa: E731
    return optax.GradientTransformationExtraArgs(start, update)


def test_the_next_step_uses_the_slope_that_a_line_search_stored():
    """Squared distances from t: an image goes from 0 to t / 2, and with twice the slope to t.

    A projection that adds 8 (step + 1) makes the stored slope void: t / 2 + 8 is followed by (t / 2 + 8 + t) / 2 + 16.
    The second image is evaluated, in the first row of a batch whose other row is padding.
    """
    t = np.float32([1, 3]).reshape(2, 1, 1, 1)
    batch, asked = {"aim": t, "index": np.arange(2)}, {"index": np.array([1, 0]), "mask": np.float32([1, 0])}

    def learner(project=None):
        return image_learner(
            optimizer=search(),
            network=0.0,
            initial=lambda key, example: jnp.zeros((1, 1, 1)),
            targets=lambda network, example: example["aim"],
            objective=lambda network, image, aim, key: (jnp.square(image - aim).sum(), {"aim": aim.sum()}),
            project=project,
        )

    @jax.jit
    def run():
        results = []
        for one in (learner(), learner(lambda image, step: image + 8 * (step + 1))):
            first, _ = one.update(one.init(jax.random.key(0), batch), batch)
            second, metrics = one.update(first, batch)
            results.append((first.params, second.params, first.evaluations, metrics, one.evaluate(second, asked)))
        return results

    stored, projected = run()
    for (first, second, evaluations, metrics, evaluated), expected, counts in (
        (stored, (t / 2, t), (1 + 3, 4 + 3)),
        (projected, (t / 2 + 8, (3 * t / 2 + 8) / 2 + 16), (1 + 3, 4 + 1 + 3)),
    ):
        np.testing.assert_allclose(first, expected[0], rtol=1e-6)
        np.testing.assert_allclose(second, expected[1], rtol=1e-6)
        assert (evaluations, metrics["evaluations"].compute()) == counts
        assert metrics["loss"].compute() == pytest.approx(np.square(expected[0] - t).mean(), rel=1e-6)
        assert evaluated["loss"].compute() == pytest.approx(np.square(expected[1] - t)[1, 0, 0, 0], rel=1e-6)
        assert evaluated["aim"].compute() == 3


@pytest.mark.weekly
def test_eight_devices_equal_one(variables):
    def images(devices):
        placement = Placement(make_mesh(f"data:{devices}", jax.devices()[:devices]))
        learner = make(variables, create_optimizer("sgd", 0.01))
        result = fit(learner, Pipeline(pairs(8), 8), steps=2, placement=placement, progress=False)
        return jax.device_get(result.state.params)

    np.testing.assert_allclose(images(1), images(8), atol=1e-6)


@pytest.mark.weekly
def test_resumed_equals_uninterrupted(variables, tmp_path):
    options = {"placement": Placement(make_mesh("data:1", jax.devices()[:1])), "progress": False}
    learner, data = make(variables, optax.lbfgs()), Pipeline(pairs(1), 1)
    whole = fit(learner, data, steps=4, folder=tmp_path / "whole", **options)
    fit(learner, data, steps=2, folder=tmp_path / "cut", **options)
    again = fit(learner, data, steps=4, folder=tmp_path / "cut", **options)
    np.testing.assert_array_equal(whole.state.params, again.state.params)
    assert int(whole.state.evaluations) == int(again.state.evaluations)


def test_there_is_no_pmap(variables):
    placement = Placement(make_mesh("data:1", jax.devices()[:1]), spmd="pmap")
    with pytest.raises(ValueError, match=r"spmd='pmap': images do not share gradients; allowed: jit"):
        fit(make(variables), Pipeline(pairs(1), 1), steps=1, placement=placement, progress=False)


def test_images_start_from_keys_of_their_indices_and_steps_from_another():
    learner = image_learner(
        optimizer=optax.sgd(0.1), network=0.0, initial=lambda key, example: jax.random.key_data(key),
        targets=lambda network, example: 2 * example["index"], objective=None,
    )  # fmt: skip

    @jax.jit
    def run(seed):
        keys = [jax.random.fold_in(jax.random.fold_in(seed, 0), i) for i in (4, 1)]
        expected = jnp.stack([jax.random.key_data(key) for key in (*keys, jax.random.fold_in(seed, 1))])
        state = learner.init(seed, {"index": np.array([4, 1])})
        return state.replace(rng=jax.random.key_data(state.rng)), expected

    state, expected = jax.device_get(run(jax.random.key(7)))
    np.testing.assert_array_equal([*state.params, state.rng], expected)
    assert (state.step, state.evaluations, state.targets.tolist()) == (0, 0, [8, 2])
