"""The GAN classifier: the K + 1 classes, the generator's terms by hand, one step, and where a complement lies."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.learner import example_keys
from dlcore.semi_supervised import gan_classifier as gan
from dlcore.semi_supervised.gan_classifier import area_of_low_density, density_excess, feature_distance, pull_away
from tests.experiment.arguments import arguments_of


class Classifier(nn.Module):
    """Two classes of points [B, 1, 1, 2]; the features are the points."""

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(2)(nn.tanh(nn.Dense(8)(x.reshape(len(x), -1))))

    def features(self, x, train=False):
        return {"points": x}


class Generator(nn.Module):
    """Noise to points in (-1, 1)."""

    @nn.compact
    def __call__(self, z, train=False):
        return nn.tanh(nn.Dense(2)(nn.tanh(nn.Dense(16)(z)))).reshape(-1, 1, 1, 2)


def points(count=32, seed=0):
    """Real images: two clusters in [0, 1]², about (.3, .5) and (.7, .5)."""
    rng = np.random.default_rng(seed)
    label = np.arange(count, dtype=np.int32) % 2
    x = np.stack([0.3 + 0.4 * label, np.full(count, 0.5)], 1) + 0.02 * rng.normal(size=(count, 2))
    image, index = jnp.asarray(x, jnp.float32).reshape(-1, 1, 1, 2), jnp.arange(count, dtype=jnp.int32)
    hidden = {"image": image, "index": index, "hidden_label": jnp.asarray(label)}
    return {"labeled": {"image": image[:4], "label": jnp.asarray(label[:4]), "index": index[:4]}, "unlabeled": hidden}


def make(rate=0.1, **settings):
    learner = gan.learner(
        model=Classifier(),
        optimizer=optax.sgd(rate),
        generator=Generator(),
        generator_optimizer=settings.pop("generator_optimizer", optax.sgd(rate)),
        latent_dim=4,
        **settings,
    )
    return learner, learner.init(jax.random.key(0), points())


@pytest.mark.slow
@pytest.mark.covers("SE-10")
def test_the_logsumexp_form_is_the_softmax_of_k_plus_one_classes():
    logits = jnp.asarray(np.random.default_rng(0).normal(0, 3, (7, 5)), jnp.float32)
    explicit = jax.nn.log_softmax(jnp.concatenate([logits, jnp.zeros((7, 1))], 1))
    np.testing.assert_allclose(gan.fake_losses(logits), -explicit[:, -1], rtol=1e-5)
    np.testing.assert_allclose(gan.real_losses(logits), -jnp.log1p(-jnp.exp(explicit[:, -1])), rtol=1e-4, atol=1e-6)
    large = jnp.array([[1e4, 0.0], [-1e4, -1e4]])
    assert gan.real_losses(large)[0] == 0
    assert np.isfinite(gan.real_losses(large)).all()
    assert np.isfinite(gan.fake_losses(large)).all()


@pytest.mark.covers("SE-10")
@pytest.mark.parametrize("is_complement", [False, True])
def test_the_classifier_s_objective_by_hand(is_complement):
    """Of Z = sum exp: CE + 3 (log(1 + 1 / Z) of real + log(1 + Z) of made), and half the entropy of real ones.

    Logits are the images themselves; the second labeled and the last unlabeled image are padding.
    """
    rng = np.random.default_rng(0)
    labeled, unlabeled, fake = (rng.normal(size=(n, 2)).astype(np.float32) for n in (3, 4, 4))
    rows = gan._Batch(labeled, np.array([0, 1, 1]), np.float32([1, 0, 1]), unlabeled, np.float32([1, 1, 1, 0]))
    seen = []

    def apply(name, params, model_state, images, rng):
        seen.append((name, model_state, rng, len(images)))
        return params * images, None

    complement = gan.Complement(is_complement, entropy_weight=0.5)
    state, players = types.SimpleNamespace(model_state="before"), types.SimpleNamespace(apply=apply)

    @jax.jit
    def run(params):
        return gan._discriminator_objective(players, complement, 3.0, state, rows, fake, "dropout", params)

    value, (_, metrics) = run(1.0)
    assert seen == [("discriminator", "before", "dropout", 11)]
    log_p = labeled - np.log(np.exp(labeled).sum(1, keepdims=True))
    supervised = -(log_p[0, 0] + log_p[2, 1]) / 2
    real, made = (np.exp(x[:3]).sum(1) for x in (unlabeled, fake))
    p = np.exp(unlabeled[:3]) / real[:, None]
    other = np.log1p(1 / real) + np.log1p(made) - is_complement * 0.5 * (p * np.log(p)).sum(1)
    assert float(value) == pytest.approx(supervised + 3 * other.mean(), rel=1e-5)
    assert {name: metric.compute() for name, metric in metrics.items()} == pytest.approx(
        {
            "loss": supervised,
            "accuracy": ((labeled[0, 0] > labeled[0, 1]) + 0.0 + (labeled[2, 1] > labeled[2, 0])) / 2,
            "unlabeled_loss": other.mean(),
            "d_real": (real / (1 + real)).mean(),
            "d_fake": (made / (1 + made)).mean(),
        },
        rel=1e-5,
    )


@pytest.mark.covers("SE-10", "SE-11")
@pytest.mark.parametrize("is_complement", [False, True])
def test_the_generator_s_objective_by_hand(is_complement):
    """The distance of mean features, and 1.5 of the pull-away term and 0.2 of the excess of density.

    Features are the means over the places of the last map, which holds each image and its double: 3/2 of the image.
    """
    rng = np.random.default_rng(1)
    unlabeled, fake = (rng.normal(size=(5, 2)).astype(np.float32) for _ in range(2))
    seen = []

    def apply(name, params, model_state, images, train, rng, method):
        seen.append((name, train, rng, method))
        return {"first": images, "last": jnp.stack([images, 2 * images], 1)}, None

    rows = gan._Batch(None, None, None, unlabeled, np.ones(5, np.float32))
    complement = gan.Complement(is_complement, 1.5, 0.2, 0.3)
    state, players = types.SimpleNamespace(model_state="before"), types.SimpleNamespace(apply=apply)

    @jax.jit
    def run(params):
        return gan._generator_objective(
            players, complement, lambda params, statistics: (params * fake, None, None), state, rows, "dropout", params
        )

    value, (_, extras) = run(1.0)
    assert seen == [("discriminator", True, "dropout", "features")]
    real, made = 1.5 * unlabeled.astype(float), 1.5 * fake.astype(float)
    terms = {"feature_distance": np.square(real.mean(0) - made.mean(0)).mean()}
    if is_complement:
        terms["pull_away"], terms["density_excess"] = complement_terms(real, made)
    assert {name: float(term) for name, term in extras.items()} == pytest.approx(terms, rel=1e-4)
    weights = {"feature_distance": 1, "pull_away": 1.5, "density_excess": 0.2}
    assert float(value) == pytest.approx(sum(weights[name] * term for name, term in terms.items()), rel=1e-4)


@pytest.mark.covers("SE-10")
def test_features_are_matched_in_their_means():
    real, made, mask = (
        jnp.array([[1.0, 0], [3, 0], [99, 99]]),
        jnp.array([[4.0, 2], [0, 2], [7, 7]]),
        jnp.array([1, 1, 0]),
    )
    assert float(feature_distance(real, made, mask)) == pytest.approx((0**2 + 2**2) / 2)


class Normalized(Classifier):
    """Its features are normalized over the batch."""

    def setup(self):
        self.norm = nn.BatchNorm(use_scale=False, use_bias=False)
        self.head = nn.Dense(2)

    def __call__(self, x, train=False):
        return self.head(self.features(x, train)["points"].reshape(len(x), -1))

    def features(self, x, train=False):
        return {"points": self.norm(x, use_running_average=not train)}


@pytest.mark.weekly
@pytest.mark.covers("SE-10")
def test_batch_norm_leaves_the_mean_features_of_made_images_apart_from_those_of_real_ones():
    """Made points begin at about .5 and real ones lie about .1: in a joint batch, two clusters at -1 and 1."""
    rows = points()
    rows = {name: {**part, "image": 0.1 + 0.1 * (part["image"] - 0.5)} for name, part in rows.items()}
    settings = {"optimizer": optax.sgd(0.0), "generator_optimizer": optax.sgd(0.0), "latent_dim": 4}
    learner = gan.learner(model=Normalized(), generator=Generator(), **settings)
    _, metrics = jax.jit(learner.update)(learner.init(jax.random.key(0), rows), rows)
    assert 2 < metrics["feature_distance"].compute() < 4.1


@pytest.mark.covers("SE-11")
def test_pull_away_is_the_mean_squared_cosine_of_different_features():
    # Orthogonal rows: 0; the third row is masked. Opposite rows: cosine -1, squared 1.
    away = jax.jit(pull_away)
    features = np.float32([[2, 0, 0], [0, 3, 0], [5, 5, 5]])
    assert float(away(features, np.float32([1, 1, 0]))) == pytest.approx(0, abs=1e-6)
    opposite = np.float32([[2, 0, 0], [-1, 0, 0], [5, 5, 5]])
    assert float(away(opposite, np.float32([1, 1, 0]))) == pytest.approx(1, rel=1e-5)


@pytest.mark.slow
@pytest.mark.covers("SE-11")
def test_the_complements_terms_by_hand():
    orthogonal, mask = jnp.array([[2.0, 0, 0], [0, 3, 0], [5, 5, 5]]), jnp.array([1.0, 1, 0])
    assert float(pull_away(orthogonal, mask)) == pytest.approx(0, abs=1e-6)
    assert float(pull_away(jnp.array([[2.0, 0], [-1, 0]]), jnp.ones(2))) == pytest.approx(1)
    assert float(pull_away(jnp.array([[1.0, 0], [1, 1]]), jnp.ones(2))) == pytest.approx(0.5), "cos² of 45 degrees"
    real, ones = jnp.arange(4.0)[:, None], jnp.ones(4)
    # Each is 1 from its nearest, so the kernel is exp(-d² / 2). Without itself an end has e^-.5 + e^-2 + e^-4.5 over 3,
    # the least of all. In the middle of the four, at 1.5, it is 2 e^-.125 + 2 e^-1.125 over 4.
    low = np.log((np.exp(-0.5) + np.exp(-2) + np.exp(-4.5)) / 3)
    middle = np.log((2 * np.exp(-0.125) + 2 * np.exp(-1.125)) / 4)
    excess = density_excess(real, jnp.array([[1.5], [9], [-9], [1.5]]), ones, 0.0)
    np.testing.assert_allclose(excess, [middle - low, 0, 0, middle - low], rtol=1e-5)
    slopes = jax.grad(lambda real, x: density_excess(real, x, ones, 0.0).sum(), (0, 1))
    by_real, slope = slopes(real, jnp.array([[3.1], [-0.1], [9.0], [-9]]))
    assert not by_real.any()
    assert slope[0, 0] < 0 < slope[1, 0], "descent leads outwards"
    assert slope[2:].tolist() == [[0], [0]]


@pytest.mark.covers("SE-11")
def test_an_excess_of_density_is_over_that_of_real_images_by_hand():
    """Real ones at 0 and 1, two are padding: the kernel is exp(-d^2 / 2), and each has e^-1/2 of the other.

    Half-way made ones have e^-1/8, at a quarter and at an end the mean of two; far away there is no excess.
    """
    real, made = np.float32([[0], [1], [50], [7]]), np.float32([[0.5], [9], [0.25], [1]])
    excess = jax.jit(density_excess)(real, made, np.float32([1, 1, 0, 0]), 0.3)
    means = [np.exp(-1 / 8), (np.exp(-1 / 32) + np.exp(-9 / 32)) / 2, (np.exp(-1 / 2) + 1) / 2]
    quarter, end = np.log(means[1:]) + 1 / 2
    np.testing.assert_allclose(excess, [np.log(means[0]) + 1 / 2, 0, quarter, end], atol=1e-5)


def test_the_area_of_low_density_by_hand():
    """Kernels on every other real point, twice as wide as the mean distance of the others from the nearest of them.

    The area is the share of pairs in which a made point is where the density is lower than at a real one.
    """
    rng = np.random.default_rng(0)
    points, made = np.round(3 * rng.normal(size=10), 1), np.round(4 * rng.normal(size=7), 1)
    kernels, others = points[::2], points[1::2]
    width = 2 * np.abs(others[:, None] - kernels).min(1).mean()
    real, drawn = (np.exp(-((x[:, None] - kernels) ** 2) / (2 * width**2)).sum(1) for x in (others, made))
    expected = (drawn[:, None] < real).mean()
    assert area_of_low_density(np.float32(points[:, None]), np.float32(made[:, None])) == pytest.approx(expected)


def test_low_density_is_an_area():
    rng = np.random.default_rng(0)
    real, same = (rng.normal(size=(400, 2)).astype(np.float32) for _ in range(2))
    assert area_of_low_density(real, same) == pytest.approx(0.5, abs=0.06)
    assert area_of_low_density(real, same + 20) == 1
    assert area_of_low_density(real, 0.01 * same) < 0.2
    (evaluator, rows) = gan.low_density(), {"features": real[:200], "sample_features": same[:200]}
    acc = evaluator.add(evaluator.add(None, rows, None), {"features": real[200:], "sample_features": same[200:]}, None)
    assert evaluator.finish(acc) == {"low_density": area_of_low_density(real, same)}


def make_small(complement, **settings):
    settings |= {"complement": complement, "density_weight": 3.0, "density_quantile": 0.05}
    return make(generator_optimizer=optax.adam(0.01), **arguments_of(gan.learner, **settings))


def train(update, state, steps):
    """The state after so many steps on the same points."""
    return jax.jit(lambda state: jax.lax.fori_loop(0, steps, lambda _, s: update(s, points())[0], state))(state)


@pytest.fixture(scope="module")
def trained():
    """Without the complement: (learner, state before, after one step, after 1,000 steps)."""
    learner, state = make_small(complement=False)
    return learner, state, train(learner.update, state, 1), train(learner.update, state, 1000)


def assert_one_step(before, after, entropy_weight):
    """The classifier has descended the three terms by hand, and the entropy of the two classes of unlabeled images."""
    batch = points()
    rng = jax.random.fold_in(jax.random.fold_in(before.rng, 0), 2)
    z = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(rng, i), (4,)))(batch["unlabeled"]["index"])
    made = (Generator().apply({"params": before.params["generator"]}, z) + 1) / 2

    def objective(params):
        def logits(x):
            return Classifier().apply({"params": params}, x)

        def scores(x):
            return jax.nn.log_softmax(jnp.concatenate([logits(x), jnp.zeros((len(x), 1))], 1))

        known = jax.nn.log_softmax(logits(batch["labeled"]["image"]))
        labeled = -known[jnp.arange(4), batch["labeled"]["label"]].mean()
        real = -jnp.log(1 - jnp.exp(scores(batch["unlabeled"]["image"])[:, -1])).mean()
        classes = jax.nn.softmax(logits(batch["unlabeled"]["image"]))
        entropy = -(classes * jnp.log(classes)).sum(-1).mean()
        return labeled + real - scores(made)[:, -1].mean() + entropy_weight * entropy

    params = before.params["discriminator"]
    want = jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(objective)(params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after.params["discriminator"], want)


class Line(nn.Module):
    """Two classes by one layer, whose scores are the features too."""

    def setup(self):
        self.layer = nn.Dense(2)

    def __call__(self, x, train=False):
        return self.layer(x.reshape(len(x), -1))

    def features(self, x, train=False):
        return {"scores": self.layer(x)}


class Scale(nn.Module):
    """g z."""

    @nn.compact
    def __call__(self, z, train=False):
        return self.param("g", nn.initializers.ones, ()) * z.reshape(-1, 1, 1, 2)


def complement_terms(real, made):
    """In NumPy: the mean cos^2 of two made ones, and the mean excess of log p over the quantile 0.3 of real ones."""
    unit = made / np.linalg.norm(made, axis=-1, keepdims=True)
    cosines = np.square(unit @ unit.T)[~np.eye(len(made), dtype=bool)]
    apart = np.square(real[:, None] - real).sum(-1) + np.where(np.eye(len(real)), np.inf, 0)
    width = 2 * apart.min(1).mean()
    own = np.log(np.exp(-apart / width).sum(1) / (len(real) - 1))
    log_p = np.log(np.exp(-np.square(made[:, None] - real).sum(-1) / width).mean(1))
    return cosines.mean(), np.maximum(log_p - np.quantile(own, 0.3), 0).mean()


@pytest.mark.slow
@pytest.mark.covers("SE-10", "SE-11")
@pytest.mark.parametrize("complement", [False, True])
def test_one_update_of_both_players_by_hand(complement):
    """CE + 2 (log(1 + 1 / Z) of real + log(1 + Z) of made); then G by the mean features of the new classifier.

    With the complement, 2 x 0.7 times the entropy of real ones for the classifier, and 1.5 times the pull-away term and
    0.2 times the excess of density for the generator, whose slope is a difference quotient.
    """
    learner = gan.learner(
        model=Line(),
        optimizer=optax.sgd(0.5),
        generator=Scale(),
        generator_optimizer=optax.sgd(0.1),
        latent_dim=2,
        unlabeled_weight=2.0,
        complement_generator=gan.Complement(complement, 1.5, 0.2, density_quantile=0.3, entropy_weight=0.7),
    )
    batch, rng = points(6), np.random.default_rng(1)
    batch = jax.tree.map(np.asarray, batch)
    batch["unlabeled"]["image"] = (0.5 + 0.1 * rng.normal(size=(6, 1, 1, 2))).astype(np.float32)
    kernel, bias = (rng.normal(size=shape).astype(np.float32) for shape in ((2, 2), 2))
    params = {"discriminator": {"layer": {"kernel": kernel, "bias": bias}}, "generator": {"g": np.float32(0.2)}}
    shapes = jax.eval_shape(learner.init, jax.random.key(0), batch).replace(rng=None)
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes).replace(rng=jax.random.key(0), params=params)

    @jax.jit
    def step(state):
        keys = (jax.random.fold_in(jax.random.fold_in(state.rng, state.step), k) for k in (2, 4))
        keys = (example_keys(key, batch["unlabeled"]) for key in keys)
        z = [jax.vmap(lambda key: jax.random.normal(key, (2,)))(every) for every in keys]
        after, metrics = learner.update(state, batch)
        return after.params, after.teacher["params"], z, after.step, metrics["feature_distance"]

    after, teacher, (first, second), count, distance = jax.device_get(step(state))
    assert count == 1
    known, real = (batch[name]["image"].reshape(-1, 2) for name in ("labeled", "unlabeled"))
    made = (0.2 * first + 1) / 2

    def total(x):
        """(Z, the classes' probabilities)"""
        e = np.exp(x @ kernel + bias)
        return e.sum(-1, keepdims=True), e / e.sum(-1, keepdims=True)

    (_, p), (z_real, p_real), (z_made, p_made) = total(known), total(real), total(made)
    error = (p - np.eye(2)[batch["labeled"]["label"]]) / 4
    up, down = -2 * p_real / (1 + z_real) / 6, 2 * p_made * z_made / (1 + z_made) / 6
    if complement:  # of the entropy H: -p (log p + H)
        entropy = -(p_real * np.log(p_real)).sum(-1, keepdims=True)
        up = up - 2 * 0.7 * p_real * (np.log(p_real) + entropy) / 6
    kernel = kernel - 0.5 * (known.T @ error + real.T @ up + made.T @ down)
    bias = bias - 0.5 * (error.sum(0) + up.sum(0) + down.sum(0))
    for got in (after["discriminator"]["layer"], teacher["layer"]):
        np.testing.assert_allclose(got["kernel"], kernel, atol=1e-5)
        np.testing.assert_allclose(got["bias"], bias, atol=1e-5)

    def value(g):
        made, theirs = (x @ kernel + bias for x in ((g * np.float64(second) + 1) / 2, np.float64(real)))
        alike, excess = complement_terms(theirs, made)
        assert excess > 0
        return np.square(made.mean(0) - theirs.mean(0)).mean() + complement * (1.5 * alike + 0.2 * excess)

    if not complement:
        assert distance.compute() == pytest.approx(value(0.2), rel=1e-4)
    slope = (value(0.2 + 1e-5) - value(0.2 - 1e-5)) / 2e-5
    assert after["generator"]["g"] == pytest.approx(0.2 - 0.1 * slope, rel=1e-5)


@pytest.mark.weekly
@pytest.mark.covers("SE-10")
def test_the_classifier_descends_its_three_terms(trained):
    _, state, after, last = trained
    assert_one_step(state, after, entropy_weight=0)
    batch = points()["unlabeled"]
    logits = Classifier().apply({"params": last.params["discriminator"]}, batch["image"])
    assert (logits.argmax(-1) == batch["hidden_label"]).mean() > 0.9


@pytest.mark.weekly
@pytest.mark.covers("SE-11")
def test_the_classifier_of_a_complement_descends_the_entropy_of_unlabeled_images_too():
    learner, state = make_small(complement=True, entropy_weight=0.7)
    assert_one_step(state, train(learner.update, state, 1), entropy_weight=0.7)


@pytest.mark.weekly
@pytest.mark.covers("SE-11")
def test_a_complement_lies_where_real_images_are_rare():
    """The median of five seeds: after 1,000 steps and more, the area of one is between .86 and .98."""
    areas, spread, batch = {}, {}, points(100, seed=1)
    for complement in (False, True):
        learner, _ = make_small(complement)
        states = jax.jit(jax.vmap(lambda seed, init=learner.init: init(jax.random.key(seed), points())))(jnp.arange(5))
        states = train(jax.vmap(learner.update, (0, None)), states, 1500)
        outputs = jax.jit(jax.vmap(learner.predict, (0, None)))(states, batch["unlabeled"])
        pairs = zip(np.asarray(outputs["features"]), np.asarray(outputs["sample_features"]), strict=True)
        areas[complement] = np.median([area_of_low_density(real, made) for real, made in pairs])
        spread[complement] = outputs["sample"].reshape(5, -1, 2).mean(1)
        np.testing.assert_allclose(outputs["sample"].reshape(5, -1, 2), outputs["sample_features"], atol=1e-6)
    assert areas[True] > 0.9
    np.testing.assert_allclose(spread[False], np.full((5, 2), 0.5), atol=0.1)
    assert areas[False] < 0.5


@pytest.mark.slow
@pytest.mark.covers("SE-10")
def test_predictions_come_from_the_average_of_the_classifier(trained):
    learner, state = make_small(complement=False, ema_decay=0.999)
    after = train(learner.update, state, 1)
    share = 2 / 11  # (1 + t) / (10 + t) after the first step
    old, new = state.params["discriminator"], after.params["discriminator"]
    average = jax.tree.map(lambda e, w: share * e + (1 - share) * w, old, new)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), after.teacher["params"], average)
    images = points()["unlabeled"]
    want = Classifier().apply({"params": average}, images["image"])
    np.testing.assert_allclose(learner.predict(after, images)["logits"], want, rtol=1e-4, atol=1e-6)
    _, _, alone, _ = trained
    jax.tree.map(np.testing.assert_array_equal, alone.teacher["params"], alone.params["discriminator"])


class Dropped(Classifier):
    """Its features are the points, each number of which training drops half of the time."""

    @nn.compact
    def features(self, x, train=False):
        return {"points": nn.Dropout(0.5, deterministic=not train)(x)}


@pytest.mark.weekly
def test_dropout_acts_on_what_is_matched_in_training_alone():
    rows, still = points(), optax.sgd(0.0)
    found = []
    for model in (Classifier(), Dropped()):
        learner = gan.learner(
            model=model, optimizer=still, generator=Generator(), generator_optimizer=still, latent_dim=4
        )
        state = learner.init(jax.random.key(0), rows)
        update = jax.jit(learner.update)
        metrics = [update(state.replace(step=jnp.int32(step)), rows)[1] for step in range(2)]
        found.append([m["feature_distance"].compute() for m in metrics])
        np.testing.assert_allclose(
            learner.predict(state, rows["unlabeled"])["features"], rows["unlabeled"]["image"].reshape(-1, 2)
        )
    assert found[0][0] != found[1][0] != found[1][1], "another draw at each step"


@pytest.mark.slow
def test_no_gradient_depends_on_the_hidden_label(trained):
    learner, state, after, _ = trained
    other = points()
    other["unlabeled"]["hidden_label"] = 1 - other["unlabeled"]["hidden_label"]
    changed = jax.jit(learner.update)(state, other)[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), changed.params, after.params)


MODES = []


class Asked(Scale):
    """g z, which records in `MODES` whether it is in training."""

    def __call__(self, z, train=False):
        MODES.append(train)
        return super().__call__(z)


@pytest.mark.parametrize("is_complement", [False, True])
def test_an_update_keeps_the_form_of_the_state_and_measures_both_players(is_complement):
    learner = gan.learner(
        model=Line(),
        optimizer=optax.sgd(0.1),
        generator=Asked(),
        generator_optimizer=optax.sgd(0.1),
        latent_dim=2,
        augment=lambda key, image: image + jax.random.uniform(key),
        complement_generator=gan.Complement(is_complement),
    )
    state = jax.eval_shape(learner.init, jax.random.key(0), points(6))
    MODES.clear()
    after, metrics = jax.eval_shape(learner.update, state, points(6))
    assert set(MODES) == {True}
    assert jax.tree.structure(after) == jax.tree.structure(state)
    terms = {"pull_away", "density_excess"} if is_complement else set()
    names = {"loss", "accuracy", "unlabeled_loss", "d_real", "d_fake", "feature_distance"}
    assert set(metrics) == names | terms


@pytest.mark.slow
def test_padding_of_either_stream_counts_in_no_measure():
    """Three of four labeled images and five of six others count; images are doubled before the classifier.

    With Z the sum of e^logits, cross-entropy is log Z less the label's logit, and D(x) = Z / (1 + Z).
    """
    learner = gan.learner(
        model=Line(), optimizer=optax.sgd(0.1), generator=Scale(), generator_optimizer=optax.sgd(0.1), latent_dim=2,
        preprocess=lambda image: 2 * image,
    )  # fmt: skip
    rows, rng = jax.tree.map(np.asarray, points(6)), np.random.default_rng(2)
    rows["labeled"]["mask"], rows["unlabeled"]["mask"] = np.float32([1, 1, 1, 0]), np.float32([1, 1, 1, 1, 1, 0])
    shapes = jax.eval_shape(learner.init, jax.random.key(0), rows).replace(rng=None)
    state = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(s.dtype), shapes)
    _, metrics = jax.jit(learner.update)(state.replace(rng=jax.random.key(3)), rows)
    layer = state.params["discriminator"]["layer"]
    logits, label = (
        2 * rows["unlabeled"]["image"].reshape(6, 2) @ layer["kernel"] + layer["bias"],
        rows["labeled"]["label"],
    )
    total = np.exp(logits).sum(-1)
    losses = np.log(total[:4]) - logits[np.arange(4), label]
    assert metrics["loss"].compute() == pytest.approx(losses[:3].mean(), rel=1e-4)
    assert metrics["accuracy"].compute() == pytest.approx((logits[:4].argmax(-1) == label)[:3].mean())
    assert metrics["d_real"].compute() == pytest.approx((total / (1 + total))[:5].mean(), rel=1e-4)
    assert metrics["unlabeled_loss"].count == metrics["d_fake"].count == 5


class Louder(Scale):
    """g z, five times as much in training."""

    def __call__(self, z, train=False):
        return (1 + 4 * train) * super().__call__(z)


def test_predictions_are_of_the_averaged_classifier_and_samples_of_the_generator():
    """Noise z becomes (0.2 z + 1) / 2, in [0, 1], as in use; images are doubled before the classifier."""
    learner = gan.learner(
        model=Line(), optimizer=optax.sgd(0.5), generator=Louder(), generator_optimizer=optax.sgd(0.1), latent_dim=2,
        preprocess=lambda image: 2 * image,
    )  # fmt: skip
    rows, rng = jax.tree.map(np.asarray, points(6)), np.random.default_rng(1)
    shapes = jax.eval_shape(learner.init, jax.random.key(0), rows).replace(rng=None)
    state = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(s.dtype), shapes)
    state.params["generator"]["g"] = np.float32(0.2)

    @jax.jit
    def run(key):
        z = jax.vmap(lambda key: jax.random.normal(key, (2,)))(example_keys(key, rows["unlabeled"]))
        return learner.predict(state.replace(rng=key), rows["unlabeled"]), z

    found, z = jax.device_get(run(jax.random.key(3)))
    layer, images = state.teacher["params"]["layer"], rows["unlabeled"]["image"].reshape(6, 2)
    scores = [2 * x @ layer["kernel"] + layer["bias"] for x in (images, (0.2 * z + 1) / 2)]
    np.testing.assert_allclose(found["sample"].reshape(6, 2), (0.2 * z + 1) / 2, rtol=1e-5)
    np.testing.assert_allclose(found["logits"], scores[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["features"], scores[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["sample_features"], scores[1], rtol=1e-4, atol=1e-5)
