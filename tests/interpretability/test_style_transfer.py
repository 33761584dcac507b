"""The extremes of the weights, what falls, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.data.source import Source
from dlcore.interpretability import style_transfer
from dlcore.interpretability.image_optimization import ImageState
from dlcore.losses import gram_matrix
from dlcore.run import evaluate
from tests.interpretability.linear import Linear
from tests.interpretability.style_networks import LAYERS, MEAN, MODEL, STD, make, trained


def pairs(count=1):
    rng = np.random.default_rng(0)
    content = np.kron(rng.uniform(size=(count, 4, 4, 3)), np.ones((1, 4, 4, 1))).astype(np.float32)
    style = np.tile(rng.uniform(size=(count, 2, 3, 3)), (1, 6, 4, 1)).astype(np.float32)
    return Source({"content": content, "style": style})


@pytest.mark.weekly
@pytest.mark.covers("VI-16", "VI-17")
@pytest.mark.parametrize(("recovered", "ignored"), [("content", "style"), ("style", "content")])
def test_the_extremes_of_the_weights_recover_each(variables, recovered, ignored):
    source = pairs()
    weights = {
        f"{recovered}_weight": 1000.0 if recovered == "style" else 1.0,
        f"{ignored}_weight": 0.0,
        "variation_weight": 0.0,
    }
    learner = make(variables, optax.lbfgs(), **weights)
    first = jax.jit(learner.init)(jax.random.key(0), source[np.arange(1)])
    before = evaluate(learner, first, source)
    state, _ = trained(learner, source, 60)
    after = evaluate(learner, state, source)
    assert after[recovered] < before[recovered] / 100
    assert after[ignored] > before[ignored] / 20
    if recovered == "style":
        maps, wanted = (
            MODEL.apply(variables, jnp.asarray(image), method="features")["relu1_1"][0]
            for image in (state.params, source.arrays["style"])
        )
        sizes = [m.shape[0] * m.shape[1] for m in (maps, wanted)]
        np.testing.assert_allclose(gram_matrix(maps) / sizes[0], gram_matrix(wanted) / sizes[1], atol=0.05)


@pytest.mark.covers("VI-16", "VI-17")
def test_the_terms_by_hand(variables):
    """Gram matrices by NumPy on the network's maps; the content term compares maps location by location."""
    source = pairs()
    batch = source[np.arange(1)]
    learner = make(variables, optax.sgd(0.1), content_weight=2.0, style_weight=3.0, variation_weight=0.0)
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    maps_of = jax.jit(lambda image: MODEL.apply(variables, image, method="features"))
    image, content, style = (
        {name: np.asarray(maps, np.float64)[0] for name, maps in maps_of(x).items()}
        for x in (state.params, batch["content"], batch["style"])
    )

    def gram(maps):
        flat = maps.reshape(-1, maps.shape[-1])
        return flat.T @ flat / len(flat)

    metrics = evaluate(learner, state, source)
    expected = np.square(image["relu2_1"] - content["relu2_1"]).mean()
    assert metrics["content"] == pytest.approx(expected, rel=1e-4)
    layers = [
        np.square(gram(image[s]) - gram(style[s])).sum() / (4 * image[s].shape[-1] ** 2) for s in LAYERS["style_layers"]
    ]
    assert metrics["style"] == pytest.approx(np.mean(layers), rel=1e-4)


def test_bad_input_is_named(variables):
    with pytest.raises(ValueError, match="content_layer='relu9_1': no such layer; allowed: relu1_1"):
        style_transfer.learner(
            model=MODEL,
            variables=variables,
            mean=MEAN,
            std=STD,
            optimizer=optax.adam(0.1),
            content_layer="relu9_1",
            style_layers=(),
        )


def variation_slope(image):
    """Of the mean squared steps down, and those across."""
    down, across = np.diff(image, axis=0), np.diff(image, axis=1)
    slope = np.zeros(image.shape)
    slope[1:] += 2 * down / down.size
    slope[:-1] -= 2 * down / down.size
    slope[:, 1:] += 2 * across / across.size
    slope[:, :-1] -= 2 * across / across.size
    return slope


@pytest.mark.covers("VI-16", "VI-17")
def test_one_update_by_hand():
    """2 content of b + 3 the mean style of a and b + 0.5 TV, of two images that do not know of one another."""
    rate, rng = 0.1, np.random.default_rng(0)
    mean, std = np.float32([0.4, 0.5, 0.6]), np.float32([0.2, 0.25, 0.5])
    network = {"params": {name: rng.normal(size=(3, c)).astype(np.float32) for name, c in (("a", 2), ("b", 3))}}
    learner = style_transfer.learner(
        model=Linear(), variables=network, optimizer=optax.sgd(rate), mean=mean, std=std, content_layer="b",
        style_layers=("a", "b"), content_weight=2.0, style_weight=3.0, variation_weight=0.5,
    )  # fmt: skip
    images, content = rng.uniform(size=(2, 2, 4, 5, 3)).astype(np.float32)
    style = rng.uniform(size=(2, 3, 2, 3)).astype(np.float32)
    batch = {"content": content, "style": style, "index": np.array([3, 8])}
    blank = ImageState(np.int32(0), jax.random.key(0), images, optax.sgd(rate).init(images), network, None,
                       batch["index"], np.int32(5))  # fmt: skip

    @jax.jit
    def step(batch):
        first = learner.init(jax.random.key(0), batch)
        return first.params, learner.update(blank.replace(targets=first.targets), batch)

    first, (after, metrics) = step(batch)
    assert 0.05 < np.std(first) < 0.15  # noise of deviation 0.1 around gray

    def flat(image, name):
        return ((np.float64(image) - mean) / std).reshape(-1, 3) @ network["params"][name]

    total = 0
    for i in range(2):
        slope, value = 0.5 * variation_slope(np.float64(images[i])), 0
        for name, weight in network["params"].items():
            own = flat(images[i], name)
            gram = own.T @ own / len(own) - flat(style[i], name).T @ flat(style[i], name) / 6
            by_map = 3 / 2 * own @ gram / (len(own) * weight.shape[1] ** 2)
            value += 3 / 2 * np.square(gram).sum() / (4 * weight.shape[1] ** 2)
            if name == "b":
                by_map += 2 * 2 * (own - flat(content[i], name)) / own.size
                value += 2 * np.square(own - flat(content[i], name)).mean()
            slope += (by_map @ weight.T / std).reshape(images[i].shape)
        steps = [np.square(np.diff(np.float64(images[i]), axis=axis)).mean() for axis in (0, 1)]
        total += value + 0.5 * sum(steps)
        np.testing.assert_allclose(after.params[i], images[i] - rate * slope, rtol=1e-4, atol=1e-5)
    assert metrics["loss"].compute() == pytest.approx(total / 2, rel=1e-4)
    assert (int(after.step), int(after.evaluations), metrics["evaluations"].compute()) == (1, 6, 6)
    np.testing.assert_array_equal(after.network["params"]["a"], network["params"]["a"])
