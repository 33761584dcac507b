"""What each technique makes of two streams, worked out by hand on one layer and 2 x 2 images.

One file for all: they are small functions over one learner (tests/semi_supervised/test_two_streams.py).
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.augment.mixing import mixup
from dlcore.learner import Labels, example_keys
from dlcore.semi_supervised import (
    class_balance,
    fixmatch,
    ict,
    mean_teacher,
    mixmatch,
    pi_model,
    pseudo_label,
    temporal_ensembling,
    vat,
)
from dlcore.semi_supervised.two_streams import RampUp, snapshots
from tests.experiment.arguments import arguments_of

KEY = jax.random.key(1)


class Linear(nn.Module):
    """Logits of one layer, with noise where it is wanted."""

    dropout: float = 0.0
    scale: float = 1.0

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dropout(self.dropout, deterministic=not train)(x.reshape(len(x), -1))
        return self.scale * nn.Dense(3, kernel_init=nn.initializers.normal(1.0))(x)


def noise(key, image):
    return image + 0.3 * jax.random.normal(key, image.shape)


def batch(labeled=3, unlabeled=6, **more):
    rng = np.random.default_rng(2)
    image = rng.normal(size=(labeled + unlabeled, 2, 2, 1)).astype(np.float32)
    index = np.arange(labeled + unlabeled, dtype=np.int32)
    return {
        "labeled": {"image": image[:labeled], "label": index[:labeled] % 3, "index": index[:labeled]},
        "unlabeled": {"image": image[labeled:], "index": index[:unlabeled], **more},
    }


def logits(params, images):
    return np.asarray(images).reshape(len(images), -1) @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def start(technique, model=None, rate=0.1, **changes):
    """(learner, a first state whose teacher is the student; without a memory nothing compiles)"""
    changes = arguments_of(technique.learner, **changes)
    learner = technique.learner(model=model or Linear(), optimizer=optax.sgd(rate), **changes)
    shapes = jax.eval_shape(learner.init, KEY, batch()).replace(rng=None)
    if jax.tree.leaves(shapes.memory):
        return learner, jax.jit(learner.init)(KEY, batch())
    layer = {"kernel": np.random.default_rng(5).normal(size=(4, 3)).astype(np.float32), "bias": np.zeros(3, np.float32)}
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes).replace(rng=KEY, params={"Dense_0": layer})
    return learner, state if state.teacher is None else state.replace(teacher=state.teacher | {"params": state.params})


def measured(learner, state, data):
    value, metrics = jax.jit(learner.loss)(state.params, state, data)
    return float(value), {name: metric.compute() for name, metric in metrics.items()}


def drawn(technique, rate=0.1, **changes):
    """(learner, a state whose weights are drawn in NumPy: nothing compiles)"""
    changes = arguments_of(technique.learner, **changes)
    learner = technique.learner(model=Linear(), optimizer=optax.sgd(rate), **changes)
    rng, shapes = np.random.default_rng(5), jax.eval_shape(learner.init, KEY, batch()).replace(rng=None)
    weights = [{"Dense_0": {"kernel": rng.normal(size=(4, 3)), "bias": rng.normal(size=3)}} for _ in range(2)]
    params, other = jax.tree.map(np.float32, weights)
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes).replace(rng=KEY, params=params)
    return learner, state if state.teacher is None else state.replace(teacher={**state.teacher, "params": other})


def through_softmax(p, up):
    """The gradient by the logits of p, from that by p."""
    return p * (up - (p * up).sum(-1, keepdims=True))


def descended(state, data, *terms, rate=0.1):
    """The weights after a step of cross-entropy, mean (p - y) x, and of terms (images, their gradients by logits)."""
    labeled = data["labeled"]
    images, one_hot = labeled["image"], np.eye(3)[labeled["label"]]
    pairs = [(images, (softmax(logits(state.params, images)) - one_hot) / len(images)), *terms]
    slopes = {
        "kernel": sum(np.asarray(x).reshape(len(x), -1).T @ slope for x, slope in pairs),
        "bias": sum(slope.sum(0) for _, slope in pairs),
    }
    return {name: old - rate * slopes[name] for name, old in state.params["Dense_0"].items()}


def assert_layer(params, want, atol=1e-5):
    for name, value in want.items():
        np.testing.assert_allclose(params["Dense_0"][name], value, atol=atol)


def supervised_loss(state, data):
    log_p = np.log(softmax(logits(state.params, data["labeled"]["image"])))
    return -log_p[np.arange(len(log_p)), data["labeled"]["label"]].mean()


# FixMatch


def darken(key, image):
    """A strong view that can be worked out: half the image."""
    return 0.5 * image


@pytest.mark.covers("SE-09")
def test_one_update_of_fixmatch_by_hand():
    """A weak view x + 1, a strong view x / 2 of the image itself, and no label of the unlabeled images.

    The last image of each stream is padding: it neither counts in the loss nor in any measure.
    """
    learner = fixmatch.learner(
        model=Linear(),
        optimizer=optax.sgd(0.1),
        augment=lambda key, image: image + 1,
        strong=darken,
        threshold=0.6,
        unlabeled_weight=2.0,
    )
    mask, hidden = np.float32([1, 1, 1, 1, 1, 0]), np.zeros(6, np.int32)
    data, rng = batch(mask=mask, hidden_label=hidden), np.random.default_rng(4)
    data["labeled"]["mask"] = np.float32([1, 1, 0])
    shapes = jax.eval_shape(learner.init, KEY, data).replace(rng=None)
    kernel, bias = (rng.normal(size=size).astype(np.float32) for size in ((4, 3), 3))
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    state = state.replace(rng=KEY, params={"Dense_0": {"kernel": kernel, "bias": bias}})
    after, metrics = jax.jit(learner.update)(state, data)
    labeled, images = (data[name]["image"].reshape(-1, 4) for name in ("labeled", "unlabeled"))
    p = softmax(logits(state.params, images + 1))
    guess, accepted = p.argmax(-1), (p.max(-1) >= 0.6) & (mask > 0)
    assert 0 < accepted.sum() < (p.max(-1) >= 0.6).sum() < 6
    q, label = softmax(logits(state.params, labeled + 1))[:2], data["labeled"]["label"][:2]
    assert metrics["loss"].compute() == pytest.approx(-np.log(q[[0, 1], label]).mean(), rel=1e-5)
    assert metrics["accuracy"].compute() == (q.argmax(-1) == label).mean()
    error = (q - np.eye(3)[label]) / 2
    other = 2 * (softmax(logits(state.params, 0.5 * images)) - np.eye(3)[guess]) * accepted[:, None] / 5
    got = after.params["Dense_0"]
    slope = (labeled[:2] + 1).T @ error + 0.5 * images.T @ other
    np.testing.assert_allclose(got["kernel"], kernel - 0.1 * slope, atol=1e-5)
    np.testing.assert_allclose(got["bias"], bias - 0.1 * (error.sum(0) + other.sum(0)), atol=1e-5)
    assert metrics["mask_rate"].compute() == pytest.approx(accepted.sum() / 5)
    is_wrong = (guess != hidden)[accepted]
    assert 0 < is_wrong.mean() < 1
    assert metrics["impurity"].compute() == pytest.approx(is_wrong.mean())


@pytest.mark.covers("SE-09")
def test_one_update_of_fixmatch_with_alignment_and_thresholds_of_the_classes_by_hand():
    """q by the running mean, 0.99 mean + 0.01 of the batch, at sum 1; tau_c = 0.9 s / (2 - s).

    Counts 0.1, 0.32 and 0.4, s = 1/4, 4/5 and 1: tau = 0.9 / 7, 0.9 * 2 / 3 and 0.9. The seventh image is padding. The
    counts are those before the step: where none is confident yet, all classes have 0.9.
    """
    settings = {"threshold": 0.9, "thresholds": "class", "alignment": True, "unlabeled_weight": 2.0}
    learner, state = drawn(fixmatch, augment=lambda key, image: image, strong=darken, **settings)
    mean, counts = np.array([0.5, 0.3, 0.2], np.float32), np.array([0.1, 0.32, 0.4], np.float32)
    data = batch(unlabeled=7, mask=np.float32([1] * 6 + [0]))
    update = jax.jit(learner.update)
    after, _ = update(state.replace(memory={"mean": mean, "confident": counts}), data)
    none_yet = update(state.replace(memory={"mean": mean, "confident": 0 * counts}), data)[1]
    images = data["unlabeled"]["image"][:6]
    p = softmax(logits(state.params, images))
    moved = 0.99 * mean + 0.01 * p.mean(0)
    q = p / moved
    q /= q.sum(-1, keepdims=True)
    confidence, label = q.max(-1), q.argmax(-1)
    accepted = confidence >= np.array([0.9 / 7, 0.6, 0.9])[label]
    assert (accepted.sum(), (confidence >= 0.9).sum()) == (2, 1)
    assert none_yet["mask_rate"].compute() == pytest.approx(1 / 6)
    other = 2 * (softmax(logits(state.params, 0.5 * images)) - np.eye(3)[label]) * accepted[:, None] / 6
    assert_layer(after.params, descended(state, data, (0.5 * images, other)))
    confident = (np.eye(3)[label] * (confidence >= 0.9)[:, None]).mean(0)
    np.testing.assert_allclose(after.memory["confident"], 0.99 * counts + 0.01 * confident, rtol=1e-5)
    np.testing.assert_allclose(after.memory["mean"], moved, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("SE-09")
def test_fixmatch_learns_the_strong_view_from_confident_guesses_of_the_weak():
    learner, state = start(fixmatch, strong=darken, threshold=0.6, unlabeled_weight=2.0)
    data = batch(hidden_label=np.zeros(6, np.int32))
    images = data["unlabeled"]["image"]
    p = softmax(logits(state.params, images))
    accepted, guess = p.max(-1) >= 0.6, p.argmax(-1)
    assert 0 < accepted.sum() < 6
    losses = -np.log(softmax(logits(state.params, 0.5 * images)))[np.arange(6), guess] * accepted
    value, metrics = measured(learner, state, data)
    assert value == pytest.approx(supervised_loss(state, data) + 2 * losses.sum() / 6, rel=1e-5), "of all, not accepted"
    assert metrics["mask_rate"] == pytest.approx(accepted.mean())
    assert metrics["impurity"] == pytest.approx((guess[accepted] != 0).mean())


@pytest.mark.slow
@pytest.mark.covers("SE-09")
def test_fixmatch_gives_no_gradient_to_the_guess():
    data = batch()
    images = data["unlabeled"]["image"].reshape(6, 4)
    (learner, state), (without, _) = (start(fixmatch, strong=darken, threshold=0.6, unlabeled_weight=w) for w in (1, 0))
    full, base = (jax.jit(jax.grad(lambda p, x=x: x.loss(p, state, data)[0]))(state.params) for x in (learner, without))
    p = softmax(logits(state.params, images))
    error = softmax(logits(state.params, 0.5 * images)) - np.eye(3)[p.argmax(-1)]
    expected = (0.5 * images).T @ (error * (p.max(-1) >= 0.6)[:, None]) / 6  # through the strong view alone
    np.testing.assert_allclose(full["Dense_0"]["kernel"] - base["Dense_0"]["kernel"], expected, atol=1e-6)


@pytest.mark.slow
def test_fixmatch_defaults_are_the_papers():
    learner, state = start(fixmatch, strong=darken)
    assert measured(learner, state, batch())[1]["mask_rate"] == np.mean(
        softmax(logits(state.params, batch()["unlabeled"]["image"])).max(-1) >= 0.95
    )


def test_distribution_alignment_and_class_thresholds():
    mean = jnp.array([0.8, 0.1, 0.1])
    np.testing.assert_allclose(
        class_balance.align_distribution(jnp.array([[0.8, 0.1, 0.1]]), mean), [[1 / 3] * 3], rtol=1e-6
    )
    np.testing.assert_allclose(
        class_balance.class_thresholds(0.9, jnp.array([0.4, 0.2, 0.0])), [0.9, 0.9 * 0.5 / 1.5, 0], rtol=1e-6
    )
    np.testing.assert_allclose(class_balance.class_thresholds(0.9, jnp.zeros(3)), 0.9, rtol=1e-6)


def test_a_running_mean_stays_where_no_image_counts():
    mean, values = jnp.array([0.8, 0.2]), jnp.array([[1.0, 0.0], [0.5, 0.5], [jnp.nan, 9.0]])
    # .99 (.8, .2) + .01 (.75, .25), of the first two
    moved = class_balance.running_mean(mean, values, jnp.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(moved, [0.7995, 0.2005], rtol=1e-6)
    np.testing.assert_array_equal(class_balance.running_mean(mean, values, jnp.zeros(3)), mean)


def test_probabilities_of_zero_align_to_even_ones():
    def aligned(p):
        found = class_balance.align_distribution(p, jnp.array([0.8, 0.2]))
        return found[:, 0].sum(), found

    p = np.float32([[0.0, 0.0], [0.8, 0.2]])
    (_, found), slope = jax.jit(jax.value_and_grad(aligned, has_aux=True))(p)
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.5, 0.5]], rtol=1e-6)
    assert np.isfinite(slope).all()


@pytest.mark.slow
def test_fixmatch_remembers_what_it_guessed():
    data = batch()
    p = softmax(logits(start(fixmatch, strong=darken)[1].params, data["unlabeled"]["image"]))
    for changes in ({"alignment": True}, {"thresholds": "class"}):
        learner, state = start(fixmatch, strong=darken, threshold=0.6, **changes)
        after, _ = jax.jit(learner.update)(state, data)
        np.testing.assert_allclose(after.memory["mean"], 0.99 / 3 + 0.01 * p.mean(0), rtol=1e-5)
    chosen = np.eye(3)[p.argmax(-1)] * (p.max(-1) >= 0.6)[:, None]
    np.testing.assert_allclose(after.memory["confident"], 0.01 * chosen.mean(0), rtol=1e-5)
    lower = state.replace(memory={**state.memory, "confident": jnp.array([0.3, 0.003, 0.003])})
    assert measured(learner, lower, data)[1]["mask_rate"] > measured(learner, state, data)[1]["mask_rate"]


# Pseudo-labels


@pytest.mark.covers("SE-01")
@pytest.mark.parametrize("weighting", ["all", "threshold", "confidence"])
def test_pseudo_labels_are_weighted_as_asked(weighting):
    learner, state = start(pseudo_label, weighting=weighting, threshold=0.6, unlabeled_weight=0.5)
    data = batch()
    p = softmax(logits(state.params, data["unlabeled"]["image"]))
    confidence = p.max(-1)
    share = {"all": np.ones(6), "threshold": confidence >= 0.6, "confidence": confidence}[weighting]
    value, metrics = measured(learner, state, data)
    assert value == pytest.approx(supervised_loss(state, data) + 0.5 * (share * -np.log(confidence)).mean(), rel=1e-5)
    assert metrics["mask_rate"] == pytest.approx((confidence >= 0.6).mean() if weighting == "threshold" else 1)


@pytest.mark.slow
@pytest.mark.covers("SE-01")
def test_a_generation_learns_the_labels_of_the_one_before():
    learner, state = start(pseudo_label, generation=2, unlabeled_weight=1.0, rate=2.0)
    data = batch()
    first, _ = jax.jit(learner.update)(state, data)
    assert measured(learner, first, data)[0] == pytest.approx(supervised_loss(first, data), rel=1e-5), "labels alone"
    second, _ = jax.jit(learner.update)(first, data)
    jax.tree.map(np.testing.assert_array_equal, second.teacher["params"], second.params)
    third, _ = jax.jit(learner.update)(second, data)
    label = softmax(logits(second.params, data["unlabeled"]["image"])).argmax(-1)
    losses = -np.log(softmax(logits(third.params, data["unlabeled"]["image"])))[np.arange(6), label]
    assert measured(learner, third, data)[0] == pytest.approx(supervised_loss(third, data) + losses.mean(), rel=1e-5)


@pytest.mark.covers("SE-01")
def test_one_update_of_pseudo_labels_by_hand():
    """At step 3, generation 2: the snapshot's guess at x, its confidence the weight, teaches the student at x + 1."""
    settings = {"generation": 2, "weighting": "confidence", "unlabeled_weight": 2.0}
    learner, state = drawn(pseudo_label, augment=lambda key, image: image + 1, **settings)
    data = batch()
    state = state.replace(step=np.int32(3))
    after, _ = jax.jit(learner.update)(state, data)
    images = data["unlabeled"]["image"]
    guess = softmax(logits(state.teacher["params"], images))
    wrong = softmax(logits(state.params, images + 1)) - np.eye(3)[guess.argmax(-1)]
    seen = {"labeled": data["labeled"] | {"image": data["labeled"]["image"] + 1}}
    want = descended(state, seen, (images + 1, 2 * guess.max(-1, keepdims=True) * wrong / 6))
    assert_layer(after.params, want)
    assert_layer(after.teacher["params"], want)  # after 4 steps, a multiple of 2, the next snapshot


@pytest.mark.covers("SE-01")
def test_no_gradient_goes_through_the_confidence_of_the_student_s_own_pseudo_labels():
    """Generation 1: the student's guess at x + 1 is its label there, weighted by a confidence that stands still."""
    settings = {"generation": 1, "weighting": "confidence", "unlabeled_weight": 2.0, "ramp_steps": 1}
    learner, state = drawn(pseudo_label, augment=lambda key, image: image + 1, **settings)
    data = batch()
    state = state.replace(step=np.int32(3))
    after, _ = jax.jit(learner.update)(state, data)
    images = data["unlabeled"]["image"]
    guess = softmax(logits(state.params, images + 1))
    wrong = guess - np.eye(3)[guess.argmax(-1)]
    seen = {"labeled": data["labeled"] | {"image": data["labeled"]["image"] + 1}}
    assert_layer(after.params, descended(state, seen, (images + 1, 2 * guess.max(-1, keepdims=True) * wrong / 6)))


@pytest.mark.covers("SE-01")
def test_a_guess_as_confident_as_the_threshold_teaches():
    """Weights 0 and biases (log 2, 0, 0): each guess is class 0 at 2 / 4 = 0.5; it costs log 2 in each of six rows."""
    data = batch()
    masks = {}
    for threshold in (0.5, 0.51):
        settings = {"generation": 1, "weighting": "threshold", "threshold": threshold, "unlabeled_weight": 2.0}
        learner, state = drawn(pseudo_label, augment=lambda key, image: image, ramp_steps=1, **settings)
        layer = {"kernel": np.zeros((4, 3), np.float32), "bias": np.log(np.array([2, 1, 1], np.float32))}
        state = state.replace(step=np.int32(3), params={"Dense_0": layer})
        loss, metrics = measured(learner, state, data)
        masks[threshold] = metrics["mask_rate"]
        # Labels 0, 1, 2 at 1/2, 1/4, 1/4.
        supervised = (np.log(2) + 2 * np.log(4)) / 3
        assert loss == pytest.approx(supervised + 2 * np.log(2) * (threshold == 0.5), rel=1e-5)
    assert masks == {0.5: 1, 0.51: 0}


# Mean teacher


@pytest.mark.covers("SE-04")
def test_one_update_of_the_mean_teacher_by_hand():
    """The student goes to the teacher's probabilities, then the teacher to the student, by d = 2 / 11 after a step."""
    learner = mean_teacher.learner(model=Linear(), optimizer=optax.sgd(0.1), ramp=RampUp(3.0))
    data, rng = batch(), np.random.default_rng(5)
    shapes = jax.eval_shape(learner.init, KEY, data).replace(rng=None)
    student, teacher = ({"kernel": rng.normal(size=(4, 3)), "bias": rng.normal(size=3)} for _ in range(2))
    params, other = jax.tree.map(np.float32, [{"Dense_0": student}, {"Dense_0": teacher}])
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    state = state.replace(rng=KEY, params=params, teacher={**state.teacher, "params": other})
    after, _ = jax.jit(learner.update)(state, data)
    labeled, images = (data[name]["image"].reshape(-1, 4) for name in ("labeled", "unlabeled"))
    error = (softmax(logits(params, labeled)) - np.eye(3)[data["labeled"]["label"]]) / 3
    p, target = softmax(logits(params, images)), softmax(logits(other, images))
    up = 3 * 2 / 3 * (p - target) / 6  # by p, of 3 times the mean of six images' means of three squares
    back = p * (up - (p * up).sum(-1, keepdims=True))
    slope = {"kernel": labeled.T @ error + images.T @ back, "bias": error.sum(0) + back.sum(0)}
    for name, old in student.items():
        new = old - 0.1 * slope[name]
        np.testing.assert_allclose(after.params["Dense_0"][name], new, atol=1e-5)
        averaged = 2 / 11 * teacher[name] + 9 / 11 * new
        np.testing.assert_allclose(after.teacher["params"]["Dense_0"][name], averaged, atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("SE-04")
def test_mean_teacher_compares_predictions_not_weights():
    learner, state = start(mean_teacher, unlabeled_weight=3.0)
    data = batch()
    assert measured(learner, state, data)[1]["unlabeled_loss"] == pytest.approx(0, abs=1e-12)
    other = jax.tree.map(lambda x: x + 0.5, state.params)  # a shift of all logits by the same: the same predictions
    shifted = state.replace(teacher={"params": {"Dense_0": {**other["Dense_0"]}}, "model_state": {}})
    images = data["unlabeled"]["image"]
    distance = np.square(softmax(logits(state.params, images)) - softmax(logits(other, images))).mean(-1)
    assert np.abs(jax.tree.leaves(other)[0] - jax.tree.leaves(state.params)[0]).min() > 0.4, "far apart as weights"
    value, metrics = measured(learner, shifted, data)
    assert metrics["unlabeled_loss"] == pytest.approx(distance.mean(), abs=1e-9)
    assert distance.mean() < 1e-12
    twisted = state.replace(teacher={"params": jax.tree.map(jnp.negative, state.params), "model_state": {}})
    distance = np.square(softmax(logits(state.params, images)) - softmax(-logits(state.params, images))).mean(-1)
    value, _ = measured(learner, twisted, data)
    assert value == pytest.approx(supervised_loss(state, data) + 3 * distance.mean(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.covers("SE-04")
def test_student_and_teacher_see_different_noise():
    learner, state = start(mean_teacher, augment=noise)
    assert measured(learner, state, batch())[1]["unlabeled_loss"] > 1e-4
    learner, state = start(mean_teacher, Linear(dropout=0.5))
    assert measured(learner, state, batch())[1]["unlabeled_loss"] > 1e-4


# The Pi-model


@pytest.mark.slow
@pytest.mark.covers("SE-02")
def test_the_pi_model_of_a_deterministic_network_costs_nothing():
    for model, augment, is_zero in (
        (Linear(), None, True),
        (Linear(dropout=0.5), None, False),
        (Linear(), noise, False),
    ):
        learner, state = start(pi_model, model, augment=augment)
        loss = measured(learner, state, batch())[1]["unlabeled_loss"]
        assert (loss == 0) is is_zero


def brighten(key, image):
    """A view that can be told from its labeled twin: once or twice the image."""
    return image * (1 + jax.random.bernoulli(key))


@pytest.mark.covers("SE-02")
def test_the_pi_model_pulls_two_views_together_with_a_weight_that_rises():
    """Each view is x or 2 x, so the pair costs 0 or the one mean square of p(x) - p(2 x): the sum tells how many."""
    data, rng = batch(), np.random.default_rng(0)
    settings = {"model": Linear(), "optimizer": optax.sgd(0.1), "ramp": RampUp(3.0, 10)}
    still, noisy = (pi_model.learner(augment=augment, **settings) for augment in (None, brighten))
    shapes = jax.eval_shape(still.init, KEY, data).replace(rng=None)
    state = jax.tree.map(lambda s: rng.normal(size=s.shape).astype(s.dtype), shapes).replace(rng=KEY)
    assert jax.jit(still.loss)(state.params, state, data)[1]["unlabeled_loss"].compute() == 0
    images = data["unlabeled"]["image"]
    p, q = (softmax(logits(state.params, views)) for views in (images, 2 * images))
    apart = np.square(p - q).mean(-1)
    subsets = np.array([[(k >> i) & 1 for i in range(6)] for k in range(64)]) @ apart / 6
    loss = jax.jit(noisy.loss)
    for step, weight in ((10, 3.0), (5, 3 * np.exp(-1.25))):  # exp(-5 (1 - 5 / 10)^2) after 5 of 10 steps
        value, metrics = loss(state.params, state.replace(step=np.int32(step)), data)
        pair = metrics["unlabeled_loss"].compute()
        assert 0 < pair == pytest.approx(subsets[np.abs(subsets - pair).argmin()], rel=1e-5)
        assert float(value) == pytest.approx(metrics["loss"].compute() + weight * pair, rel=1e-5)


@pytest.mark.weekly
@pytest.mark.covers("SE-02")
def test_the_pi_model_gives_gradients_to_both_passes():
    learner, state = start(pi_model, Linear(), augment=noise, unlabeled_weight=1.0)
    plain, _ = start(pi_model, Linear(), augment=noise, unlabeled_weight=0.0)

    def unlabeled(w):
        params = {"Dense_0": {**state.params["Dense_0"], "bias": w}}
        return learner.loss(params, state, batch())[0] - plain.loss(params, state, batch())[0]

    bias, step = state.params["Dense_0"]["bias"], 1e-2 * jnp.eye(3)
    numerical = [(unlabeled(bias + d) - unlabeled(bias - d)) / 2e-2 for d in step]
    np.testing.assert_allclose(jax.grad(unlabeled)(bias), numerical, atol=2e-5)


@pytest.mark.slow
@pytest.mark.covers("SE-02")
def test_one_update_of_the_pi_model_by_hand():
    """Both passes of L = 3 mean |p - q|^2 / 3, of views x or 2 x drawn by each image's own keys, take a gradient."""
    learner, state = drawn(pi_model, augment=brighten, unlabeled_weight=3.0)
    data = batch()

    @jax.jit
    def step(state):
        rng = jax.random.fold_in(state.rng, state.step)
        keys = (jax.random.fold_in(jax.random.fold_in(rng, 2), k) for k in range(2))
        parts = [(jax.random.fold_in(rng, 0), data["labeled"]), *((key, data["unlabeled"]) for key in keys)]
        views = [jax.vmap(brighten)(example_keys(key, part), part["image"]) for key, part in parts]
        return learner.update(state, data)[0], views

    after, (labeled, first, second) = step(state)
    assert (first != second).any()
    p, q = (softmax(logits(state.params, view)) for view in (first, second))
    up = 3 * 2 / 3 * (p - q) / 6
    terms = (first, through_softmax(p, up)), (second, through_softmax(q, -up))
    assert_layer(after.params, descended(state, {"labeled": data["labeled"] | {"image": labeled}}, *terms))


# Temporal ensembling


@pytest.mark.slow
@pytest.mark.covers("SE-03")
def test_the_table_is_corrected_by_visits_and_padding_writes_nothing():
    memory = {"ensemble": jnp.zeros((4, 2)), "visits": jnp.zeros(4, jnp.int32)}
    p, q = jnp.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]), jnp.array([[0.3, 0.7], [0.6, 0.4], [0.1, 0.9]])
    memory = temporal_ensembling.remember(memory, jnp.array([2, 0, 3]), p, jnp.array([1, 1, 0]), 0.6)
    assert memory["visits"].tolist() == [1, 0, 1, 0]
    np.testing.assert_allclose(memory["ensemble"], 0.4 * np.array([p[1], [0, 0], p[0], [0, 0]]), rtol=1e-6)
    np.testing.assert_allclose(
        temporal_ensembling.correct_startup_bias(memory, jnp.array([0, 2]), 0.6), [p[1], p[0]], rtol=1e-6
    )
    memory = temporal_ensembling.remember(memory, jnp.array([2, 1, 1]), q, jnp.array([1, 1, 1]), 0.6)
    assert memory["visits"].tolist() == [1, 1, 2, 0], "of an example that comes twice the first counts"
    rows = temporal_ensembling.correct_startup_bias(memory, jnp.array([0, 1, 2, 3]), 0.6)
    mean = (0.6 * 0.4 * p[0] + 0.4 * q[0]) / (1 - 0.36)  # 1 - 0.6^2: two visits, at whatever step
    np.testing.assert_allclose(rows, [p[1], q[1], mean, [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(rows[:3].sum(-1), 1, rtol=1e-6)
    padding = temporal_ensembling.remember(memory, jnp.array([2, 2, 0]), q, jnp.array([0, 1, 0]), 0.6)
    assert padding["visits"].tolist() == [1, 1, 3, 0], "padding does not stand in an example's way"
    np.testing.assert_allclose(padding["ensemble"][2], 0.6 * memory["ensemble"][2] + 0.4 * q[1], rtol=1e-6)


def test_rows_outside_the_table_are_refused():
    memory = {"ensemble": jnp.zeros((4, 2)), "visits": jnp.zeros(4, jnp.int32)}
    for index in (jnp.array([0, 4]), jnp.array([0, -1])):
        with pytest.raises(ValueError, match=r"index\[1\]=(4|-1): out of range; allowed: 0 to 3, of 4 rows"):
            temporal_ensembling.remember(memory, index, jnp.ones((2, 2)), jnp.ones(2), 0.6)
        with pytest.raises(ValueError, match=r"index\[1\]=(4|-1): out of range; allowed: 0 to 3, of 4 rows"):
            temporal_ensembling.correct_startup_bias(memory, index, 0.6)


@pytest.mark.slow
@pytest.mark.covers("SE-03")
def test_temporal_ensembling_pulls_towards_earlier_predictions():
    learner, state = start(temporal_ensembling, num_unlabeled=6, unlabeled_weight=2.0, rate=1.0)
    data = batch(mask=np.array([1, 1, 1, 1, 1, 0], np.float32))
    images = data["unlabeled"]["image"]
    assert measured(learner, state, data)[0] == pytest.approx(supervised_loss(state, data), rel=1e-5), "first visit"
    after, _ = jax.jit(learner.update)(state, data)
    assert after.memory["visits"].tolist() == [1, 1, 1, 1, 1, 0]
    p, q = (softmax(logits(s.params, images)) for s in (state, after))
    np.testing.assert_allclose(after.memory["ensemble"][:5], 0.4 * p[:5], rtol=1e-5)
    distance = np.square(q - p).mean(-1)[:5].mean()
    assert measured(learner, after, data)[0] == pytest.approx(supervised_loss(after, data) + 2 * distance, rel=1e-5)


@pytest.mark.covers("SE-03")
def test_one_update_of_temporal_ensembling_by_hand():
    """Images seen v times go to Z / (1 - .6^v), those of a first visit nowhere; then Z = .6 Z + .4 p."""
    learner, state = drawn(temporal_ensembling, num_unlabeled=6, unlabeled_weight=2.0)
    data = batch(mask=np.array([1, 1, 1, 1, 1, 0], np.float32))
    table, visits = np.random.default_rng(8).uniform(size=(6, 3)).astype(np.float32), np.array([1, 2, 0, 3, 0, 1])
    state = state.replace(memory={"ensemble": table, "visits": visits.astype(np.int32)})
    after, _ = jax.jit(learner.update)(state, data)
    p = softmax(logits(state.params, data["unlabeled"]["image"]))
    target = table / np.where(visits > 0, 1 - 0.6**visits, 1)[:, None]
    up = 2 * 2 / 3 * (p - target) * np.array([1, 1, 0, 1, 0, 0])[:, None] / 5
    assert_layer(after.params, descended(state, data, (data["unlabeled"]["image"], through_softmax(p, up))))
    np.testing.assert_allclose(after.memory["ensemble"][:5], (0.6 * table + 0.4 * p)[:5], rtol=1e-5)
    np.testing.assert_array_equal(after.memory["ensemble"][5], table[5])
    assert after.memory["visits"].tolist() == [2, 3, 1, 4, 1, 1]
    # Rows of the table are the numbers of unlabeled images, of evaluation's one stream too.
    rows = Labels(6, reason="num_unlabeled=6")
    assert learner.classes(state, data) == {"label": 3, "unlabeled/index": rows}
    assert learner.classes(state, data["labeled"]) == {"label": 3, "index": rows}


# Virtual adversarial training


@pytest.mark.slow(unless=["0.001"])
@pytest.mark.covers("SE-05")
@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_the_adversarial_direction_is_the_top_eigenvector_of_the_fisher_matrix(scale):
    rng = np.random.default_rng(3)
    images = rng.uniform(size=(4, 3, 3, 1)).astype(np.float32)
    kernel = scale * rng.normal(size=(9, 5)).astype(np.float32)
    if scale < 1:
        kernel[:, 0] *= 9  # one class is far from all others, so that few iterations are enough
    iterations = 40 if scale == 1 else 3

    @jax.jit
    def both():
        def logits(x):
            return x.reshape(len(x), -1) @ kernel

        return [vat.adversarial_direction(logits, images, KEY, 1e-2, count) for count in (iterations, 1)]

    many, one = jax.device_get(both())
    for k in range(4):
        p = softmax(images[k].reshape(-1) @ kernel)
        values, vectors = np.linalg.eigh(kernel @ (np.diag(p) - np.outer(p, p)) @ kernel.T)
        assert abs(np.dot(many[k].reshape(-1), vectors[:, -1])) > 0.999
        for d in (one[k], many[k]):
            assert np.linalg.norm(d) == pytest.approx(1, rel=1e-5), "over all pixels of an image, for each image"
        fisher = np.asarray(one[k]).reshape(-1) @ (vectors * values) @ vectors.T @ np.asarray(one[k]).reshape(-1)
        assert fisher > 0.5 * values[-1], "one iteration goes most of the way"


@pytest.mark.weekly
@pytest.mark.covers("SE-05")
def test_vat_costs_the_divergence_at_epsilon():
    learner, state = start(vat, Linear(scale=2.0), epsilon=0.5, iterations=30, unlabeled_weight=3.0)
    data = batch()
    layer, images = state.params["Dense_0"], data["unlabeled"]["image"].reshape(6, 4)

    def z(x):
        return 2 * (x @ layer["kernel"] + layer["bias"])

    worst = []
    for image in images:
        p = softmax(z(image))
        _, vectors = np.linalg.eigh(layer["kernel"] @ (np.diag(p) - np.outer(p, p)) @ layer["kernel"].T)
        worst.append([(p * np.log(p / softmax(z(image + s * 0.5 * vectors[:, -1])))).sum() for s in (1, -1)])
    worst = np.array(worst)
    loss = measured(learner, state, data)[1]["unlabeled_loss"]
    assert 0.98 * worst.min(1).mean() <= loss <= 1.02 * worst.max(1).mean()
    zero, _ = start(vat, Linear(scale=2.0), epsilon=0.0)
    assert measured(zero, state, data)[1]["unlabeled_loss"] == pytest.approx(0, abs=1e-7)


@pytest.mark.slow
@pytest.mark.covers("SE-05")
def test_vat_gives_no_gradient_to_the_plain_prediction_nor_to_the_direction():
    learner, state = start(vat, epsilon=1.0)
    data = batch()
    moved = jax.tree.map(lambda x: 1.3 * x, state.params)

    def unlabeled(params):
        return learner.loss(params, state, data)[1]["unlabeled_loss"].total / 6

    def chord(t):
        return unlabeled(jax.tree.map(lambda a, b: a + t * (b - a), state.params, moved))

    gradient = jax.grad(unlabeled)(state.params)
    slope = sum(jax.tree.leaves(jax.tree.map(lambda g, a, b: (g * (b - a)).sum(), gradient, state.params, moved)))
    assert float(slope) == pytest.approx(float(chord(1e-2) - chord(-1e-2)) / 2e-2, rel=2e-2)


@pytest.mark.slow
def test_entropy_is_added_to_vat():
    data = batch()
    (plain, state), (more, _) = start(vat), start(vat, entropy_weight=0.5)
    p = softmax(logits(state.params, data["unlabeled"]["image"]))
    gap = measured(more, state, data)[0] - measured(plain, state, data)[0]
    assert gap == pytest.approx(0.5 * -(p * np.log(p)).sum(-1).mean(), rel=1e-4)


@pytest.mark.slow
@pytest.mark.covers("SE-05")
def test_one_update_of_vat_by_hand():
    """d is along W (p(x + r) - p(x)) at r = xi |x| d_0; KL(p(x), p(x + eps d)) and half the entropy of p(x) descend."""
    learner, state = drawn(vat, epsilon=1.5, xi=0.5, entropy_weight=0.5, unlabeled_weight=2.0)
    data = batch()

    @jax.jit
    def step(state):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(state.rng, state.step), 2), 1)
        return learner.update(state, data)[0], jax.random.normal(key, data["unlabeled"]["image"].shape)

    after, start = step(state)
    images, start = data["unlabeled"]["image"].reshape(6, 4), np.asarray(start).reshape(6, 4)
    p, length = softmax(logits(state.params, images)), np.linalg.norm(images, axis=1, keepdims=True)
    start = start / np.linalg.norm(start, axis=1, keepdims=True)
    slope = (softmax(logits(state.params, images + 0.5 * length * start)) - p) @ state.params["Dense_0"]["kernel"].T
    worst = images + 1.5 * slope / np.linalg.norm(slope, axis=1, keepdims=True)
    entropy = -(p * np.log(p)).sum(-1, keepdims=True)
    far = worst, 2 * (softmax(logits(state.params, worst)) - p) / 6
    own = images, 2 * 0.5 * -p * (np.log(p) + entropy) / 6
    assert_layer(after.params, descended(state, data, far, own))


# Interpolation consistency


class Affine(nn.Module):
    """A network whose predictions are linear in the image: log of an affine, positive function that sums to 1."""

    @nn.compact
    def __call__(self, x, train=False):
        self.param("unused", nn.initializers.zeros, (1,))
        share = x.reshape(len(x), -1).mean(-1)
        return jnp.log(jnp.stack([share, 1 - share], -1))


@pytest.mark.weekly
@pytest.mark.covers("SE-07")
def test_interpolation_costs_a_linear_network_nothing_and_others_something():
    rng = np.random.default_rng(4)
    data = batch()
    data["labeled"]["label"] = data["labeled"]["label"] % 2
    for part in data.values():
        part["image"] = rng.uniform(0.1, 0.9, part["image"].shape).astype(np.float32)
    linear = ict.learner(model=Affine(), optimizer=optax.sgd(0.1))
    assert measured(linear, linear.init(KEY, data), data)[1]["unlabeled_loss"] == pytest.approx(0, abs=1e-12)
    bent, state = start(ict, alpha=1.0)
    images = batch()["unlabeled"]["image"].reshape(6, 4)
    key = jax.random.fold_in(jax.random.fold_in(state.rng, 2), 1)
    shares = mixup(key, batch()["unlabeled"]["image"], jnp.eye(6), 1.0)[1]
    p, of_mixed = softmax(logits(state.params, images)), softmax(logits(state.params, shares @ images))
    distance = np.square(of_mixed - shares @ p).mean()
    assert distance > 1e-3
    assert measured(bent, state, batch())[1]["unlabeled_loss"] == pytest.approx(distance, rel=1e-5)
    unmixed, _ = start(ict, alpha=0.0)
    assert measured(unmixed, state, batch())[1]["unlabeled_loss"] == pytest.approx(0, abs=1e-12)


@pytest.mark.slow
@pytest.mark.covers("SE-07")
def test_the_ends_of_an_interpolation_are_the_teachers():
    learner, state = start(ict, alpha=0.0)
    twisted = state.replace(teacher={"params": jax.tree.map(jnp.negative, state.params), "model_state": {}})
    images = batch()["unlabeled"]["image"]
    distance = np.square(softmax(logits(state.params, images)) - softmax(-logits(state.params, images))).mean()
    assert measured(learner, twisted, batch())[1]["unlabeled_loss"] == pytest.approx(distance, rel=1e-5)


@pytest.mark.slow
@pytest.mark.covers("SE-07")
def test_one_update_of_interpolation_by_hand():
    """The student at M x goes to M p of the teacher, M the shares of the mixture; then the teacher to the student."""
    learner, state = drawn(ict, unlabeled_weight=3.0)
    data = batch()

    @jax.jit
    def step(state, data):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(state.rng, state.step), 2), 1)
        return learner.update(state, data)[0], mixup(key, data["unlabeled"]["image"], jnp.eye(6), 1.0)[1]

    after, shares = step(state, data)
    images = data["unlabeled"]["image"].reshape(6, 4)
    mixed, teacher = shares @ images, state.teacher["params"]
    p, target = softmax(logits(state.params, mixed)), shares @ softmax(logits(teacher, images))
    assert np.abs(mixed - images).max() > 0.1
    want = descended(state, data, (mixed, through_softmax(p, 3 * 2 / 3 * (p - target) / 6)))
    assert_layer(after.params, want)
    averaged = {name: 2 / 11 * old + 9 / 11 * want[name] for name, old in teacher["Dense_0"].items()}
    assert_layer(after.teacher["params"], averaged)


# MixMatch


@pytest.mark.covers("SE-08")
def test_sharpening_goes_to_one_hot():
    p = jnp.array([[0.5, 0.3, 0.2], [0.0, 0.4, 0.6]])
    np.testing.assert_allclose(mixmatch.sharpen(p, 1.0), p, atol=1e-6)
    np.testing.assert_allclose(mixmatch.sharpen(p, 0.5)[0], np.square(p[0]) / np.square(p[0]).sum(), rtol=1e-5)
    np.testing.assert_allclose(mixmatch.sharpen(p, 1e-3), [[1, 0, 0], [0, 0, 1]], atol=1e-6)
    with pytest.raises(ValueError, match="temperature=0: out of range; allowed: above 0"):
        mixmatch.sharpen(p, 0.0)


@pytest.mark.covers("SE-08")
def test_one_update_of_mixmatch_without_mixing_by_hand():
    """Unlabeled images go to p^2 / sum p^2, sharpened at T = 1 / 2, without a gradient."""
    settings = {"alpha": 0.0, "temperature": 0.5, "num_views": 1, "ramp": RampUp(4.0)}
    learner = mixmatch.learner(model=Linear(), optimizer=optax.sgd(0.1), **settings)
    data, rng = batch(), np.random.default_rng(6)
    shapes = jax.eval_shape(learner.init, KEY, data).replace(rng=None)
    kernel, bias = (rng.normal(size=size).astype(np.float32) for size in ((4, 3), 3))
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    state = state.replace(rng=KEY, params={"Dense_0": {"kernel": kernel, "bias": bias}})
    after, _ = jax.jit(learner.update)(state, data)
    labeled, images = (data[name]["image"].reshape(-1, 4) for name in ("labeled", "unlabeled"))
    error = (softmax(logits(state.params, labeled)) - np.eye(3)[data["labeled"]["label"]]) / 3
    p = softmax(logits(state.params, images))
    up = 4 * 2 / 3 * (p - np.square(p) / np.square(p).sum(-1, keepdims=True)) / 6
    back = p * (up - (p * up).sum(-1, keepdims=True))
    got = after.params["Dense_0"]
    np.testing.assert_allclose(got["kernel"], kernel - 0.1 * (labeled.T @ error + images.T @ back), atol=1e-5)
    np.testing.assert_allclose(got["bias"], bias - 0.1 * (error.sum(0) + back.sum(0)), atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("SE-08")
def test_mixmatch_without_mixing_is_the_distance_from_sharpened_guesses():
    learner, state = start(mixmatch, alpha=0.0, temperature=0.5, unlabeled_weight=4.0)
    data = batch()
    p = softmax(logits(state.params, data["unlabeled"]["image"]))
    q = np.square(p) / np.square(p).sum(-1, keepdims=True)
    value, _ = measured(learner, state, data)
    assert value == pytest.approx(supervised_loss(state, data) + 4 * np.square(p - q).mean(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.covers("SE-08")
def test_mixmatch_averages_its_guess_over_views():
    learner, state = start(mixmatch, augment=noise, alpha=0.0, temperature=1.0, num_views=2)
    one, _ = start(mixmatch, augment=noise, alpha=0.0, temperature=1.0, num_views=1)
    assert measured(one, state, batch())[1]["unlabeled_loss"] == pytest.approx(0, abs=1e-12)
    assert measured(learner, state, batch())[1]["unlabeled_loss"] > 1e-4


@pytest.mark.weekly
@pytest.mark.covers("SE-08")
def test_an_image_stays_nearer_to_itself_than_to_its_partner():
    images, targets = jnp.arange(64.0).reshape(64, 1, 1, 1), jnp.eye(64)
    mixed, weights = mixup(KEY, images, targets, 0.75, keep_most=True)
    own = np.diag(np.asarray(weights))
    assert own.min() >= 0.5
    assert own.min() < 0.6
    np.testing.assert_allclose(mixed[:, 0, 0, 0], weights @ jnp.arange(64.0), rtol=1e-4)
    learner, state = start(mixmatch, temperature=0.5)
    assert measured(learner, state, batch())[1]["loss"] != pytest.approx(supervised_loss(state, batch()), rel=1e-3)


@pytest.mark.parametrize(
    "module",
    [ict, mean_teacher, mixmatch, pi_model, pseudo_label, temporal_ensembling, vat],
    ids=lambda module: module.__name__,
)
def test_the_ramp_reaches_the_weight_of_the_unlabeled_loss(module, monkeypatch):
    """At step 3 of 10: 2 exp(-5 (1 - 3 / 10)^2) = 2 exp(-2.45)."""
    passed = {}
    monkeypatch.setattr(module, "two_stream_learner", lambda *args, **fields: passed.update(fields))
    more = {"num_unlabeled": 6} if module is temporal_ensembling else {}
    module.learner(model=None, optimizer=None, ramp=RampUp(2.0, 10), **more)
    assert float(passed["weight"](jnp.int32(3))) == pytest.approx(2 * np.exp(-2.45), rel=1e-6)


class Parts:
    """The networks of a technique, one matrix each: the current student's, the teacher's; nothing compiles."""

    def __init__(self, student, teacher):
        self.matrices = np.asarray(student, np.float32), np.asarray(teacher, np.float32)

    def student(self, *images):
        return tuple(self.current(x) for x in images), {}

    def current(self, images):
        return images.reshape(len(images), -1) @ self.matrices[0]

    def teacher(self, images):
        return images.reshape(len(images), -1) @ self.matrices[1]


@pytest.fixture
def technique_of(monkeypatch):
    """(module, settings) -> its function of the networks and the two streams."""

    def build(module, **settings):
        monkeypatch.setattr(module, "two_stream_learner", lambda model, optimizer, technique, **rest: technique)
        return module.learner(model=None, optimizer=None, **settings)

    return build


def parts():
    rng = np.random.default_rng(4)
    networks = Parts(rng.normal(size=(4, 3)), rng.normal(size=(4, 3)))
    data = batch(labeled=2, unlabeled=3)
    unlabeled = {**data["unlabeled"], "mask": np.float32([1, 1, 0])}
    return networks, {**data["labeled"], "mask": np.float32([1, 1])}, unlabeled


def lighten(key, image):
    return image + jax.random.uniform(key, ())


def view_of(unlabeled, k):
    def lightness():
        return jax.vmap(jax.random.uniform)(example_keys(jax.random.fold_in(KEY, k), unlabeled))

    return unlabeled["image"] + np.asarray(jax.jit(lightness)())[:, None, None, None]


def test_fixmatch_accepts_guesses_of_95_percent_of_the_weak_view_by_default(technique_of):
    """Images are e_1, e_2 and e_3; the student gives them the largest probabilities .94, .96 and .97."""
    guesses = np.array([[0.94, 0.03, 0.03], [0.02, 0.96, 0.02], [0.01, 0.02, 0.97]])
    networks = Parts(np.log(np.concatenate([guesses, np.ones((1, 3))])), np.zeros((4, 3)))
    _, labeled, unlabeled = parts()
    unlabeled = unlabeled | {"image": np.eye(3, 4, dtype=np.float32).reshape(3, 2, 2, 1)}
    technique, memory = (
        technique_of(fixmatch, strong=darken),
        dict.fromkeys(("mean", "confident"), np.zeros(3, np.float32)),
    )

    @jax.jit
    def run():
        terms = technique(networks, labeled, unlabeled, KEY, memory)
        return terms.pseudo, terms.unlabeled

    pseudo, losses = run()
    assert pseudo.label.tolist() == [0, 1, 2]
    assert pseudo.accepted.tolist() == [False, True, True]
    p = softmax(np.log(guesses) / 2)  # of half the image
    np.testing.assert_allclose(losses, [0, -np.log(p[1, 1]), -np.log(p[2, 2])], rtol=1e-5)


@pytest.mark.parametrize("module", [pi_model, mean_teacher])
def test_two_views_are_compared(technique_of, module):
    networks, labeled, unlabeled = parts()
    technique = technique_of(module, augment=lighten)
    found = jax.jit(lambda: technique(networks, labeled, unlabeled, KEY, None).unlabeled)()
    first, second = (view_of(unlabeled, k).reshape(3, 4) for k in (0, 1))
    other = networks.matrices[1 if module is mean_teacher else 0]
    distance = softmax(first @ networks.matrices[0]) - softmax(second @ other)
    np.testing.assert_allclose(found, np.square(distance).mean(-1), rtol=1e-4)


@pytest.mark.covers("SE-07")
def test_an_interpolation_is_the_student_s_and_its_ends_the_teacher_s(technique_of, monkeypatch):
    """Image i is mixed with image i + 1, three parts to one."""
    (networks, labeled, unlabeled), caught = parts(), {}

    def mix(key, images, targets, alpha, mask):
        assert alpha == 0.6
        caught["mask"] = mask
        return tuple(0.75 * x + 0.25 * jnp.roll(x, -1, 0) for x in (images, targets))

    monkeypatch.setattr(ict, "mixup", mix)
    technique = technique_of(ict, augment=lighten, alpha=0.6)
    found, mask = jax.jit(lambda: (technique(networks, labeled, unlabeled, KEY, None).unlabeled, caught["mask"]))()
    assert mask.tolist() == [1, 1, 0]
    view = view_of(unlabeled, 0).reshape(3, 4)
    ends = softmax(view @ networks.matrices[1])
    mixed, target = (0.75 * x + 0.25 * np.roll(x, -1, 0) for x in (view, ends))
    distance = softmax(mixed @ networks.matrices[0]) - target
    np.testing.assert_allclose(found, np.square(distance).mean(-1), rtol=1e-4)


@pytest.mark.parametrize("entropy_weight", [0.0, 0.5])
def test_vat_moves_images_by_epsilon(technique_of, monkeypatch, entropy_weight):
    networks, labeled, unlabeled = parts()

    def direction(logits, images, rng, xi, iterations):
        assert (xi, iterations) == (0.02, 3)
        return jnp.ones_like(images) / 2

    monkeypatch.setattr(vat, "adversarial_direction", direction)
    settings = {"epsilon": 3.0, "xi": 0.02, "iterations": 3, "entropy_weight": entropy_weight, "augment": lighten}
    technique = technique_of(vat, **settings)
    found = jax.jit(lambda: technique(networks, labeled, unlabeled, KEY, None).unlabeled)()
    view = view_of(unlabeled, 0).reshape(3, 4)
    p, q = (softmax(x @ networks.matrices[0]) for x in (view, view + 1.5))
    expected = (p * np.log(p / q)).sum(-1) - entropy_weight * (p * np.log(p)).sum(-1)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_mixmatch_guesses_by_two_views_and_mixes_all_with_all(technique_of, monkeypatch):
    """Everything is mixed with the row behind it: two labeled images, then three unlabeled ones, once for each view."""
    (networks, labeled, unlabeled), caught = parts(), {}

    def mix(key, images, targets, alpha, mask, keep_most):
        assert (alpha, keep_most) == (0.4, True)
        caught["mask"] = mask
        return tuple(0.75 * x + 0.25 * jnp.roll(x, -1, 0) for x in (images, targets))

    monkeypatch.setattr(mixmatch, "mixup", mix)
    labeled = {**labeled, "mask": np.float32([1, 0])}
    technique = technique_of(mixmatch, augment=lighten, num_views=2, temperature=0.5, alpha=0.4)

    @jax.jit
    def run():
        terms = technique(networks, labeled, unlabeled, KEY, None)
        return terms.supervised, terms.unlabeled, terms.metrics, caught["mask"]

    supervised, found, metrics, mask = run()
    assert mask.tolist() == [1, 0, 1, 1, 0, 1, 1, 0]
    views = [view_of(unlabeled, k).reshape(3, 4) for k in (0, 1)]
    guess = np.square(np.mean([softmax(view @ networks.matrices[0]) for view in views], 0))  # p^(1 / 0.5)
    guess /= guess.sum(-1, keepdims=True)
    images = np.concatenate([labeled["image"].reshape(2, 4), *views])
    targets = np.concatenate([np.eye(3)[labeled["label"]], guess, guess])
    images, targets = (0.75 * x + 0.25 * np.roll(x, -1, 0) for x in (images, targets))
    p = softmax(images @ networks.matrices[0])
    np.testing.assert_allclose(supervised, -(targets * np.log(p)).sum(-1)[:2], rtol=1e-4)
    expected = np.square(p - targets).mean(-1)[2:].reshape(2, 3).mean(0)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert float(metrics["loss"].compute()) == pytest.approx(float(supervised[0]))


def test_snapshots_are_at_least_a_step_apart():
    with pytest.raises(ValueError, match=r"^every=0: .*at least 1"):
        snapshots(0)


@pytest.mark.parametrize("technique", [mean_teacher, vat])
def test_a_network_that_drops_out_numbers_has_keys_for_it(technique):
    """Of student and teacher, and of the current weights: flax refuses to draw without a key."""
    learner = technique.learner(model=Linear(dropout=0.5), optimizer=optax.sgd(0.1))
    state = jax.eval_shape(learner.init, KEY, batch())
    assert jax.eval_shape(learner.loss, state.params, state, batch())[0].shape == ()
