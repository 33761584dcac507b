"""The objective of a student by hand, for one head and two; and that the teacher stays as it is."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.classification import distillation

pytestmark = pytest.mark.covers("LO-20", "AT-23")
CLASSES = 4
ROWS = {
    "image": jax.random.normal(jax.random.key(5), (6, 2, 2, 1)),
    "label": jnp.array([0, 1, 2, 3, 0, 1]),
    "index": jnp.arange(6),
}


class Linear(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(CLASSES, kernel_init=nn.initializers.normal(1.0), name="head")(x.reshape(len(x), -1))


class TwoHeads(nn.Module):
    def __call__(self, x, train=False):
        logits, heads = self.auxiliary(x, train)
        return (logits + heads["distillation"]) / 2

    @nn.compact
    def auxiliary(self, x, train=True):
        x, start = x.reshape(len(x), -1), nn.initializers.normal(1.0)
        return nn.Dense(CLASSES, kernel_init=start, name="head")(x), {
            "distillation": nn.Dense(CLASSES, kernel_init=start, name="other")(x)
        }


def scores(layer):
    return ROWS["image"].reshape(6, -1) @ layer["kernel"] + layer["bias"]


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
        student = scores(params.get("other", params["head"]))
        if kind == "hard":
            second = cross_entropy(student, answers.argmax(-1))
        else:  # 2^2 sum_c p_c (log p_c - log q_c)
            p, q = jax.nn.softmax(answers / 2), jax.nn.softmax(student / 2)
            second = 4 * (p * (jnp.log(p) - jnp.log(q))).sum(-1).mean()
        return 0.7 * cross_entropy(scores(params["head"]), ROWS["label"]) + 0.3 * second

    after, metrics = jax.jit(learner.update)(state, ROWS)
    want = jax.tree.map(lambda p, g: p - g, state.params, jax.grad(objective)(state.params))
    chex.assert_trees_all_close(after.params, want, atol=1e-5)
    np.testing.assert_allclose(metrics["loss"].compute(), objective(state.params), rtol=1e-5)
    student = scores(state.params.get("other", state.params["head"]))
    agreement = (student.argmax(-1) == answers.argmax(-1)).mean()
    np.testing.assert_allclose(metrics["agreement"].compute(), agreement)
    chex.assert_trees_all_equal(after.teacher, state.teacher)


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
