"""The scenes of one shape or none, the network's perturbation, and a short training by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from experiments.studies import scene_classifier as study


def test_a_scene_has_the_label_and_the_box_of_its_one_shape_or_none():
    scenes = study.single_shapes(24, 0, 16, empty=0.5)
    empty = scenes["label"] == study.NOTHING
    assert 4 < empty.sum() < 20
    np.testing.assert_array_equal(scenes["mask"].any((1, 2)), ~empty)
    for mask, (x0, y0, x1, y1) in zip(scenes["mask"][~empty], scenes["box"][~empty], strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert (y0, y1, x0, x1) == (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)
        assert 2 < max(y1 - y0, x1 - x0) <= 9  # a quarter to half of the side, less or more a pixel or so
    assert not (study.single_shapes(24, 0, 16)["label"] == study.NOTHING).any()


class Bias(nn.Module):
    """Logits: a bias, whatever the image."""

    @nn.compact
    def __call__(self, x):
        return jnp.broadcast_to(self.param("bias", nn.initializers.zeros, (3,)), (len(x), 3)), {}


def test_two_steps_of_training_by_hand():
    """The rate rises from 0 to its peak in one step, and Adam's step is then the rate by the sign of the slope.

    All labels are 2: the slope is 1/3, 1/3 and -2/3 in both steps.
    """
    images, labels = np.zeros((4, 5, 5, 3), np.uint8), np.full(4, 2)
    variables = study.fit(Bias(), images, labels, steps=2, batch_size=3, seed=0, learning_rate=0.25)
    np.testing.assert_allclose(variables["params"]["bias"], [-0.25, -0.25, 0.25], rtol=1e-4)


def test_training_sees_each_scene_turned_and_mirrored():
    """A picture of five different corners: in 40 steps all eight of its turns and mirror images come."""
    picture = np.zeros((1, 3, 3, 1), np.float32)
    picture[0, 0, 0], picture[0, 0, 2] = 1, 2
    views = []

    def ranks(side):
        return tuple(np.argsort(side, None, kind="stable").tolist())

    class Recorder(Bias):
        def apply(self, variables, x):
            jax.debug.callback(lambda x: views.append(ranks(x[0, ..., 0])), x)
            return super().apply(variables, x)

    study.fit(Recorder(), picture, np.zeros(1, int), steps=40, batch_size=1, seed=0)
    jax.effects_barrier()
    flat = picture[0, ..., 0]
    turned = {ranks(np.rot90(side, k)) for side in (flat, flat[:, ::-1]) for k in range(4)}
    assert len(turned) == 8
    assert set(views) == turned


@pytest.mark.parametrize("channels", [16, 15])
def test_a_perturbation_is_added_to_the_last_maps(channels):
    """A width of 4 has 16 channels at last, of 4 x 4 for an image of 16 pixels; 15 channels cannot be added to them."""
    net, image = study.Classifier(4), np.zeros((1, 16, 16, 3), np.float32)
    (logits, maps), variables = jax.eval_shape(lambda: net.init_with_output(jax.random.key(0), image))
    chex.assert_shape(logits, (1, len(study.SHAPES)))
    chex.assert_shape(maps["last"], (1, 4, 4, 16))

    def perturbed(variables):
        return net.apply(variables, image, {"last": np.zeros((1, 4, 4, channels))})

    if channels == 16:
        assert jax.eval_shape(perturbed, variables)[1] == maps
    else:
        with pytest.raises(TypeError, match="incompatible shapes"):
            jax.eval_shape(perturbed, variables)
