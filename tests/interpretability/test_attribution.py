"""Maps of several techniques for one network, and the page that shows them."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dlcore.interpretability.attribution import METHODS, attribution_maps, draw_maps
from dlcore.weights.network import PACKED
from experiments.interpretability import attribution as page

KERNEL = jnp.array([[1.0, -1], [0, 2]])


def forward(variables, x, perturbations=None):
    """Pixels of two channels, ReLU, a mean and a dense layer."""
    features = jax.nn.relu(variables["scale"] * x) + (perturbations or {"relu": 0})["relu"]
    return features.mean((1, 2)) @ KERNEL, {"relu": features}


def images(count):
    return np.random.default_rng(0).normal(size=(count, 8, 8, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"explain": "ten"}, "explain='ten': unknown; allowed: 0, 1, 2"),
        ({"explain": "ten", "network": str(PACKED)}, "explain='ten': unknown; allowed: airplane"),
        ({"methods": ("gradients",)}, "methods='gradients': unknown; allowed: gradient"),
        ({"unit": "stage2"}, "unit='stage2': no unit; allowed: LAYER:CHANNEL"),
        ({"unit": "stage2:1", "explain": "3"}, "explain='3': a class, and unit='stage2:1' is given"),
        ({"unit": "stage2:1", "layer": "stage1"}, "layer='stage1': unit='stage2:1' names its own layer; allowed: one"),
        (
            {"unit": "stage2:1", "methods": ("grad_cam",)},
            "methods='grad_cam': explains a class; allowed with",
        ),
        ({"input": "nowhere"}, "path='nowhere': no such file or folder"),
    ],
)
def test_settings_are_checked_before_a_network_is_trained(settings, problem, monkeypatch):
    monkeypatch.setattr(page, "digits_network", lambda *_: pytest.fail("it was trained"))
    with pytest.raises((ValueError, FileNotFoundError), match=problem):
        page.study(**settings)


@pytest.mark.slow
def test_each_method_gives_a_map_of_each_image_whatever_the_batch():
    x, labels, variables = images(5), np.array([0, 1, 0, 1, 0]), {"scale": jnp.float32(2)}
    settings = {"kernel": KERNEL, "window": 4}
    whole = attribution_maps(forward, variables, x, labels, tuple(METHODS), **settings, batch_size=8)
    assert set(whole) == set(METHODS)
    parts = attribution_maps(forward, variables, x, labels, ("occlusion", "cam"), **settings, batch_size=2)
    for name, values in whole.items():
        chex.assert_shape(values, (5, 8, 8), custom_message=name)
        np.testing.assert_allclose(parts.get(name, values), values, atol=1e-6)
    # Grad-CAM divides by the 64 places; the gradient is 2 w / 64 where x > 0.
    np.testing.assert_allclose(whole["cam"], 64 * whole["grad_cam"], rtol=1e-4, atol=1e-6)
    kernel = np.asarray(KERNEL)[:, labels].T[:, None, None]
    np.testing.assert_allclose(whole["gradient"], np.abs(2 / 64 * kernel * (x > 0)).max(-1), atol=1e-6)
    np.testing.assert_allclose(whole["deconvnet"], np.broadcast_to(np.maximum(2 / 64 * kernel, 0).max(-1), (5, 8, 8)))


@pytest.mark.slow
@pytest.mark.covers("VI-05", "VI-06", "VI-07")
def test_a_unit_is_explained_in_place_of_a_class():
    """Channel 1 of the map at row 2 and column 3 is twice that pixel where it is positive: no other pixel matters."""
    x, variables = np.abs(images(2)), {"scale": jnp.float32(2)}
    unit = page.parse_unit("relu:1@2:3")
    names, methods = ["one", "two"], ("gradient", "guided_backprop", "occlusion")
    result = page.explain_unit(unit, forward, variables, x, x[..., :1], names, methods, 2, 0)
    np.testing.assert_allclose(list(result.numbers.values()), 2 * x[:, 2, 3, 1], rtol=1e-6)
    assert list(result.numbers) == ["activation, one", "activation, two"]
    assert "channel 1 of relu, position 2, 3: one: " in result.verdict

    def activation(variables, x, perturbations=None):
        features = forward(variables, x, perturbations)[1]
        return features["relu"][:, 2, 3, 1:], features

    maps = attribution_maps(activation, variables, x, np.zeros(2, int), methods, window=1, occluded=lambda a: a)
    for method in ("gradient", "guided_backprop"):
        expected = np.zeros((2, 8, 8))
        expected[:, 2, 3] = 2
        np.testing.assert_allclose(maps[method], expected, atol=1e-6, err_msg=method)
    fall = 2 * (x[:, 2, 3, 1] - x.mean((1, 2))[:, 1])  # covered by the image's mean
    np.testing.assert_allclose(maps["occlusion"][:, 2, 3], fall, rtol=1e-5)
    assert np.count_nonzero(np.abs(maps["occlusion"]) > 1e-6) == 2


@pytest.mark.parametrize(
    ("methods", "settings", "text"),
    [
        (("grad-cam",), {}, "methods='grad-cam': unknown; allowed: gradient, "),
        (("cam",), {}, "methods='cam': the head is not one dense layer on the mean of relu"),
        (("cam",), {"kernel": jnp.ones((3, 2))}, "methods='cam': the head is not"),
        (("cam",), {"kernel": KERNEL, "layer": "stem"}, "layer='stem': unknown; allowed: relu"),
        (("grad_cam",), {"layer": "stem"}, "layer='stem': unknown; allowed: relu"),
        (("occlusion",), {"window": 9}, "window=9, stride=2: do not fit a side of 8 pixels"),
    ],
)
def test_bad_settings_are_named(methods, settings, text):
    with pytest.raises(ValueError, match=text):
        attribution_maps(forward, {"scale": jnp.float32(2)}, images(1), np.array([0]), methods, **settings)


def test_the_picture_has_a_row_an_image_and_a_column_a_technique():
    maps = {"gradient": np.zeros((2, 4, 4)), "grad_cam": np.ones((2, 4, 4))}
    figure = draw_maps(np.zeros((2, 4, 4, 1), np.uint8), maps, ["one", "two"])
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[:6] == ["one", "gradient", "Grad-CAM", "two", "", ""]


@pytest.mark.weekly
@pytest.mark.covers("VI-08")
def test_the_page_explains_a_file_by_the_network_that_is_given(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (40, 32, 3), dtype=np.uint8)).save(tmp_path / "photo.png")
    settings = {"network": str(PACKED), "input": str(tmp_path), "methods": ("cam", "grad_cam")}
    result = page.study(**settings)
    assert "photo.png: " in result.verdict
    assert result.numbers["largest difference of the mean of CAM from the logit"] < 1e-3
    wanted = page.study(**settings, explain="ship")
    assert "photo.png: ship (" in wanted.verdict
    assert wanted.numbers["probability, photo.png"] <= result.numbers["probability, photo.png"]
    with pytest.raises(ValueError, match="explain='boat': unknown; allowed: airplane, "):
        page.study(**settings, explain="boat")
    with pytest.raises(ValueError, match="input=None: digits are shown to a network of digits only"):
        page.study(network=str(PACKED))


def test_each_technique_is_what_its_name_says():
    """s = 2 relu(x) - relu(-3 x) of one pixel: by hand, where x is 0.5 and where it is -0.5."""

    def forward(variables, x, perturbations=None):
        features = jax.nn.relu(x @ jnp.array([[1.0, -3]])) + (perturbations or {"relu": 0})["relu"]
        return features.sum((1, 2)) @ jnp.array([[0, 2.0], [0, -1]]), {"relu": features}

    x, labels = np.array([0.5, -0.5], np.float32).reshape(2, 1, 1, 1), np.array([1, 1])
    names = ("gradient", "guided_backprop", "deconvnet", "integrated_gradients", "grad_cam")
    maps = {name: values.ravel() for name, values in attribution_maps(forward, {}, x, labels, names).items()}
    # At 0.5 the first unit alone is on, with weight 2; at -0.5 the second, with -1 times -3.
    np.testing.assert_allclose(maps["gradient"], [2, 3], rtol=1e-5)
    np.testing.assert_allclose(maps["guided_backprop"], [2, 0], atol=1e-6)  # -1 is not passed on
    np.testing.assert_allclose(maps["deconvnet"], [2, 2], rtol=1e-5)  # 2 of the first unit, on or off
    np.testing.assert_allclose(maps["integrated_gradients"], [1, 1.5], rtol=1e-4)  # gradient times x, from 0 on
    np.testing.assert_allclose(maps["grad_cam"], [2 * 0.5, 0], atol=1e-5)  # relu(-1 * 1.5) = 0


def test_maps_of_wide_images_are_those_of_the_batches_that_fit():
    """CAM is relu(sum over channels of w a), here with a head on maps of half the sides; occlusion has a stride of 1/4.

    Three images in batches of two: the second batch repeats the last one.
    """

    def pooled(variables, x, perturbations=None):
        features = variables["scale"] * x.reshape(len(x), 4, 2, 6, 2, 2).mean((2, 4)) + (perturbations or {"a": 0})["a"]
        return features.mean((1, 2)) @ KERNEL, {"a": features}

    x, labels = np.random.default_rng(1).normal(size=(3, 8, 12, 2)).astype(np.float32), np.array([1, 0, 1])
    settings = {"kernel": KERNEL, "batch_size": 2, "window": 4}
    maps = attribution_maps(pooled, {"scale": jnp.float32(2)}, x, labels, ("cam", "occlusion"), **settings)
    features = 2 * x.reshape(3, 4, 2, 6, 2, 2).mean((2, 4))
    small = np.maximum((features * np.asarray(KERNEL)[:, labels].T[:, None, None]).sum(-1), 0)
    expected = jax.image.resize(small, (3, 8, 12), "linear")
    np.testing.assert_allclose(maps["cam"], expected, atol=1e-5)
    # One window of all rows and columns but the last four, filled with the mean of the image: its fall is by hand.
    covered = x.copy()
    covered[:, :4, :4] = x.mean((1, 2), keepdims=True)
    before, after = (
        np.asarray(jax.nn.softmax(2 * images.mean((1, 2)) @ KERNEL))[np.arange(3), labels] for images in (x, covered)
    )
    np.testing.assert_allclose(maps["occlusion"][:, 0, 0], before - after, atol=1e-5)  # the corner is in one window


def test_maps_are_drawn_from_0_to_their_maximum_over_the_gray_image():
    """Of maps -1, 1, 4 the middle is a quarter; a map without positive values is 0."""
    maps = {"gradient": np.array([[[-1.0, 1, 4]], [[-1, 0, -2]]])}
    figure = draw_maps(np.full((2, 1, 3, 3), [30, 60, 90], np.uint8), maps, ["one", "two"])
    first, second = (figure.axes[k].images for k in (1, 3))
    np.testing.assert_allclose(first[1].get_array(), [[0, 0.25, 1]])
    np.testing.assert_allclose(second[1].get_array(), 0)
    np.testing.assert_allclose(first[0].get_array(), [[60] * 3])
    assert first[1].get_clim() == (0, 1)
    assert (figure.axes[0].images[0].get_array() == [30, 60, 90]).all()
    assert not any(ax.axison for ax in figure.axes[:4])
