"""Images of a frozen network: which optimizer, the film while they are optimized, and the panel of the report."""

import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.data.one_photograph import check_batch_size
from dlcore.experiment.flags import Flags
from dlcore.models.vgg import VGG
from dlcore.optim.pixel_optimizer import PixelOptimizer
from dlcore.report.optimized_images import ImageFilm, image_panels
from dlcore.weights import frozen_network
from dlcore.weights.frozen_network import FrozenNetwork, average_pooling
from tests.overriding import run_of


def film_of(count):
    """The only hook of a report of `count` images, whose image i has the value i / 10."""
    part = ImageFilm() if count == 1 else ImageFilm(lambda run: count)
    learner = types.SimpleNamespace(
        predict=lambda state, batch: {
            "image": jnp.broadcast_to(batch["index"][:, None, None, None] / 10, (len(batch["index"]), 2, 2, 3))
        }
    )
    (film,) = part.report_hooks(types.SimpleNamespace(build=lambda: learner))
    return film


def test_the_images_are_filmed_five_a_row():
    film = film_of(7)
    assert film.title == "The images by step"
    film(1, None, {"train/loss": 1.0})
    frame = film.picture(jax.device_get(film._predict(None, film.batch)))
    single = film_of(1)
    assert single.title == "The image by step"
    alone = single.picture(jax.device_get(single._predict(None, single.batch)))
    chex.assert_shape(alone, (2, 2, 3))
    chex.assert_shape(frame, (2 * 2 + 1, 5 * 2 + 4, 3))  # two rows of five, a pixel between two
    assert {0, 51, 102, 153} <= set(np.unique(frame))


def test_a_film_stands_in_a_report_beside_functions_and_has_no_panels_of_its_own():
    run = run_of(Flags({}), report=(ImageFilm(), lambda context: [context]))
    assert run.panels("panel") == ["panel"]


@pytest.mark.parametrize("name", ["lbfgs", "adam"])
def test_the_optimizer_by_name(name):
    optimizer, params = PixelOptimizer(name, learning_rate=0.25).build(10), jnp.array([3.0, -4.0])
    state = optimizer.init(params)
    if name == "lbfgs":
        assert state[0].diff_params_memory.shape == (10, 2)
        return
    # The first step of Adam has the length of the learning rate; further arguments of a line search are accepted.
    updates, _ = optimizer.update(jnp.array([2.0, -0.1]), state, params, value=1.0)
    np.testing.assert_allclose(updates, [-0.25, 0.25], rtol=1e-4)


def test_a_network_pools_by_the_mean_if_it_can():
    assert average_pooling(VGG(num_classes=2)).pooling == "avg"
    dense = nn.Dense(2)
    assert average_pooling(dense) is dense


@pytest.mark.parametrize("averages", [True, False])
def test_the_network_is_loaded_from_its_flag(averages, monkeypatch):
    network = types.SimpleNamespace(model=VGG(num_classes=2), variables={"params": {}}, mean=[0.5], std=[0.2])
    monkeypatch.setattr(frozen_network, "load_network", {"folder": network}.__getitem__)
    arguments = FrozenNetwork("folder", averages).arguments(None)
    assert arguments["model"].pooling == ("avg" if averages else "max")
    assert (arguments["mean"], arguments["std"], arguments["variables"]) == ([0.5], [0.2], {"params": {}})


def test_all_images_fit_into_a_batch():
    check_batch_size(3, 3)
    with pytest.raises(ValueError, match="batch_size=2: 3 images are optimized; allowed: at least 3"):
        check_batch_size(2, 3)


def test_up_to_four_images_take_half_of_the_width(bare_panels):
    image = np.full((4, 4, 3), 0.5, np.float32)
    context = types.SimpleNamespace(history=["a row"])
    four, _ = image_panels(context, dict.fromkeys("abcd", image), "Images", "of four")
    five, curves = image_panels(context, dict.fromkeys("abcde", image), "Images")
    assert (four.half, five.half) == (True, False)
    assert (four.title, four.subtitle) == ("Images", "of four")
    assert all(name in five.html for name in "abcde")
    assert curves == ["a row"]
