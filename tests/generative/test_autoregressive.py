"""What each autoregressive network must hold: it sees what comes before alone, p sums to 1, and samples follow p."""

import itertools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.generative import autoregressive
from dlcore.generative.autoregressive import dependence, log_likelihood, sample
from dlcore.generative.fvbn import FVBN, MADE, NADE
from dlcore.generative.pixel_cnn import PixelCNN
from dlcore.generative.pixel_rnn import PixelRNN
from dlcore.learner import State
from dlcore.run.inputs import check_labels

GRAY, COLOR = (4, 2, 1), (2, 2, 2)


def covered(id_, *values):
    return pytest.param(*values, marks=pytest.mark.covers(id_))


def randomized(model, shape, scale=0.5):
    """Parameters none of which is 0, as those of trained networks."""
    label = jnp.zeros(1, jnp.int32) if model.num_classes else None
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape), jnp.int32), label)["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: jnp.asarray(scale * rng.normal(size=s.shape), jnp.float32), shapes)


def cnn(levels=2, colors=1, **fields):
    return PixelCNN(levels, colors, **{"features": 8, "head_features": 8, "num_layers": 1, "first_kernel": 3, **fields})


def rnn(levels=2, colors=1, **fields):
    return PixelRNN(levels, colors, **{"features": 4, "head_features": 8, "num_layers": 1, "first_kernel": 3, **fields})


@pytest.mark.slow(unless=["model0-*", "model1-*", "model2-*", "model4-*", "model5-*", "model6-*"])
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        covered("GE-03", FVBN(2), GRAY),
        covered("GE-03", NADE(2, hidden_size=5), GRAY),
        covered("GE-03", MADE(2, hidden_sizes=(12, 12)), GRAY),
        covered("GE-04", rnn(), GRAY),
        covered("GE-04", rnn(colors=2), COLOR),
        covered("GE-05", cnn(), GRAY),
        covered("GE-05", cnn(colors=2, embedding_dim=2), COLOR),
    ],
)
def test_the_probabilities_of_all_images_sum_to_one(model, shape):
    """2^8 images of eight binary dimensions; the probabilities differ, so that not just a uniform guess sums to 1."""
    images = jnp.array(list(itertools.product([0, 1], repeat=8))).reshape(-1, *shape)
    params = randomized(model, shape)
    nats = np.asarray(jax.jit(lambda params: log_likelihood(model, params, images))(params), np.float64)
    assert np.exp(nats).sum() == pytest.approx(1, abs=1e-5)
    assert nats.std() > 0.2


@pytest.mark.slow(unless=["model0-*", "model1-*", "model2-*", "model4-*", "model5-*", "model6-*"])
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        covered("GE-03", FVBN(3), (3, 2, 2)),
        covered("GE-03", NADE(3, hidden_size=5), (3, 2, 2)),
        covered("GE-03", MADE(3, hidden_sizes=(24, 24)), (3, 2, 2)),
        covered("GE-04", rnn(features=16, head_features=64), (6, 6, 1)),
        covered("GE-05", cnn(num_layers=5, head_features=64), (6, 6, 1)),
        covered("GE-05", cnn(colors=3, features=24, num_layers=2, head_features=48), (2, 3, 3)),
    ],
)
def test_a_dimension_depends_on_each_before_it_and_on_none_after(model, shape):
    """No blind spot either: in a single stack of 3x3 convolutions (2, 2) of 6x6 never sees (1, 5)."""
    params = randomized(model, shape)
    measured = np.asarray(jax.jit(lambda params: dependence(model, params, shape, jax.random.key(0)))(params))
    n = len(measured)
    assert (measured[np.triu_indices(n)] == 0).all()
    assert (measured[np.tril_indices(n, -1)] > 0).all()


@pytest.mark.slow
@pytest.mark.covers("GE-05")
def test_a_pixel_sees_as_far_as_the_reach_says_and_not_further():
    model, side = cnn(num_layers=2, first_kernel=5), 12
    shape = (side, side, 1)
    measured = jax.jit(lambda params: dependence(model, params, shape, jax.random.key(0)))(randomized(model, shape))
    y, column = np.divmod(np.arange(side**2), side)
    far = np.maximum(y[:, None] - y, np.abs(column[:, None] - column))  # of the pixels before, and those after
    seen = np.asarray(measured) > 0
    assert model.reach() == far[seen].max() == 4
    assert seen[y[:, None] - y == 4].any()
    assert seen[column[:, None] - column == 4].any()
    assert seen[column - column[:, None] == 4].any()


@pytest.mark.slow
def test_the_measure_of_dependence_sees_a_leak():
    leaky = MADE(2, hidden_sizes=(8,))
    params = randomized(leaky, GRAY)

    class Flipped:
        levels, num_classes = 2, 0

        def apply(self, variables, x, label):
            return leaky.apply(variables, x[:, ::-1], label)

    assert (np.triu(dependence(Flipped(), params, GRAY, jax.random.key(0))) > 0).any()


@pytest.mark.weekly(only=["model2-shape2"])
@pytest.mark.slow(unless=["model0-shape0"])
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        covered("GE-03", FVBN(2), (2, 3, 2)),
        covered("GE-03", NADE(3, 2, hidden_size=5), GRAY),
        covered("GE-04", rnn(3, 2, num_layers=2), (3, 3, 2)),
        covered("GE-05", cnn(3, 2, num_classes=2, num_layers=2, embedding_dim=3), (4, 3, 2)),
        covered("GE-05", cnn(), (6, 9, 1)),
    ],
)
def test_keeping_states_draws_the_same_samples(model, shape):
    params, keys = randomized(model, shape), jax.random.split(jax.random.key(1), 6)
    label = jnp.arange(6) % 2 if model.num_classes else None

    @jax.jit
    def draw(params):
        return [sample(model, params, keys, shape, label=label, cached=cached) for cached in (True, False)]

    drawn = draw(params)
    np.testing.assert_array_equal(*drawn)
    assert len(np.unique(np.asarray(drawn[0]).reshape(6, -1), axis=0)) > 3


@pytest.mark.parametrize("model", [FVBN(2), NADE(2), MADE(2), cnn(num_classes=2), rnn()])
def test_samples_can_be_drawn_in_half_precision(model):
    """Shapes and dtypes alone: what a loop carries must not change its type."""
    model = model.clone(dtype=jnp.bfloat16)
    keys, label = jax.random.split(jax.random.key(0), 2), jnp.arange(2) if model.num_classes else None
    shapes = jax.eval_shape(lambda p: sample(model, p, keys, GRAY, label=label), randomized(model, GRAY))
    assert (shapes.shape, shapes.dtype) == ((2, *GRAY), jnp.int32)


class Counting(nn.Module):
    """A model of 30 levels, in which a dimension has the level of the one before it and one more."""

    @nn.compact
    def __call__(self, x, label=None):
        flat = x.reshape(len(x), -1)
        level = jnp.pad(flat[:, :-1], ((0, 0), (1, 0))) + 1
        return jax.nn.one_hot(level, 30).reshape(*x.shape, 30)


def test_every_dimension_is_drawn_in_its_own_place_after_those_before_it():
    keys = jax.random.split(jax.random.key(0), 2)
    images = jax.jit(lambda keys, t: sample(Counting(), {}, keys, (3, 4, 2), temperature=t))(keys, 0.0)
    np.testing.assert_array_equal(images, np.broadcast_to(1 + np.arange(24).reshape(3, 4, 2), (2, 3, 4, 2)))


@pytest.mark.slow
def test_samples_and_completions_have_the_models_probabilities():
    """4,096 draws of a 2x2 image against its 16 probabilities: the sum of squared deviations, each over its expected
    count, is chi-square of 15 degrees (99.9 % below 37.7); with the upper row given 3 degrees are left (16.3)."""
    model, shape = FVBN(2), (2, 2, 1)
    params = randomized(model, shape, 1.0)
    images = jnp.array(list(itertools.product([0, 1], repeat=4))).reshape(-1, *shape)
    p = np.exp(log_likelihood(model, params, images))
    keys = jax.random.split(jax.random.key(0), 4096)

    def counted(drawn):
        return np.bincount(np.asarray(drawn).reshape(-1, 4) @ [8, 4, 2, 1], minlength=16)

    def chi_square(found, p):
        return (np.square(found - 4096 * p) / (4096 * p)).sum()

    @jax.jit
    def draw(given, known):
        return sample(model, params, keys, shape, given=given, known=known)

    given = jnp.broadcast_to(images[5], (4096, *shape))  # 0101: the upper row is 01, images 4 to 7
    known = jnp.broadcast_to(jnp.array([True, False])[:, None, None], shape)
    assert chi_square(counted(draw(given, jnp.zeros(shape, bool))), p) < 37.7
    found = counted(draw(given, known))
    assert found[4:8].sum() == 4096
    assert chi_square(found[4:8], p[4:8] / p[4:8].sum()) < 16.3


@pytest.mark.slow
def test_at_temperature_zero_each_dimension_has_its_most_probable_level():
    model = FVBN(3)
    params, keys = randomized(model, GRAY), jax.random.split(jax.random.key(0), 3)
    drawn = sample(model, params, keys, GRAY, temperature=0.0)
    assert (drawn == drawn[:1]).all()
    np.testing.assert_array_equal(model.apply({"params": params}, drawn).argmax(-1), drawn)


# The learner


class Corner(nn.Module):
    """A model of 30 levels that sees the pixels on the left and above.

    The first color of a pixel is one more than the larger of theirs, and its second color is ten more than its first.
    """

    @nn.nowrap
    def reach(self):
        return 1

    @nn.compact
    def __call__(self, x, label=None):
        left, above = (
            jnp.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0)))[:, 1:, :-1],
            jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0))),
        )
        level = jnp.stack([1 + jnp.maximum(left, above[:, :-1])[..., 0], 10 + x[..., 0]], -1)
        return jax.nn.one_hot(level, 30)


def test_a_pixel_is_drawn_from_the_part_of_the_image_that_reaches_it():
    """Row y and column x have the level 1 + x + y."""
    keys = jax.random.split(jax.random.key(0), 2)
    images = jax.jit(lambda keys: sample(Corner(), {}, keys, (3, 5, 2), temperature=0))(keys)
    first = 1 + np.arange(3)[:, None] + np.arange(5)
    np.testing.assert_array_equal(images, np.broadcast_to(np.stack([first, 10 + first], -1), (2, 3, 5, 2)))


def test_a_model_of_classes_is_asked_about_its_dependence_with_a_class():
    model = FVBN(2, 3)
    found = dependence(model, randomized(model, (1, 2, 1)), (1, 2, 1), jax.random.key(0))
    np.testing.assert_array_equal(np.asarray(found) > 0, [[False, False], [True, False]])


def batch_of(n=16, seed=0):
    """Images of 3x2 whose columns are equal: a pixel on the left gives that on the right away."""
    rng = np.random.default_rng(seed)
    image = np.repeat(rng.integers(0, 2, (n, 3, 1, 1)), 2, 2).astype(np.float32)
    return {"image": image, "index": np.arange(n), "label": np.arange(n) % 2}


def small(model=None, **settings):
    return autoregressive.learner(
        model=FVBN(2) if model is None else model, optimizer=optax.adam(0.1), shape=(3, 2, 1), **settings
    )


def test_a_model_without_a_number_of_classes_asks_for_no_labels():
    assert small(SimpleNamespace(levels=2)).classes is None


@pytest.fixture(scope="module")
def trained():
    learner = small()
    update, state = jax.jit(learner.update), jax.jit(learner.init)(jax.random.key(0), batch_of())
    for step in range(150):
        state, _ = update(state, batch_of(64, step))
    return learner, state


@pytest.mark.weekly
@pytest.mark.covers("GE-03")
def test_a_chain_learns_what_independent_pixels_cannot(trained):
    """Three fair coins of two copies each: 3 bits an image, where independent pixels need 6."""
    learner, state = trained
    measured = {name: metric.compute() for name, metric in learner.evaluate(state, batch_of(512, 999)).items()}
    assert measured["nll_nats_dynamic"] == pytest.approx(3 * np.log(2), abs=0.1)
    assert measured["bits_per_dim_dynamic"] == pytest.approx(measured["nll_nats_dynamic"] / 6 / np.log(2), rel=1e-5)
    assert measured["loss"] == pytest.approx(measured["nll_nats_dynamic"] / 6, rel=1e-5)


@pytest.mark.slow
def test_predictions_are_samples_and_keep_what_is_known(trained):
    learner, state = trained
    predict = jax.jit(learner.predict)
    drawn = predict(state, {"index": jnp.arange(32)})
    pairs = np.asarray(drawn["levels"])[..., 0]
    assert (pairs[:, :, 0] == pairs[:, :, 1]).mean() > 0.95
    np.testing.assert_array_equal(drawn["sample"], drawn["levels"])
    turned = predict(state, {"index": jnp.arange(32)[::-1]})
    np.testing.assert_array_equal(turned["levels"][::-1], drawn["levels"])
    known = np.zeros((16, 3, 2, 1))
    known[:, :2] = 1
    kept = predict(state, {**batch_of(), "known": known})["sample"]
    np.testing.assert_array_equal(kept[:, :2], batch_of()["image"][:, :2])
    assert len(np.unique(np.asarray(kept)[:, 2], axis=0)) > 1


class Pair(nn.Module):
    """Logits (0, b + c y) of the first of two pixels, (0, w x_1) of the second."""

    levels: int = 2
    num_classes: int = 3

    @nn.compact
    def __call__(self, x, label, train=False):
        b, c, w = (self.param(name, nn.initializers.ones, ()) for name in "bcw")
        scores = jnp.stack([b + c * label, w * x[:, 0, 0, 0]], -1)[:, None, :, None]
        return jnp.stack([jnp.zeros_like(scores), scores], -1)


@pytest.mark.covers("GE-03")
def test_one_update_by_hand():
    """L is the mean over images and two pixels of softplus(s) - x s, given the class and the pixel before."""
    settings = {"shape": (1, 2, 1), "binarization": "threshold", "temperature": 0.0}
    learner = autoregressive.learner(model=Pair(), optimizer=optax.sgd(0.1), **settings)
    x, y = np.array([[1, 0], [0, 1], [1, 1]], np.float32), np.array([0, 1, 2], np.int32)
    rows = {"image": 0.2 + 0.6 * x.reshape(3, 1, 2, 1), "label": y, "index": np.arange(3, dtype=np.int32)}
    params = {"b": np.float32(0.4), "c": np.float32(-0.3), "w": np.float32(0.9)}
    state = State(np.int32(0), jax.random.key(0), params, optax.sgd(0.1).init(params))

    @jax.jit
    def run(state):
        given = [{"index": rows["index"][::-1]}, {**rows, "known": np.float32([1, 0]).reshape(1, 1, 2, 1).repeat(3, 0)}]
        measured = learner.loss(state.params, state, rows)[0], learner.init(jax.random.key(0), rows).params
        return *learner.update(state, rows), *(learner.predict(state, batch) for batch in given), *measured

    after, metrics, free, kept, whole, started = jax.device_get(run(state))
    # At temperature 0 a pixel is 1 where its score is above 0: .4 - .3 y of classes 2, 1 and 0; then .9 x_1.
    np.testing.assert_array_equal(free["levels"][:, 0, :, 0], [[0, 0], [1, 1], [1, 1]])
    drawn = np.array([[-0.2, 0], [0.1, 0.9], [0.4, 0.9]])  # their scores
    np.testing.assert_allclose(free["nats"], np.log1p(np.exp(-np.abs(drawn))).sum(1), rtol=1e-5)
    # With the first pixel given.
    np.testing.assert_array_equal(kept["levels"][:, 0, :, 0], [[1, 1], [0, 0], [1, 1]])
    np.testing.assert_array_equal(kept["sample"], kept["levels"])
    assert started == {"b": 1, "c": 1, "w": 1}
    scores = np.stack([0.4 - 0.3 * y, 0.9 * x[:, 0]], 1)
    loss = (np.log1p(np.exp(scores)) - x * scores).mean()
    assert metrics["loss"].compute() == pytest.approx(loss, rel=1e-5)
    assert float(whole) == pytest.approx(loss, rel=1e-5)
    error = (1 / (1 + np.exp(-scores)) - x) / 6
    want = {
        "b": 0.4 - 0.1 * error[:, 0].sum(),
        "c": -0.3 - 0.1 * (error[:, 0] * y).sum(),
        "w": 0.9 - 0.1 * (error[:, 1] * x[:, 0]).sum(),
    }
    assert after.params == pytest.approx(want, rel=1e-5)


def test_names_carry_what_the_likelihood_is_of():
    def names(learner, batch):
        state = jax.eval_shape(learner.init, jax.random.key(0), batch)
        return set(jax.eval_shape(learner.evaluate, state, batch))

    assert "nll_nats_threshold" in names(small(binarization="threshold"), batch_of())
    assert "nll_nats_16_levels" in names(small(FVBN(16)), batch_of())
    codes = {"codes": np.zeros((4, 3, 2), np.int32), "index": np.arange(4)}
    assert "bits_per_dim_8_codes" in names(small(FVBN(8)), codes)


def test_the_loss_starts_at_a_uniform_guess_and_pads_do_not_count():
    learner, batch = small(MADE(5, hidden_sizes=(8,))), {**batch_of(4), "mask": np.array([1, 1, 0, 0])}
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    measured = jax.jit(learner.evaluate)(state, batch)["loss"]
    assert float(measured.compute()) == pytest.approx(np.log(5), rel=1e-6)
    assert measured.count == 2


@pytest.mark.slow(unless=["model0"])
@pytest.mark.parametrize("model", [FVBN(2, 2), MADE(2, 2, hidden_sizes=(8,))])
def test_a_class_changes_what_is_drawn_and_labels_beyond_are_refused(model):
    params = randomized(model, (3, 2, 1))
    x = np.zeros((2, 3, 2, 1), np.int32)
    nats = jax.jit(lambda params: log_likelihood(model, params, x, np.array([0, 1])))(params)
    assert nats[0] != nats[1]
    check_labels(small(model), None, batch_of(), None, None)
    with pytest.raises(ValueError, match=r"label=2: .*allowed: integers from 0 to 1"):
        check_labels(small(model), None, {**batch_of(), "label": np.full(16, 2)}, None, None)
