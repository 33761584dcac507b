"""The objective of a student by hand, for one head and two; and that the teacher stays as it is."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.classification import distillation
from tests.passes import PASSED, count_pass, passes

pytestmark = pytest.mark.covers("LO-20", "AT-23")
CLASSES = 4
ROWS = {
    "image": jax.random.normal(jax.random.key(5), (6, 2, 2, 1)),
    "label": jnp.array([0, 1, 2, 3, 0, 1]),
    "index": jnp.arange(6),
}


class Linear(nn.Module):
    """Logits of x, and in training of x + 1."""

    @nn.compact
    def __call__(self, x, train=False):
        count_pass(self, train, draws=True)
        return nn.Dense(CLASSES, kernel_init=nn.initializers.normal(1.0), name="head")(x.reshape(len(x), -1) + train)


class TwoHeads(nn.Module):
    def __call__(self, x, train=False):
        logits, heads = self.auxiliary(x, train)
        return (logits + heads["distillation"]) / 2

    @nn.compact
    def auxiliary(self, x, train=True):
        count_pass(self, train, draws=True)
        x, start = x.reshape(len(x), -1) + train, nn.initializers.normal(1.0)
        return nn.Dense(CLASSES, kernel_init=start, name="head")(x), {
            "distillation": nn.Dense(CLASSES, kernel_init=start, name="other")(x)
        }


def scores(layer, shift=0):
    return (ROWS["image"].reshape(6, -1) + shift) @ layer["kernel"] + layer["bias"]


def cross_entropy(logits, label):
    return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()


@pytest.mark.slow
@pytest.mark.parametrize("student", [Linear(), TwoHeads()])
@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_one_step_is_gradient_descent_on_the_written_objective(student, kind):
    learner = distillation.learner(
        model=student, teacher=Linear(), optimizer=optax.sgd(1.0), kind=kind, teacher_weight=0.3, temperature=2.0
    )
    state = jax.jit(learner.init)(jax.random.key(0), ROWS)
    answers = scores(state.teacher["params"]["head"])

    def objective(params):
        student = scores(params.get("other", params["head"]), 1)
        if kind == "hard":
            second = cross_entropy(student, answers.argmax(-1))
        else:  # 2^2 sum_c p_c (log p_c - log q_c)
            p, q = jax.nn.softmax(answers / 2), jax.nn.softmax(student / 2)
            second = 4 * (p * (jnp.log(p) - jnp.log(q))).sum(-1).mean()
        return 0.7 * cross_entropy(scores(params["head"], 1), ROWS["label"]) + 0.3 * second

    after, metrics = jax.jit(learner.update)(state, ROWS)
    want = jax.tree.map(lambda p, g: p - g, state.params, jax.grad(objective)(state.params))
    chex.assert_trees_all_close(after.params, want, atol=1e-5)
    np.testing.assert_allclose(metrics["loss"].compute(), objective(state.params), rtol=1e-5)
    student = scores(state.params.get("other", state.params["head"]), 1)
    agreement = (student.argmax(-1) == answers.argmax(-1)).mean()
    np.testing.assert_allclose(metrics["agreement"].compute(), agreement)
    chex.assert_trees_all_equal(after.teacher, state.teacher)


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize(("kind", "student"), [("hard", TwoHeads()), ("soft", Linear())])
def test_one_update_by_hand(kind, student):
    """0.7 times the labels' term and 0.3 times the teacher's, which sees the images that the student sees.

    The teacher's decision goes to the second head; of its probabilities the slope is tau (q - p), tau = 2. The
    optimizer learns at half of the loss that it is told, and of the one that it can evaluate.
    """
    optimizer = optax.GradientTransformationExtraArgs(
        lambda params: (),
        lambda slopes, state, params, *, value, value_fn, **_: (
            jax.tree.map(lambda g: -0.5 * (value + value_fn(params)) * g, slopes),
            state,
        ),
    )
    learner = distillation.learner(
        model=student, teacher=Linear(), optimizer=optimizer, kind=kind, teacher_weight=0.3, temperature=2.0,
        label_smoothing=0.1, preprocess=lambda images: 2 * images, augment=lambda key, image: image - 0.5,
    )  # fmt: skip
    rng, label = np.random.default_rng(0), np.array([0, 1, 2, 3, 0, 1])
    image = rng.normal(size=(6, 2, 2, 1)).astype(np.float32)
    rows = {"image": image, "label": label, "index": np.arange(6), "mask": np.float32([1, 1, 1, 1, 1, 0])}
    shapes = jax.eval_shape(learner.init, jax.random.key(0), rows).replace(rng=None)
    draw = lambda s: rng.normal(size=s.shape).astype(np.float32)  # noqa: E731
    params, teacher = jax.tree.map(draw, (shapes.params, shapes.teacher))
    state = shapes.replace(step=np.int32(3), rng=jax.random.key(0), params=params, teacher=teacher, model_state=PASSED)
    after, metrics = jax.jit(learner.update)(state, rows)
    x = 2 * image.reshape(6, 4) - 0.5
    answers = x @ teacher["params"]["head"]["kernel"] + teacher["params"]["head"]["bias"]
    logits = {name: (x + 1) @ layer["kernel"] + layer["bias"] for name, layer in params.items()}
    target, p = 0.9 * np.eye(4)[label] + 0.1 / 4, softmax(logits["head"])
    losses, slopes = -0.7 * (target * np.log(p)).sum(-1), {"head": 0.7 * (p - target)}
    if kind == "hard":
        q, decision = softmax(logits["other"]), answers.argmax(-1)
        losses -= 0.3 * np.log(q[np.arange(6), decision])
        slopes["other"] = 0.3 * (q - np.eye(4)[decision])
    else:
        soft, q = softmax(answers / 2), softmax(logits["head"] / 2)
        losses += 0.3 * 4 * (soft * np.log(soft / q)).sum(-1)
        slopes["head"] = slopes["head"] + 0.3 * 2 * (q - soft)
    assert metrics["loss"].compute() == pytest.approx(losses[:5].mean(), rel=1e-5)
    assert metrics["accuracy"].compute() == pytest.approx((p.argmax(-1) == label)[:5].mean())
    agrees = logits.get("other", logits["head"]).argmax(-1) == answers.argmax(-1)
    assert metrics["agreement"].compute() == pytest.approx(agrees[:5].mean())
    for name, slope in slopes.items():
        slope = losses[:5].mean() * slope[:5] / 5
        steps = {"kernel": (x + 1)[:5].T @ slope, "bias": slope.sum(0)}
        for part, step in steps.items():
            np.testing.assert_allclose(after.params[name][part], params[name][part] - step, atol=2e-5)
    assert passes(after.model_state) == 3 + 1
    chex.assert_trees_all_equal(after.teacher, teacher)


@pytest.mark.weekly
def test_padded_rows_do_not_count():
    learner = distillation.learner(model=Linear(), teacher=Linear(), optimizer=optax.sgd(1.0))
    state = learner.init(jax.random.key(0), ROWS)
    mask = jnp.array([1, 1, 1, 1, 0, 0])
    padded = {**ROWS, "image": ROWS["image"].at[4:].set(99.0), "mask": mask}
    four = jax.tree.map(lambda v: v[:4], ROWS)
    chex.assert_trees_all_close(
        learner.update(state, padded)[0].params, learner.update(state, four)[0].params, atol=1e-5
    )


def test_a_student_of_a_good_teacher_follows_it_without_labels():
    learner = distillation.learner(model=Linear(), teacher=Linear(), optimizer=optax.adam(0.1), teacher_weight=1.0)
    update = jax.jit(learner.update)
    state = learner.init(jax.random.key(0), ROWS)
    shares = []
    for _ in range(60):
        state, metrics = update(state, ROWS)
        shares.append(float(metrics["agreement"].compute()))
    assert shares[0] < 0.7
    assert shares[-1] == 1.0
