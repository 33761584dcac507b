"""The picture books: each stop is what its title says, and the verdicts follow the numbers."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.nn import Conv
from experiments.studies import (
    activations,
    box_losses,
    geometry_metrics,
    image_distances,
    long_tail,
    metric_learning,
    optimizer_paths,
    poolings,
    schedules,
    tour_of_convolutions,
)


@pytest.mark.slow(only=["relu"])
@pytest.mark.parametrize("name", activations.NAMES)
def test_a_deep_net_has_the_activation_of_its_name(name):
    net, x = activations.DeepNet(name, 1, 4), jax.random.normal(jax.random.key(0), (3, 8, 8, 1))
    variables = jax.tree.map(
        lambda v: jax.random.normal(jax.random.key(1), v.shape), jax.eval_shape(net.init, jax.random.key(0), x, False)
    )
    _, [hidden] = net.apply(variables, x, False, with_hidden=True)
    dense = variables["params"]["dense0"]
    dense = dense.get("dense", dense)
    before = (x.reshape(3, -1) - 0.3) @ dense["kernel"] + dense["bias"]
    if name == "Maxout":
        expected = np.maximum(before[:, :4], before[:, 4:])
    elif name == "PReLU":
        expected = np.where(before > 0, before, variables["params"]["slope0"]["negative_slope"] * before)
    else:
        expected = activations.FUNCTIONS[name](before)
    np.testing.assert_allclose(hidden, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.weekly
def test_layers_of_the_tour_see_and_share_what_they_say():
    """A convolution, a locally connected and a fully connected layer: no line of the list fits another of them."""
    names = ("convolution 3x3", "locally connected 3x3", "masked 5x5 (PixelCNN)")
    lines = [tour_of_convolutions.LAYERS[name] for name in names]
    measured = [tour_of_convolutions.measure(line.make(), jax.random.key(0)) for line in lines]
    assert [m.parameters for m in measured] == [9 * 8 * 8 + 8, 13 * 13 * (9 * 8 * 8 + 8), 25 * 8 * 8 + 8]
    assert [m.pixels for m in measured] == [9, 9, 12]
    assert not measured[2].field[6, 6:].any()  # neither the pixel itself nor a later one
    fits = [[tour_of_convolutions.fits(line, m) for m in measured] for line in lines]
    assert fits == [[i == j for j in range(3)] for i in range(3)]


PARAMETERS = {
    "convolution 3x3": 9 * 64 + 8,
    "convolution 1x1": 64 + 8,
    "dilated, 3x3 by 2": 9 * 64 + 8,
    "grouped, 4 groups": 9 * 8 * 2 + 8,
    "masked 5x5 (PixelCNN)": 25 * 64 + 8,
    "weight norm": 9 * 64 + 8 + 8,  # a length a channel
    "weight standardization": 9 * 64 + 8,
    "locally connected 3x3": 169 * (9 * 64 + 8),
    "fully connected": (169 * 8) ** 2 + 169 * 8,
}


def test_each_stop_of_the_tour_is_the_layer_of_its_name():
    """Parameters by hand; a dilated convolution of nothing but ones sees the pixels two apart."""
    x = np.zeros((1, 13, 13, 8), np.float32)
    layers = {name: line.make() for name, line in tour_of_convolutions.LAYERS.items()}
    shapes = {name: jax.eval_shape(layers[name].init, jax.random.key(0), x)["params"] for name in PARAMETERS}
    counts = {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in shapes.items()}
    assert counts == PARAMETERS
    x[0, 6, 6] = 1
    for name, seen in (("convolution 3x3", (5, 6, 7)), ("dilated, 3x3 by 2", (4, 6, 8))):
        ones = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes[name])
        y = np.asarray(jax.jit(layers[name].apply)({"params": ones}, x))[0, :, :, 0] - 1  # the bias
        assert np.flatnonzero(y.any(1)).tolist() == np.flatnonzero(y.any(0)).tolist() == list(seen), name
    # The graph joins a pixel to its four neighbors.
    graph, nodes = layers["graph, 4 neighbors"], jnp.asarray(x)
    shapes = jax.eval_shape(graph.init, jax.random.key(0), nodes)
    ones = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes)
    y = np.asarray(jax.jit(graph.apply)(ones, nodes))[0, :, :, 0]
    assert np.argwhere(y > y.min()).tolist() == [[5, 6], [6, 5], [6, 6], [6, 7], [7, 6]]


def test_each_stop_of_the_tour_has_the_class_of_its_name():
    layers = {name: line.make() for name, line in tour_of_convolutions.LAYERS.items()}
    assert {name: type(layer).__name__ for name, layer in layers.items() if type(layer) is not Conv} == {
        "depthwise separable": "DepthwiseSeparableConv",
        "factorized, 1x5 and 5x1": "FactorizedConv",
        "masked 5x5 (PixelCNN)": "MaskedConv",
        "weight norm": "WeightNorm",
        "spectral norm": "Updated",
        "weight standardization": "WeightStandardization",
        "graph, 4 neighbors": "OverGrid",
        "convolutional LSTM, 3 steps": "OverTime",
        "local attention 5x5": "LocalAttention",
        "deformable 3x3": "DeformableConv",
        "locally connected 3x3": "LocallyConnected",
        "non-local block": "NonLocalBlock",
        "SAGAN attention": "SAGANAttention",
        "fully connected": "Dense",
    }
    assert type(layers["spectral norm"].layer).__name__ == "SpectralNorm"
    # Only a layer with weights of each position's own is not moved by a shift of its input.
    shared = {name for name, line in tour_of_convolutions.LAYERS.items() if not line.shared}
    assert shared == {"locally connected 3x3", "fully connected"}


@pytest.mark.weekly
def test_disjoint_boxes_need_more_than_iou():
    result = box_losses.experiment.function(num_places=3, steps=60, learning_rate=0.1, seed=0)
    last = {name: result.numbers[f"{name}: last distance"] for name in box_losses.LOSSES}
    assert result.numbers["their largest move under IoU"] == 0
    assert max(last["GIoU"], last["DIoU"], last["CIoU"]) < last["IoU"]
    start, targets = box_losses.cases(3, 0)
    chex.assert_shape([start, targets], (3 * 49 * 7, 4))
    np.testing.assert_allclose(targets[:, 2] * targets[:, 3], 1)
    assert np.hypot(*(start[:, :2] - 10).T).max() <= 3


def test_the_verdict_on_box_losses_follows_the_numbers():
    last = {"IoU": 3.0, "GIoU": 0.3, "DIoU": 0.2, "CIoU": 0.1}
    assert box_losses.judge(last, 0.0)
    assert not box_losses.judge(last, 0.1)
    assert not box_losses.judge({**last, "DIoU": 0.4}, 0.0)


@pytest.mark.weekly
def test_distorted_pictures_have_the_error_asked_for_and_ssim_tells_them_apart():
    result = image_distances.experiment.function(image="china", height=64, psnr_db=24.9, seed=0)
    scores = {name.split(":")[0]: values for name, values in result.numbers.items()}
    assert list(scores) == ["blocks", "blur", "brighter", "more contrast", "noise", "shifted"]
    np.testing.assert_allclose([score[0] for score in scores.values()], 24.9, atol=0.01)
    assert scores["brighter"][2] > scores["noise"][2] + 0.1
    gray = jnp.linspace(0.2, 0.6, 40 * 48).reshape(40, 48)
    changed = image_distances.distortions(gray, jax.random.key(0))
    np.testing.assert_allclose(changed["brighter"](0.1), gray + 0.1, rtol=1e-6)
    np.testing.assert_allclose(changed["blocks"](0.5)[:8, :8], gray[:8, :8].mean(), rtol=1e-5)
    for distort in changed.values():
        np.testing.assert_allclose(distort(0.0), gray, atol=1e-5)


def test_the_verdict_on_image_distances_follows_the_numbers():
    scores = {"brighter": (25, 0, 0.95), "more contrast": (25, 0, 0.9), "noise": (25, 0, 0.5)}
    assert image_distances.judge(scores)
    assert not image_distances.judge({**scores, "noise": (25, 0, 0.92)})
    assert not image_distances.judge({**scores, "noise": (25.1, 0, 0.5)})


@pytest.mark.slow
def test_the_long_tail_has_its_counts_and_its_losses_favor_rare_classes():
    counts = long_tail.counts_of(100, 50.0)
    assert counts.tolist() == [100, 65, 42, 27, 18, 11, 7, 5, 3, 2]
    labels = np.repeat(np.arange(10), 120)
    np.testing.assert_array_equal(np.bincount(labels[long_tail.long_tail(labels, counts)]), counts)
    losses, x = long_tail.objectives(counts), jnp.zeros((1, 8, 8, 1))
    frequent, rare = (
        {name: float(loss(jnp.zeros((1, 10)), x, jnp.array([label]))) for name, loss in losses.items()}
        for label in (0, 9)
    )
    assert rare["cross-entropy"] == frequent["cross-entropy"] == pytest.approx(np.log(10))
    assert rare["focal"] == pytest.approx(frequent["focal"])
    # Effective numbers (1 - 0.99^n) / 0.01: 63.4 of 100 examples, 1.99 of 2.
    assert rare["class-balanced"] / frequent["class-balanced"] == pytest.approx(
        (1 - 0.99**100) / (1 - 0.99**2), rel=1e-4
    )
    # Margins 2 and 2 (2 / 100)^(1/4) = 0.752, taken off the label's score of 0.
    assert rare["LDAM"] == pytest.approx(np.log(9 + np.exp(-2)) + 2, rel=1e-5)
    assert frequent["LDAM"] == pytest.approx(np.log(9 + np.exp(-0.7521)) + 0.7521, rel=1e-4)


@pytest.mark.slow(unless=["cosine", "hard triplets"])
@pytest.mark.parametrize("name", metric_learning.OBJECTIVES)
def test_every_metric_loss_prefers_classes_that_lie_together(name):
    """Two classes at right angles; the embedding of one example, moved toward the other class, costs more."""
    labels = np.array([0, 0, 1, 1])
    apart = (np.eye(10)[labels] + 0.01 * np.random.default_rng(0).normal(size=(4, 10))).astype(np.float32)
    mixed = apart.copy()
    mixed[0] = 0.2 * apart[0] + 0.8 * apart[2]
    loss = jax.jit(lambda x: metric_learning.OBJECTIVES[name](x, None, jnp.asarray(labels)))
    assert loss(mixed) > loss(apart) + 1e-3


@pytest.mark.weekly
def test_metric_learning_smoke_and_verdict():
    result = metric_learning.experiment.function(**metric_learning.experiment.smoke)
    assert 0.25 < result.numbers["pixels"] <= 1
    scores = {"untrained": np.array([0.5, 0.6]), "semi-hard triplets": np.array([0.6, 0.7])}
    assert metric_learning.judge({**scores, "hard triplets": np.array([0.1, 0.7])})
    assert not metric_learning.judge({**scores, "hard triplets": np.array([0.9, 0.7])})
    assert not metric_learning.judge({**scores, "untrained": np.array([0.61, 0.6]), "hard triplets": np.zeros(2)})


@pytest.mark.slow
def test_geometry_metrics_see_what_they_are_known_to_see():
    result = geometry_metrics.experiment.function(side=24, num_points=600, seed=0)
    assert result.numbers["depth, scale: abs_rel"] == pytest.approx(0.2, rel=1e-4)
    assert result.numbers["depth, scale: silog"] == pytest.approx(0, abs=1e-3)
    assert result.numbers["points, missing: precision"] == 1
    assert result.numbers["points, missing: recall"] == pytest.approx(2 / 3, abs=0.05)
    assert result.numbers["points, outliers: chamfer"] > result.numbers["points, noise: chamfer"]
    np.testing.assert_allclose(np.linalg.norm(geometry_metrics.sphere(50), axis=1), 1, rtol=1e-5)


def test_the_verdict_on_geometry_metrics_follows_the_numbers():
    errors = {"scale": {"rmse": 1.0, "silog": 0.0, "delta1": 0.0}}
    scores = {
        "outliers": {"chamfer": 0.1, "f1": 0.98},
        "noise": {"chamfer": 0.01, "f1": 0.5},
        "missing": {"precision": 1.0, "recall": 0.7},
    }
    assert geometry_metrics.judge(errors, scores)
    assert not geometry_metrics.judge({"scale": {"rmse": 1.0, "silog": 5.0}}, scores)
    assert not geometry_metrics.judge(errors, {**scores, "noise": scores["outliers"], "outliers": scores["noise"]})


@pytest.mark.weekly
def test_schedules_have_their_shapes_and_the_verdict_follows_the_numbers():
    ways = schedules.all_schedules(0.1, 80)
    rates = {name: [float(way(t)) for t in (0, 10, 40, 79)] for name, way in ways.items()}
    assert all(max(values) <= 0.1 * (1 + 1e-6) for values in rates.values())
    assert rates["constant"] == pytest.approx([0.1] * 4)
    assert rates["linear"] == pytest.approx([0.1, 0.0875, 0.05, 0.1 / 80])
    assert rates["step decay"] == pytest.approx([0.1, 0.1, 0.01, 0.0001])
    assert rates["cyclic"] == pytest.approx([0.01, 0.1, 0.01, 0.019])
    assert max(rates[name][-1] for name in schedules.ENDING) < 0.002
    assert schedules.experiment.function(**schedules.experiment.smoke).figures
    loss = {name: np.array([0.2, 0.2]) for name in schedules.ENDING}
    assert schedules.judge({**loss, "constant": np.array([0.3])})
    assert not schedules.judge({**loss, "constant": np.array([0.1])})
    assert not schedules.judge({**loss, "cosine": np.array([0.25]), "constant": np.array([0.3])})


@pytest.mark.weekly
def test_paths_of_optimizers_are_theirs_and_the_verdict_follows_the_numbers():
    """From (-1.2, 1) the gradient is (-215.6, -88) and f = 24.2."""
    start = np.array(optimizer_paths.START)
    assert optimizer_paths.rosenbrock(start) == pytest.approx(24.2)
    [path] = optimizer_paths.first_order_paths(optimizer_paths.FIRST_ORDER["gradient descent"], np.array([1e-3]), 1)
    np.testing.assert_allclose(path, [start, start + 1e-3 * np.array([215.6, 88])], rtol=1e-5)
    [path] = optimizer_paths.first_order_paths(optimizer_paths.FIRST_ORDER["Rprop"], np.array([0.01]), 1)
    np.testing.assert_allclose(path[1], start + 0.01, rtol=1e-5)
    newton = optimizer_paths.newton_path(40)
    np.testing.assert_allclose(newton[1], [-1.1753, 1.3807], rtol=1e-3)  # Nocedal & Wright's first Newton step
    assert optimizer_paths.steps_needed(newton) == len(newton) - 1 < 30
    crossing = np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0], [1.001, 1.002]])
    assert [optimizer_paths.steps_needed(crossing[:n]) for n in (1, 2, 4)] == [0, None, 2]
    assert optimizer_paths.best_of(np.stack([crossing[[1, 1, 0]], crossing[[1, 0, 0]], np.full((3, 2), np.nan)])) == 1
    needed = {"Adam": 300, "Newton": 18, "BFGS": 34, "L-BFGS": 32}
    assert optimizer_paths.judge(needed)
    assert not optimizer_paths.judge({**needed, "Adam": 160})
    assert not optimizer_paths.judge({**needed, "BFGS": None})
    assert optimizer_paths.experiment.function(**optimizer_paths.experiment.smoke).figures


@pytest.mark.weekly
def test_poolings_keep_what_they_are_known_to_keep():
    image = jnp.arange(1.0, 49.0).reshape(1, 4, 4, 3) / 48
    back = jax.device_get(poolings.round_trips(image, jax.random.key(0)))
    np.testing.assert_array_equal(back["pixel unshuffle, shuffle"], image)
    np.testing.assert_allclose(back["average, nearest"][0, :2, :2, 0], (1 + 4 + 13 + 16) / 4 / 48, rtol=1e-6)
    np.testing.assert_allclose(back["maximum, nearest"][0, :2, :2, 0], 16 / 48, rtol=1e-6)
    assert np.flatnonzero(back["maximum, max unpooling"][0, :, :, 0]).tolist() == [5, 7, 13, 15]
    assert np.flatnonzero(back["maximum, bed of nails"][0, :, :, 0]).tolist() == [0, 2, 8, 10]
    assert poolings.judge(np.asarray(image), back)
    swapped = {**back, "maximum, max unpooling": back["maximum, bed of nails"]}
    assert not poolings.judge(np.asarray(image), swapped)
    assert poolings.experiment.function(**poolings.experiment.smoke).holds
