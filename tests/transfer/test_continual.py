"""Fisher information against a closed form, forgetting by hand, and which strategy helps in which scenario."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.data.digits import digits
from dlcore.learner import root_key
from dlcore.models import create_model
from dlcore.setting import FlagError
from dlcore.transfer.continual import Recipe, TaskData, allowed_outputs, fisher_diagonal, forgetting, learn_in_turn
from experiments.transfer import continual as page


def logistic(params, x):
    return jax.nn.log_softmax(jnp.stack([jnp.zeros(len(x)), x @ params], -1))


@pytest.mark.slow
@pytest.mark.covers("TL-08")
def test_the_fisher_information_of_logistic_regression():
    """The gradient of log p(y) is (y - p) x: its square is (y - p)^2 x^2 by the true label, p (1 - p) x^2 on average
    over the model's own."""
    rng = np.random.default_rng(0)
    w, x, y = jnp.array([0.5, -1.0]), rng.normal(size=(7, 2)), rng.integers(0, 2, 7)
    p = 1 / (1 + np.exp(-x @ np.asarray(w)))
    for chunk in (3, 7, 50):
        found = fisher_diagonal(logistic, w, jnp.asarray(x), jnp.asarray(y), chunk=chunk)
        np.testing.assert_allclose(found, (((y - p) ** 2)[:, None] * x**2).mean(0), rtol=1e-5)
    many = jnp.asarray(np.tile(x, (600, 1)))
    drawn = fisher_diagonal(logistic, w, many, key=jax.random.key(0))
    np.testing.assert_allclose(drawn, ((p * (1 - p))[:, None] * x**2).mean(0), rtol=0.05)
    with pytest.raises(ValueError, match="key=None: labels cannot be drawn; allowed: a key, or labels"):
        fisher_diagonal(logistic, w, many)


@pytest.mark.covers("TL-08")
def test_the_information_is_the_mean_of_squared_slopes_in_parts_of_any_size():
    """(y - p)^2 x^2, over seven examples in two parts of three and one alone."""
    rng = np.random.default_rng(0)
    w, x, y = np.array([0.5, -1.0]), rng.normal(size=(7, 2)), rng.integers(0, 2, 7)
    p = 1 / (1 + np.exp(-x @ w))
    key = jax.random.key(0)
    known, drawn, y_drawn = jax.jit(
        lambda w, x: (
            fisher_diagonal(logistic, w, x, jnp.asarray(y), chunk=3),
            fisher_diagonal(logistic, w, x, key=key, chunk=3),
            jax.random.categorical(key, logistic(w, x)),
        )
    )(w, x)
    assert (y_drawn != y).any()
    for found, label in ((known, y), (drawn, np.asarray(y_drawn))):
        np.testing.assert_allclose(found, (((label - p) ** 2)[:, None] * x**2).mean(0), rtol=1e-5)


class Plain(nn.Module):
    """Logits by a matrix that starts at 0."""

    outputs: int = 2

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.outputs, use_bias=False, kernel_init=nn.initializers.zeros)(x)


def adam(slope, w, steps, rate):
    """Steps of Adam on one number each."""
    m, v = 0 * w, 0 * w
    for t in range(1, steps + 1):
        g = slope(w)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return w


@pytest.mark.covers("TL-08")
@pytest.mark.parametrize(
    "strategy", ["replay", "ewc", *(pytest.param(name, marks=pytest.mark.slow) for name in ("naive", "joint"))]
)
def test_two_tasks_in_turn_by_hand(strategy):
    """The classes of a task are a point and its mirror image, so that every draw has one slope, and W = (w, -w).

    Then -log p = log(1 + exp(-2 w x)), of slope -(1 - p) x by w. The empirical Fisher information is its square, of
    both columns. What is learned shows in the share of points (c, -1) that are above the border w_0 c > w_1. Joint
    training draws both tasks alike, of 4000 examples within a few percent.
    """
    points = np.array([[1.0, 0.5], [-1.0, 2.0]])
    images = np.concatenate([np.tile(np.stack([x, -x]), (6, 1)) for x in points])
    train = TaskData(images.astype(np.float32), np.concatenate([np.tile([0, 1], 6), np.tile([2, 3], 6)]))
    grid = np.linspace(-4, 4, 400)
    ruler = np.tile(np.stack([grid, -np.ones(400)], 1), (2, 1)).astype(np.float32)
    test = TaskData(ruler, np.repeat([0, 2], 400))
    recipe = Recipe(
        5, 4000 if strategy == "joint" else 4, 0.1, buffer=3, strength=4.0, fisher="empirical", fisher_size=6
    )
    scenario = "task" if strategy == "naive" else "domain"
    net = Plain(4 if scenario == "task" else 2)
    found = learn_in_turn(net, train, test, scenario=scenario, strategy=strategy, recipe=recipe)

    def slope_of(x):
        return lambda w: -(1 - 1 / (1 + np.exp(-2 * w @ x))) * x

    first, second = map(slope_of, points)
    after = adam(first, np.zeros(2), 5, 0.1)
    if scenario == "task":
        # Each task has outputs of its own; before it is learned they are equal, and the first, which is right, counts.
        own = adam(second, np.zeros(2), 5, 0.1)
        kept, new = ((w[0] * grid > w[1]).mean() for w in (after, own))
        np.testing.assert_allclose(found[0], [[kept, 1], [kept, new]], atol=0.004)
        return
    if strategy in ("replay", "joint"):
        last = adam(lambda w: second(w) / 2 + first(w) / 2, after, 5, 0.1)
    else:
        importance = first(after) ** 2
        last = adam(lambda w: second(w) + 4 * importance * (w - after), after, 5, 0.1)
    shares = [(w[0] * grid > w[1]).mean() for w in (after, last)]
    assert abs(shares[0] - shares[1]) > 0.05
    np.testing.assert_allclose(found[0, 0], [shares[0]] * 2, atol=0.004)
    np.testing.assert_allclose(found[0, 1], [shares[1]] * 2, atol=0.01 if strategy == "joint" else 0.004)


def test_each_seed_starts_from_a_network_of_its_own_and_draws_examples_of_the_task():
    """The first step of Adam is the rate times the sign of the slope, at the example that the task's key draws."""
    rng = np.random.default_rng(0)
    train = TaskData(rng.normal(size=(12, 3)).astype(np.float32), np.arange(12) % 4)
    test = TaskData(rng.normal(size=(50, 3)).astype(np.float32), np.append(np.arange(48) % 4, [3, 3]))
    net, recipe = nn.Dense(4, use_bias=False), Recipe(1, 1, 0.3)
    found = learn_in_turn(net, train, test, scenario="task", strategy="naive", seeds=3, recipe=recipe)
    order = np.random.default_rng(0).permutation(12)
    for accuracies, seed_key in zip(found, jax.random.split(root_key(0), 3), strict=True):
        w = np.asarray(net.init(seed_key, train.images[:1])["params"]["kernel"], np.float64)
        for k in range(2):
            rows = np.concatenate([order[train.labels[order] == c] for c in (2 * k, 2 * k + 1)])
            step_key = jax.random.fold_in(jax.random.fold_in(seed_key, k + 1), 0)
            row = rows[int(jax.random.randint(jax.random.split(step_key)[0], (1,), 0, 6)[0])]
            score = np.exp(train.images[row] @ w) * (np.arange(4) // 2 == k)
            slope = np.outer(train.images[row], score / score.sum() - np.eye(4)[train.labels[row]])
            w = w - 0.3 * slope / (np.abs(slope) + 1e-8)
            logits = test.images @ w
            right = np.where(test.labels < 2, logits[:, :2].argmax(1), 2 + logits[:, 2:].argmax(1)) == test.labels
            of_tasks = [right[test.labels < 2].mean(), right[test.labels >= 2].mean()]
            np.testing.assert_allclose(accuracies[k], of_tasks, rtol=1e-5)


@pytest.mark.covers("TL-08")
def test_forgetting_by_hand():
    """Task 0 had .9 and then .95 at best, and ends at .5; task 1 loses nothing it had: (.45 + 0) / 2."""
    accuracies = np.array([[0.9, 0.2, 0.1], [0.95, 0.8, 0.1], [0.5, 0.8, 0.9]])
    assert forgetting(accuracies) == pytest.approx(0.225)


def test_a_scenario_says_which_outputs_may_answer():
    label = jnp.array([0, 3])
    np.testing.assert_array_equal(allowed_outputs("task", label, 2, 2, 6), [[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0]])
    np.testing.assert_array_equal(allowed_outputs("class", label, 2, 2, 6), [[1, 1, 1, 1, 0, 0]] * 2)
    np.testing.assert_array_equal(allowed_outputs("domain", label, 2, 2, 2), [[1, 1]] * 2)


@pytest.fixture(scope="module")
def split_digits():
    return tuple(TaskData(s.arrays["image"][:600], s.arrays["label"][:600]) for s in map(digits, ("train", "test")))


def mean_forgetting(accuracies):
    return np.mean([forgetting(one) for one in accuracies])


@pytest.mark.slow
@pytest.mark.covers("TL-08")
def test_replay_keeps_classes_that_naive_training_forgets(split_digits):
    recipe = Recipe(steps=120, batch_size=32, learning_rate=3e-3, buffer=10)
    net = create_model("mlp", num_classes=10, hidden=(40,), head_init=nn.initializers.lecun_normal())
    naive, replay = (
        learn_in_turn(net, *split_digits, scenario="class", strategy=strategy, recipe=recipe)
        for strategy in ("naive", "replay")
    )
    assert naive[:, -1].mean() < 0.3, "all but the last task are gone: 1/5"
    assert replay[:, -1].mean() > naive[:, -1].mean() + 0.3
    assert mean_forgetting(naive) > 0.8
    assert mean_forgetting(replay) < mean_forgetting(naive) / 2
    np.testing.assert_array_equal(naive[:, 0, 1:], 0)
    assert (np.diagonal(naive, axis1=1, axis2=2) > 0.85).all(), "each task is learned when it comes"


def signals(count, seed):
    """Task 0: the first number has the label's sign. Task 1: the second has it, and the first the other one."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, 2 * count).astype(np.int32)
    sign, second = 2.0 * label - 1, np.arange(2 * count) >= count
    x = np.stack([np.where(second, -sign, sign), np.where(second, sign, 0)], 1)
    noise = rng.normal(size=x.shape) * np.stack([np.full(2 * count, 0.3), 0.2 * second], 1)
    return TaskData((x + noise).astype(np.float32), label + 2 * second.astype(np.int32))


@pytest.mark.slow
@pytest.mark.covers("TL-08")
@pytest.mark.parametrize("fisher", ["model", "empirical"])
def test_elastic_weights_keep_a_domain_that_naive_training_forgets(fisher):
    """The first task needs w_0 > 0, the second naively makes it negative, but is solved by w_1 > w_0 too."""
    net = create_model("mlp", num_classes=2, hidden=())
    recipe = Recipe(steps=150, batch_size=32, learning_rate=0.1, strength=3000.0, fisher=fisher)
    naive, ewc = (
        learn_in_turn(net, signals(200, 0), signals(200, 1), scenario="domain", strategy=strategy, recipe=recipe)
        for strategy in ("naive", "ewc")
    )
    assert mean_forgetting(naive) > 0.4, naive
    assert mean_forgetting(ewc) < 0.1, ewc
    assert (ewc[:, -1] > 0.9).all()


def test_bad_words_are_refused(split_digits):
    net = create_model("mlp")
    with pytest.raises(ValueError, match="classes_per_task=3: of 10 classes; allowed: two tasks or more"):
        learn_in_turn(net, *split_digits, scenario="task", strategy="naive", classes_per_task=3)
    with pytest.raises(ValueError, match=r"buffer=500: a class has \d+ images; allowed: at most as many"):
        learn_in_turn(net, *split_digits, scenario="task", strategy="replay", recipe=Recipe(buffer=500))


def test_a_buffer_that_no_class_fills_is_refused_before_training():
    with pytest.raises(FlagError, match=r"--buffer=100000: a class has \d+ training images; allowed: 1 to \d+"):
        page.study(buffer=100_000, strategies=("naive", "replay"))


def test_the_verdict_turns():
    """Two tasks; rows are after each task, columns by task."""

    def judged(**last):
        values = {"class naive": 0.0, "class replay": 0.8, "domain naive": 0.5, "domain ewc": 0.6} | last
        results = {tuple(key.split()): np.array([[[1.0, 0.0], [kept, 1.0]]]) for key, kept in values.items()}
        return page.report(results, "digits", "model")

    good = judged()
    assert good.holds
    assert "class: naive 50.0 % (forgot 100.0), replay 90.0 % (forgot 20.0)" in good.verdict
    assert not judged(**{"class naive": 0.8, "class replay": 0.0}).holds
    assert not judged(**{"domain naive": 0.6, "domain ewc": 0.5}).holds
