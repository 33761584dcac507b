"""Class activation maps: CAM and Grad-CAM by hand, of each other, of every kind of network, and beside PyTorch's."""

import functools
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.interpretability.cam import (
    class_activation_map,
    default_layer,
    grad_cam,
    layer_gradient,
    layers_in_order,
    logits_and_maps,
    resize_map,
)
from dlcore.models import create_model
from tests.random_weights import random_like

LABELS = jnp.array([1, 3])


def network(name, side=32, **fields):
    """A small network with a random head, two images, and its function."""
    model = create_model(name, num_classes=5, head_init=jax.nn.initializers.normal(0.3), **fields)
    images = jax.random.normal(jax.random.key(1), (2, side, side, 3))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    return model, variables, images


@functools.cache
def small_resnet():
    return network("resnet8_cifar", width=4, stages=(1, 1))


@pytest.mark.covers("VI-08")
def test_cam_is_the_sum_of_maps_by_the_weights_of_the_class():
    """Behind a mean and a dense layer the logit is the mean of the map: here 2 and 3 for classes 0 and 1."""
    maps = np.float32([[[[1, 0], [3, 0]], [[0, 2], [0, 4]]]])  # two channels of 2 x 2: means 1 and 1.5
    kernel = np.float32([[2, 0], [0, 2]])
    cams = [class_activation_map(maps, kernel, np.array([label]))[0] for label in (0, 1)]
    np.testing.assert_allclose(cams[0], [[2, 6], [0, 0]])
    np.testing.assert_allclose(cams[1], [[0, 0], [4, 8]])
    np.testing.assert_allclose([cam.mean() for cam in cams], maps.mean((0, 1, 2)) @ kernel)


@pytest.mark.slow
@pytest.mark.covers("VI-08")
def test_the_mean_of_cam_is_the_logit_without_its_bias():
    model, variables, images = small_resnet()
    logits, maps = logits_and_maps(model, variables)(images)
    head = variables["params"]["head"]
    cam = class_activation_map(maps["stage2"], head["kernel"], LABELS)
    assert cam.shape == maps["stage2"].shape[:3]
    np.testing.assert_allclose(cam.mean((1, 2)), (logits - head["bias"])[jnp.arange(2), LABELS], rtol=1e-4, atol=1e-6)


def test_maps_and_logits_come_from_one_pass_and_move_together():
    """Logits of a ResNet are the mean of its last map by the head: a map that is 1 higher adds the head's sums."""
    model = create_model("resnet8_cifar", num_classes=5, width=4, stages=(1,))
    images = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype(np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    variables = jax.tree.map(np.abs, random_like(shapes, 0.3))  # variances are positive
    head = variables["params"]["head"]
    forward = logits_and_maps(model, variables)

    @jax.jit
    def run():
        logits, maps = forward(images)
        return logits, maps["stage1"], forward(images, {"stage1": jnp.ones_like(maps["stage1"])})[0]

    logits, maps, moved = map(np.asarray, run())
    np.testing.assert_allclose(logits, maps.mean((1, 2)) @ head["kernel"] + head["bias"], rtol=1e-4)
    np.testing.assert_allclose(moved, logits + head["kernel"].sum(0), rtol=1e-4)
    assert layers_in_order(forward, images)[-1] == "stage1"


def test_grad_cam_looks_at_the_last_map_that_the_head_sees():
    """A head on a class token sees patches through the block before alone."""
    layers = ("block1", "block2", "block3")
    assert default_layer(SimpleNamespace(), layers) == "block3"
    assert default_layer(SimpleNamespace(pool="token"), layers) == "block2"
    assert default_layer(SimpleNamespace(pool="mean"), layers) == "block3"
    assert [default_layer(SimpleNamespace(pool="token"), layers[:n]) for n in (1, 2)] == ["block1", "block1"]


@pytest.mark.slow
@pytest.mark.covers("VI-09")
def test_behind_a_mean_and_a_dense_layer_grad_cam_is_cam():
    """d s_k / d A_hwd = w_dk / hw: its mean is w_dk / hw, too."""
    model, variables, images = small_resnet()
    forward = logits_and_maps(model, variables)
    features = forward(images)[1]["stage2"]
    cam = class_activation_map(features, variables["params"]["head"]["kernel"], LABELS) / features[0, :, :, 0].size
    assert (cam < 0).any()
    assert (cam > 0).any()
    signed = jax.jit(functools.partial(grad_cam, forward, labels=LABELS, relu=False))(images)
    np.testing.assert_allclose(signed, cam, atol=1e-6)
    np.testing.assert_allclose(grad_cam(forward, images, LABELS), np.maximum(cam, 0), atol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("VI-09")
def test_of_a_resnet18_it_is_that_of_torch(resnet18):
    forward = logits_and_maps(resnet18.model, resnet18.variables)

    @jax.jit
    def maps(x):
        return grad_cam(forward, x, resnet18.labels, "layer4"), grad_cam(forward, x, resnet18.labels, relu=False)

    for name, got in zip(("gradcam", "gradcam_pre_relu"), maps(resnet18.images), strict=True):
        resnet18.check(name, got)


@pytest.mark.covers("VI-09")
def test_grad_cam_of_an_inner_layer_by_hand():
    """A = 2 x of 1 x 2 pixels, s = (sum A^2, 0): d s / dA = 2 A, whose mean is 2 (a + b) over 2 pixels."""

    def forward(x, perturbations=None):
        perturbations = perturbations or {}
        inner = 2 * x + perturbations.get("in", 0)
        outer = -inner + perturbations.get("out", 0)
        return jnp.stack([jnp.square(inner).sum((1, 2, 3)), 0 * inner.sum((1, 2, 3))], -1), {"in": inner, "out": outer}

    x = jnp.array([1.0, 2]).reshape(1, 1, 2, 1)
    features, gradient = layer_gradient(forward, x, jnp.array([0]), "in")
    assert features.ravel().tolist() == [2, 4]
    assert gradient.ravel().tolist() == [4, 8]
    assert grad_cam(forward, x, layer="in").ravel().tolist() == [6 * 2, 6 * 4]
    with pytest.raises(ValueError, match="layer='out': the scores do not depend on it"):
        layer_gradient(forward, x)


VIT = {"image_size": 32, "patch_size": 8, "depth": 3, "width": 16, "num_heads": 2, "mlp_features": 16}


@pytest.mark.slow
@pytest.mark.weekly(unless=["lenet5-fields2"])
@pytest.mark.parametrize(("name", "fields"), [("vit_s_16", VIT), ("vit_s_16", {**VIT, "pool": "mean"}), ("lenet5", {})])
def test_layers_of_other_networks_have_gradients(name, fields):
    model, variables, images = network(name, **fields)
    forward = logits_and_maps(model, variables)
    layer = default_layer(model, layers_in_order(forward, images))
    features, gradient = layer_gradient(forward, images, LABELS, layer)
    chex.assert_equal_shape([features, gradient])
    assert features.ndim == 4
    assert (np.abs(gradient).reshape(2, -1).max(1) > 0).all()


@pytest.mark.weekly
@pytest.mark.covers("VI-09")
def test_a_map_of_patches_has_the_gradient_of_its_tokens():
    """The default is the block before the last, whose patches the head sees through the last one's attention."""
    model, variables, images = network("vit_s_16", **VIT)
    forward = logits_and_maps(model, variables)
    assert default_layer(model, layers_in_order(forward, images)) == "block2"
    last = layer_gradient(forward, images, LABELS, "block3")[1]
    assert not np.any(last)
    np.testing.assert_array_equal(layer_gradient(forward, images, LABELS, "block2")[0], forward(images)[1]["block2"])


def test_maps_are_resized_as_torch_does():
    """Centers of 4 pixels fall at -.25, .25, .75 and 1.25 of 2: 0, .25, .75, 1."""
    got = resize_map(jnp.array([[[0.0, 1.0]]]), (2, 4))
    np.testing.assert_allclose(got, [[[0, 0.25, 0.75, 1]] * 2], atol=1e-6)
    # torch 2.14.1, interpolate(mode="bilinear", align_corners=False): smaller, and smaller in one direction.
    maps = np.round(np.sin(5 * np.arange(30)).reshape(1, 5, 6), 2).astype(np.float32)
    smaller = [[-0.4433, -0.2783, 0.6675, -0.185], [-0.0175, 0.785, -0.54, -0.3825], [0.4658, -0.6392, -0.0375, 0.6325]]
    wider = [
        [-0.7425, -0.6525, -0.3975, 0.2625, 0.6138, 0.6721, 0.1604, -0.375, -0.7825],
        [0.8125, 0.5838, 0.1933, -0.4533, -0.66, -0.5517, 0.0617, 0.5225, 0.83],
    ]
    np.testing.assert_allclose(resize_map(maps, (3, 4))[0], smaller, atol=1e-4)
    np.testing.assert_allclose(resize_map(maps, (2, 9))[0], wider, atol=1e-4)
    # 0 and 255 in bytes are those numbers, a quarter and three quarters of the way.
    np.testing.assert_allclose(resize_map(np.uint8([[[0, 255]]]), (1, 4))[0, 0], [0, 63.75, 191.25, 255])


def test_maps_and_sizes_that_cannot_be_resized_are_named():
    for size in ((0, 2), (2, 0), (2,), (2, 2, 2)):
        with pytest.raises(ValueError, match="no size; allowed: "):
            resize_map(np.ones((1, 2, 3)), size)
    assert jax.eval_shape(lambda x: resize_map(x, (1, 1)), np.ones((2, 4, 3))).shape == (2, 1, 1)
