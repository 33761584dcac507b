"""Whose losses and times are compared, and the verdict."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import struct

from experiments.studies import fast_style as study
from tests.overriding import with_task


def rendering(one_pass, optimized, seconds):
    images = dict.fromkeys((study.PHOTOGRAPH, study.PASS, study.OPTIMIZED), np.zeros((4, 4, 3)))
    losses = {study.PHOTOGRAPH: 9.0, study.PASS: one_pass, study.OPTIMIZED: optimized}
    return study.Rendering("mosaic", images, losses, {study.PASS: 0.01, study.OPTIMIZED: seconds})


@pytest.mark.covers("VI-18")
def test_the_verdict_asks_for_twice_the_loss_and_a_hundred_times_the_speed():
    """(3 + 1) / (1 + 1) = 2 is the most that holds; 1 s over 0.01 s is the least."""
    result = study.report([rendering(3.0, 1.0, 1.0), rendering(1.0, 1.0, 1.0)])
    assert result.holds
    assert result.headline.values == pytest.approx(2.0)
    assert not study.report([rendering(3.1, 1.0, 1.0), rendering(1.0, 1.0, 1.0)]).holds
    assert not study.report([rendering(1.0, 1.0, 0.9)]).holds


def test_each_style_shows_its_photograph_with_the_most_contrast():
    flat, striped = np.full((4, 4, 3), 0.5), np.tile([[[0.0], [1.0]]], (4, 2, 3))
    kinds = (study.PHOTOGRAPH, study.PASS, study.OPTIMIZED)
    renderings = [
        rendering(3.0, 1.0, 1.0)._replace(style=style, images=dict.fromkeys(kinds, image))
        for style in ("mosaic", "waves")
        for image in (flat, striped, flat)
    ]
    (figure,) = study.report(renderings).figures.values()
    assert [ax.get_ylabel() for ax in figure.axes[::3]] == ["mosaic", "waves"]
    for ax in figure.axes:
        np.testing.assert_array_equal(ax.images[0].get_array(), striped)


@struct.dataclass
class Image:
    params: jnp.ndarray


@struct.dataclass
class Mean:
    value: jnp.ndarray

    def compute(self):
        return self.value


class Brighter(nn.Module):
    """Adds a quarter."""

    num_styles: int

    def __call__(self, x, style):
        return x + 0.25


@pytest.mark.covers("VI-18")
def test_each_arm_is_what_its_name_says(monkeypatch):
    """The loss is the mean pixel: of the photograph 51 / 255 = .2, of one pass .45, of three steps of .1 each .5."""
    flags = SimpleNamespace(network=None, styles=("mosaic",), group=lambda name: {})
    network = SimpleNamespace(model=Brighter(1), variables={}, mean=0, std=1)
    optimizer = SimpleNamespace(
        init=lambda key, batch: Image(jnp.asarray(batch["content"]) / 255.0),
        update=lambda state, batch: (state.replace(params=state.params + 0.1), {}),
        evaluate=lambda state, batch: {"loss": Mean(state.params.mean())},
    )
    photographs = SimpleNamespace(test=SimpleNamespace(arrays={"content": np.full((3, 4, 4, 3), 51, np.uint8)}))
    monkeypatch.setattr(study.earlier_run, "load", lambda run: SimpleNamespace(flags=flags, params={}))
    monkeypatch.setattr(study, "load_network", lambda source: network)
    monkeypatch.setattr(study.style_transfer, "learner", lambda **kwargs: optimizer)
    monkeypatch.setattr(study, "StyleNet", Brighter)
    monkeypatch.setattr(study.page, "style_images", lambda flags: [np.zeros((4, 4, 3), np.uint8)])
    monkeypatch.setattr(study.page, "experiment", with_task(study.page.experiment, data=lambda flags: photographs))
    monkeypatch.setattr(study, "median_seconds", lambda function, *arguments: 1e-9)
    (found,) = study.compare("run", 1, 3)
    want = {study.PHOTOGRAPH: 0.2, study.PASS: 0.45, study.OPTIMIZED: 0.5}
    assert found.losses == pytest.approx(want, abs=1e-6)
    assert {name: float(image.mean()) for name, image in found.images.items()} == pytest.approx(want, abs=1e-6)
    assert found.seconds[study.PASS] == 1e-9 < found.seconds[study.OPTIMIZED]
