import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.classification import supervised
from dlcore.models import create_model, input_shape
from dlcore.optim import OPTIMIZERS, SCHEDULES, by_hand, create_optimizer, create_schedule, parameter_ema
from dlcore.optim.builder import kernels as of_builder

PARAMS = {"kernel": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "bias": jnp.array([1.0, -1.0])}


def gradient(step):
    rng = np.random.default_rng(step)
    return jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), PARAMS)


def trajectory(tx, steps=4, params=PARAMS, gradients=gradient):
    state = tx.init(params)
    for step in range(steps):
        updates, state = tx.update(gradients(step), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def kernels(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)


def with_l2(decay, tx):
    return optax.chain(optax.add_decayed_weights(decay, mask=kernels), tx)


@pytest.mark.slow(only=["lamb-want4"])
@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("sgd", with_l2(0.1, optax.sgd(0.05, momentum=0.8))),
        ("nesterov", with_l2(0.1, optax.sgd(0.05, momentum=0.8, nesterov=True))),
        ("adam", with_l2(0.1, optax.adam(0.05, b1=0.8))),
        ("adamw", optax.adamw(0.05, b1=0.8, weight_decay=0.1, mask=kernels)),
        ("lamb", optax.lamb(0.05, b1=0.8, weight_decay=0.1, mask=kernels)),
        ("lars", optax.lars(0.05, 0.1, weight_decay_mask=kernels, trust_ratio_mask=kernels, momentum=0.8)),
        ("rmsprop", with_l2(0.1, optax.rmsprop(0.05, decay=0.8, eps=1e-7, eps_in_sqrt=False))),
        ("adagrad", with_l2(0.1, by_hand.adagrad(0.05, eps=1e-7))),
        ("adadelta", with_l2(0.1, optax.adadelta(0.05, rho=0.8))),
        ("adamax", with_l2(0.1, optax.adamax(0.05, b1=0.8))),
        ("nadam", with_l2(0.1, optax.nadam(0.05, b1=0.8))),
    ],
)
def test_names_are_optax_optimizers_with_decay_on_kernels(name, want):
    got, _ = trajectory(create_optimizer(name, 0.05, momentum=0.8, weight_decay=0.1))
    chex.assert_trees_all_close(got, trajectory(want)[0], rtol=1e-6)
    free, _ = trajectory(create_optimizer(name, 0.05, momentum=0.8))
    np.testing.assert_allclose(got["bias"], free["bias"], rtol=1e-6)
    assert not np.allclose(got["kernel"], free["kernel"])


@pytest.mark.parametrize("name", ["adam", "amsgrad", "adamw", "lamb", "adamax", "nadam"])
def test_the_second_momentum_is_that_of_the_squares(name):
    got, _ = trajectory(create_optimizer(name, 0.05, second_momentum=0.5))
    want, _ = trajectory(getattr(optax, name)(0.05, b2=0.5, **({"weight_decay": 0.0} if name == "adamw" else {})))
    chex.assert_trees_all_close(got, want, rtol=1e-6)
    usual, _ = trajectory(create_optimizer(name, 0.05))
    assert not all(np.allclose(a, b) for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(usual), strict=True))


@pytest.mark.parametrize(
    ("model", "fields", "free"),
    [
        ("vit_tiny_cifar", {"depth": 1, "pool": "token"}, {"cls_token", "pos_embed"}),
        ("deit_tiny_distilled_patch16_224", {"depth": 1}, {"cls_token", "dist_token", "pos_embed"}),
        ("swin_t", {"stages": (1, 1, 1, 1)}, {"bias_table"}),
    ],
)
def test_of_a_transformer_only_kernels_are_decayed(model, fields, free):
    """Dosovitskiy et al., Touvron et al. and Liu et al. leave tokens, positions and tables of biases alone."""
    x = jax.ShapeDtypeStruct((1, *input_shape(model)), jnp.float32)
    params = jax.eval_shape(create_model(model, **fields).init, jax.random.key(0), x)["params"]
    decayed, left = set(), set()
    for path, is_decayed in jax.tree_util.tree_leaves_with_path(of_builder(params)):
        names = {part.key for part in path}
        assert is_decayed == ("kernel" in names), names
        (decayed if is_decayed else left).update(names)
    assert free <= left
    assert not free & decayed


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_positions_are_not_decayed(name):
    params = {"pos_embed": {"embedding": jnp.ones((1, 2, 2))}, "kernel": jnp.ones((2, 2))}

    def step(decay):
        tx = create_optimizer(name, 0.1, weight_decay=decay)
        gradient = jax.tree.map(lambda p: -0.25 * p, params)
        return tx.update(gradient, tx.init(params), params)[0]

    decayed, free = step(2.0), step(0.0)
    np.testing.assert_array_equal(decayed["pos_embed"]["embedding"], free["pos_embed"]["embedding"])
    # Without decay a kernel grows; with it, it shrinks.
    assert (free["kernel"] > 0).all()
    assert (decayed["kernel"] < 0).all()


def test_every_name_is_tried_above():
    assert set(OPTIMIZERS) == {
        "amsgrad",
        "sgd",
        "nesterov",
        "adam",
        "adamw",
        "lamb",
        "lars",
        "rmsprop",
        "adagrad",
        "adadelta",
        "adamax",
        "nadam",
    }
    assert set(SCHEDULES) == {
        "constant",
        "cosine",
        "linear",
        "step",
        "multi_step",
        "exponential",
        "polynomial",
        "inverse_sqrt",
        "inverse_time",
        "cosine_restarts",
        "one_cycle",
        "plateau",
    }


def test_sgd_by_hand():
    # w <- w - .1 (g + .5 w) with g = 1: 2 - .1 * 2 = 1.8, then 1.8 - .1 * 1.9 = 1.61.
    tx = create_optimizer("sgd", 0.1, momentum=0.0, weight_decay=0.5)
    params, _ = trajectory(tx, 2, jnp.full((1, 1), 2.0), lambda step: jnp.ones((1, 1)))
    assert float(params[0, 0]) == pytest.approx(1.61, rel=1e-6)


@pytest.mark.slow
def test_clipping_by_the_global_norm_comes_first():
    # [3, 4] has norm 5: clipped to 1 it is [.6, .8]. Each leaf by itself would be clipped to [1, 1].
    tx = create_optimizer("sgd", 1.0, momentum=0.0, clip_norm=1.0)
    zero = {"a": jnp.zeros(()), "b": jnp.zeros(())}
    params, _ = trajectory(tx, 1, zero, lambda step: {"a": jnp.float32(3.0), "b": jnp.float32(4.0)})
    assert [float(params["a"]), float(params["b"])] == pytest.approx([-0.6, -0.8], rel=1e-6)
    # The penalty's gradient is not clipped: clip first, add decay then.
    tx = create_optimizer("sgd", 1.0, momentum=0.0, clip_norm=1.0, weight_decay=10.0)
    params, _ = trajectory(tx, 1, jnp.full((1, 1), 1.0), lambda step: jnp.full((1, 1), 5.0))
    assert float(params[0, 0]) == pytest.approx(1 - (1 + 10), rel=1e-6)
    small, _ = trajectory(create_optimizer("sgd", 1.0, momentum=0.0, clip_norm=1e6))
    free, _ = trajectory(create_optimizer("sgd", 1.0, momentum=0.0))
    chex.assert_trees_all_close(small, free)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_accumulation_is_the_mean_over_k_steps_and_one_update(name):
    options = {"momentum": 0.9, "weight_decay": 0.1, "clip_norm": 0.7}
    tx = create_optimizer(name, 0.1, accumulate=3, **options)
    got, _ = trajectory(tx, 6)

    def mean(step):
        parts = [gradient(3 * step + i) for i in range(3)]
        return jax.tree.map(lambda *xs: sum(xs) / 3, *parts)

    want, _ = trajectory(create_optimizer(name, 0.1, **options), 2, gradients=mean)
    chex.assert_trees_all_close(got, want, rtol=1e-5, atol=1e-6)
    between, _ = trajectory(tx, 5)
    after_one, _ = trajectory(tx, 3)
    chex.assert_trees_all_equal(between, after_one)


@pytest.mark.covers("RG-02", "RG-03")
def test_l1_and_l2_are_an_elastic_net_on_kernels_alone():
    """One step of SGD by 0.5 and soft thresholding by 0.5 l1: w - 0.5 (g + 0.1 w), then |.| - 0.5 x 0.4."""
    got, _ = trajectory(create_optimizer("sgd", 0.5, momentum=0, weight_decay=0.1, l1=0.4), 1)
    stepped = jax.tree.map(lambda w, g: w - 0.5 * g, PARAMS, gradient(0))
    kernel = np.asarray(stepped["kernel"] - 0.05 * PARAMS["kernel"])
    np.testing.assert_allclose(got["kernel"], np.sign(kernel) * np.maximum(np.abs(kernel) - 0.2, 0), rtol=1e-6)
    np.testing.assert_allclose(got["bias"], stepped["bias"], rtol=1e-6)
    halved, _ = trajectory(create_optimizer("sgd", optax.piecewise_constant_schedule(0.5, {1: 0}), momentum=0, l1=9), 2)
    np.testing.assert_array_equal(halved["kernel"], 0)


@pytest.mark.covers("RG-04")
def test_the_norm_into_each_unit_is_limited_and_biases_are_not():
    got, _ = trajectory(create_optimizer("sgd", 0.1, momentum=0, max_norm=2.0), 1)
    free, _ = trajectory(create_optimizer("sgd", 0.1, momentum=0), 1)
    norms = np.linalg.norm(free["kernel"], axis=0)  # about 1.1 and 3.6
    assert norms[0] < 2 < norms[1]
    np.testing.assert_allclose(got["kernel"], free["kernel"] * np.minimum(1, 2 / norms), rtol=1e-6)
    np.testing.assert_allclose(got["bias"], free["bias"], rtol=1e-6)


def test_each_derivative_is_clipped_before_the_global_norm():
    def steep(step):
        return {"kernel": jnp.array([[3.0, -0.5], [0.0, -7.0]]), "bias": jnp.array([0.2, 4.0])}

    got, _ = trajectory(create_optimizer("sgd", 1.0, momentum=0, clip_value=1.0), 1, gradients=steep)
    np.testing.assert_allclose(PARAMS["kernel"] - got["kernel"], [[1, -0.5], [0, -1]])
    np.testing.assert_allclose(PARAMS["bias"] - got["bias"], [0.2, 1])
    both, _ = trajectory(create_optimizer("sgd", 1.0, momentum=0, clip_value=1.0, clip_norm=0.5), 1, gradients=steep)
    norm = np.sqrt(1 + 0.25 + 1 + 0.04 + 1)  # after clipping by value
    np.testing.assert_allclose(PARAMS["bias"] - both["bias"], np.array([0.2, 1]) * 0.5 / norm, rtol=1e-6)


def test_a_schedule_counts_updates_and_not_steps():
    rates = optax.piecewise_constant_schedule(1.0, {1: 0.1})  # 1.0 for the first update, 0.1 then
    tx = create_optimizer("sgd", rates, momentum=0.0, accumulate=2)
    params, _ = trajectory(tx, 4, jnp.zeros(1), lambda step: jnp.ones(1))
    assert float(params[0]) == pytest.approx(-1.1, rel=1e-6)


def test_the_average_follows_updates_and_not_steps():
    tx = create_optimizer("sgd", 1.0, momentum=0.0, ema=0.9, accumulate=2)
    params, state = trajectory(tx, 2, jnp.zeros(1), lambda step: -jnp.ones(1))
    # One update, to 1: e = (1 - 2/11) * 1.
    assert float(params[0]) == 1.0
    assert float(parameter_ema(state, params)[0]) == pytest.approx(9 / 11, rel=1e-6)


def test_no_average_unless_asked():
    with pytest.raises(ValueError, match="holds 0 of track_parameter_ema"):
        parameter_ema(create_optimizer("sgd", 0.1).init(PARAMS), PARAMS)


def test_networks_with_an_optimizer_each_have_an_average_each():
    """One update of -1 to zeros gives 1 - 2/11 of it, as above; the other network has not moved."""
    tx = create_optimizer("sgd", 1.0, ema=0.9)
    zeros = {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    states = {name: tx.init(w) for name, w in zeros.items()}
    states["a"] = tx.update(-jnp.ones(1), states["a"], zeros["a"])[1]
    averages = parameter_ema(states, zeros)
    assert float(averages["a"][0]) == pytest.approx(9 / 11, rel=1e-6)
    assert float(averages["b"][0]) == 0.0


@pytest.mark.slow(unless=["adamw", "momentum"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_numbers_may_be_traced(name):
    """A search maps over them: the mapped trajectory is that of each number."""

    def run(rate, momentum, decay, clip):
        return trajectory(create_optimizer(name, rate, momentum=momentum, weight_decay=decay, clip_norm=clip), 2)[0]

    grid = [(0.1, 0.9, 0.0, 1.0), (0.01, 0.5, 0.1, 100.0)]
    mapped, alone = jax.jit(jax.vmap(run))(*jnp.array(grid).T), jax.jit(run)
    for i, row in enumerate(grid):
        chex.assert_trees_all_close(jax.tree.map(lambda x, i=i: x[i], mapped), alone(*row), rtol=1e-5, atol=1e-6)


# Schedules


def rates(schedule, steps):
    return [float(schedule(t)) for t in steps]


@pytest.mark.slow
def test_warm_up_rises_linearly_from_zero_and_ends_at_the_peak():
    for name in set(SCHEDULES) - {"one_cycle"}:  # which has a rise of its own
        schedule = create_schedule(name, 2.0, 100, warmup=10)
        assert rates(schedule, [0, 5, 9]) == pytest.approx([0.0, 1.0, 1.8]), name
        assert float(schedule(10)) == pytest.approx(2.0), name


def test_decays_by_hand():
    assert rates(create_schedule("constant", 2.0, 100), [0, 50, 99]) == [2.0, 2.0, 2.0]
    # cos from 10 to 110: a quarter of the way (1 + cos(pi / 4)) / 2 = .853553.
    assert rates(create_schedule("cosine", 2.0, 110, 10), [35, 60, 110]) == pytest.approx(
        [2 * 0.8535534, 1.0, 0.0], abs=1e-6
    )
    assert rates(create_schedule("linear", 2.0, 110, 10), [35, 60, 110]) == pytest.approx([1.5, 1.0, 0.0], abs=1e-6)
    # A tenth at half and again at three quarters of the whole run, the warm-up included.
    step = create_schedule("step", 1.0, 100, 10)
    assert rates(step, [10, 49, 51, 74, 76, 99]) == pytest.approx([1.0, 1.0, 0.1, 0.1, 0.01, 0.01])
    multi = create_schedule("multi_step", 1.0, 100, 10)
    assert rates(multi, [24, 25, 49, 50, 74, 75]) == pytest.approx([1, 0.1, 0.1, 0.01, 0.01, 0.001])
    # A hundredth, (1 - 1/2)² = 1/4, and a tenth.
    assert float(create_schedule("exponential", 1.0, 110, 10)(110)) == pytest.approx(0.01)
    assert rates(create_schedule("polynomial", 1.0, 110, 10), [60, 110]) == pytest.approx([0.25, 0])
    assert float(create_schedule("inverse_time", 1.0, 110, 10)(110)) == pytest.approx(0.1)
    # Four times the warm-up: half the peak.
    assert float(create_schedule("inverse_sqrt", 1.0, 110, 10)(40)) == pytest.approx(0.5)
    # Up over the warm-up of 30 steps from 1/25 of the peak, whose last is step 29, and down to 4e-6 of it at the end.
    cycle = create_schedule("one_cycle", 1.0, 100, 30)
    assert rates(cycle, [0, 29, 99]) == pytest.approx([0.04, 1.0, 4e-6], rel=1e-2)
    assert rates(create_schedule("one_cycle", 1.0, 100), [0, 29, 99]) == pytest.approx([0.04, 1.0, 4e-6], rel=1e-2)
    for steps in (1, 2, 3):
        assert max(rates(create_schedule("one_cycle", 1.0, steps), range(steps))) <= 1.0
    # 70 steps in cycles of 10, 20 and 40: up again at 10 and 30.
    restarts = create_schedule("cosine_restarts", 1.0, 70)
    assert rates(restarts, [0, 5, 10, 20, 30, 50]) == pytest.approx([1, 0.5, 1, 0.5, 1, 0.5])


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 1), (5, 5), (4, 3)])
def test_short_runs_have_finite_rates(name, steps, warmup):
    values = rates(create_schedule(name, 1.0, steps, warmup), range(steps + 1))
    assert np.isfinite(values).all()
    assert min(values) >= 0
    assert max(values) <= 1


@pytest.mark.weekly
@pytest.mark.covers("BP-12")
def test_micro_batches_make_the_step_of_the_large_batch():
    """SGD with momentum on a network without a norm across examples: three updates of 32 as twelve steps of 8."""
    model = create_model("mlp", num_classes=3)
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(96, 8, 8, 1)).astype(np.float32), rng.integers(0, 3, 96)

    def train(size, accumulate):
        optimizer = create_optimizer("sgd", 0.1, momentum=0.9, accumulate=accumulate)
        learner = supervised.learner(model=model, optimizer=optimizer)

        def batch(t):
            index = np.arange(t * size, (t + 1) * size, dtype=np.int32)
            return {"image": images[index], "label": labels[index], "index": index}

        state, update = jax.jit(learner.init)(jax.random.key(0), batch(0)), jax.jit(learner.update)
        for t in range(96 // size):
            state, _ = update(state, batch(t))
        return jax.tree.leaves(state.params)

    large, small, unlike = train(32, 1), train(8, 4), train(8, 1)
    for a, b in zip(large, small, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-6)
    assert max(float(np.abs(a - b).max()) for a, b in zip(large, unlike, strict=True)) > 1e-3


def test_amsgrad_never_forgets_its_largest_square():
    """By hand: the step is divided by the root of the largest bias-corrected mean of squares so far."""
    gradients = [4.0, 0.1, 0.1, -0.2]
    tx, w = create_optimizer("amsgrad", 0.1), jnp.array(1.0)
    state, m, v, largest, want = tx.init(w), 0.0, 0.0, 0.0, 1.0
    for t, g in enumerate(gradients, 1):
        updates, state = tx.update(jnp.array(g), state, w)
        w = w + updates
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        largest = max(largest, v / (1 - 0.999**t))
        want -= 0.1 * m / (1 - 0.9**t) / (largest**0.5 + 1e-8)
    assert float(w) == pytest.approx(want, rel=1e-5)
    assert largest == pytest.approx(16)


def test_one_milestone_is_enough():
    schedule = create_schedule("constant", 1.0, 10, milestones=[4], decay_factor=0.1)
    np.testing.assert_allclose([schedule(step) for step in (3, 4, 9)], [1, 0.1, 0.1], rtol=1e-6)


def test_milestones_count_from_the_start_of_the_warm_up():
    """Of 20 steps five rise to the peak, and from step 8 on, the first one after 7.5, the rate is a fifth of it."""
    schedule = create_schedule("one_cycle", 1.0, 20, warmup=5, milestones=[7.5], decay_factor=0.2)
    np.testing.assert_allclose([schedule(step) for step in (0, 4, 5, 7, 8)], [0, 0.8, 1, 1, 0.2], rtol=1e-6)
