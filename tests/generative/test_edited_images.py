"""Edits of one's own images by a trained DDPM: by hand, the background bit by bit, and bad input."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from PIL import Image

from dlcore.data.augment import to_float
from dlcore.data.facts import Facts
from dlcore.generative import ddpm
from dlcore.generative.diffusion import NoiseSchedule, Sampling, noise_of
from dlcore.generative.edited_images import EditImages
from dlcore.generative.editing import Editing
from dlcore.learner import example_keys
from dlcore.setting import FlagError


class Halves(nn.Module):
    """Predicts half of what it is given."""

    @nn.compact
    def __call__(self, x, t):
        return self.param("half", nn.initializers.constant(0.5), ()) * x


def edited(method, mask, strength=0.5):
    schedule, sampling = NoiseSchedule(num_timesteps=100), Sampling("ddim", 4, "trailing", clip_sample=False)
    fields = {"noise_schedule": schedule, "sampling": sampling, "editing": Editing(method, strength, 2)}
    technique = ddpm.learner(model=Halves(), optimizer=optax.sgd(0.1), shape=(4, 6, 1), **fields)
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 1), np.uint8)
    masks = np.broadcast_to(mask, images.shape).astype(np.float32)
    batch = {"original": images, "edit_mask": masks, "index": np.arange(2)}
    state = technique.init(jax.random.key(0), batch)
    noise = noise_of(example_keys(state.rng, batch), (4, 6, 1))
    return images, np.asarray(jax.jit(technique.predict)(state, batch)["sample"]), np.asarray(noise(jnp.int32(-1)))


@pytest.mark.slow
@pytest.mark.covers("GE-42")
def test_sdedit_by_hand():
    """Two of four steps of DDIM, trailing: 99, 74, 49 and 24, so from the image with the noise of timestep 49."""
    images, sample, noise = edited("sdedit", np.ones((4, 6, 1)))
    abar = np.cumprod(1 - np.linspace(10 * 1e-4, 10 * 0.02, 100))
    x = np.sqrt(abar[49]) * (images / 127.5 - 1) + np.sqrt(1 - abar[49]) * noise
    for now, after in ((abar[49], abar[24]), (abar[24], 1.0)):
        clean = (x - np.sqrt(1 - now) * x / 2) / np.sqrt(now)
        x = np.sqrt(after) * clean + np.sqrt(1 - after) * x / 2
    np.testing.assert_allclose(sample, np.clip(x / 2 + 0.5, 0, 1), atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("GE-42")
@pytest.mark.parametrize("method", ["sdedit", "inversion", "repaint"])
def test_pixels_that_the_mask_keeps_are_bit_equal(method):
    mask = np.zeros((4, 6, 1))
    mask[1:3, 2:] = 1
    images, sample, _ = edited(method, mask)
    keeps = np.broadcast_to(mask == 0, images.shape)
    np.testing.assert_array_equal(sample[keeps], np.asarray(jax.jit(to_float)(images))[keeps])
    np.testing.assert_array_equal(np.rint(255 * sample[keeps]), images[keeps])  # as the file has them
    assert np.abs(sample[~keeps] - images[~keeps] / 255).mean() > 0.01


def test_strength_zero_leaves_the_image():
    for method in ("sdedit", "inversion"):
        images, sample, _ = edited(method, np.ones((4, 6, 1)), 0.0)
        np.testing.assert_allclose(sample, images / 255, atol=1e-6)


def run_of(*given):
    return SimpleNamespace(facts=Facts(image_shape=(4, 6, 1)), flags=SimpleNamespace(given=frozenset(given)))


def picture(path, height, width, value=200):
    Image.fromarray(np.full((height, width), value, np.uint8)).save(path)
    return str(path)


@pytest.mark.covers("GE-42")
def test_images_and_mask_are_read_at_the_size_of_the_training(tmp_path):
    image, mask = picture(tmp_path / "a.png", 4, 6), picture(tmp_path / "mask.png", 4, 6, 255)
    source, names = EditImages(edit="repaint", mask=mask).inputs(image, run_of())
    assert names == [image]
    np.testing.assert_array_equal(source.arrays["original"], np.full((1, 4, 6, 1), 200))
    np.testing.assert_array_equal(source.arrays["edit_mask"], np.ones((1, 4, 6, 1)))
    other, classes = picture(tmp_path / "other.png", 6, 4), picture(tmp_path / "classes.png", 4, 6, 1)
    Image.fromarray(np.repeat([[126, 127, 128]], 4, 0).repeat(2, 1).astype(np.uint8)).save(tmp_path / "gray.png")
    source, _ = EditImages(mask=str(tmp_path / "gray.png")).inputs(image, run_of())
    assert source.arrays["edit_mask"][0, 0, :, 0].tolist() == [0, 0, 0, 0, 1, 1]
    for path, mask, text in (
        (other, None, r"input=.*other.png: 6x4 pixels; allowed: 4x6, the size of the training images"),
        (image, classes, r"mask=.*classes.png: no pixel above 127; allowed: white where the image"),
        (image, other, r"mask=.*other.png: 6x4 pixels; allowed: 4x6"),
    ):
        with pytest.raises(ValueError, match=text):
            EditImages(mask=mask).inputs(path, run_of())
    with pytest.raises(FlagError, match="--edit=repaint: without a mask; allowed: beside --mask=PICTURE"):
        EditImages(edit="repaint").inputs(image, run_of())
    with pytest.raises(FlagError, match=r"--strength=0.3: of no use without --input; allowed: beside --input=IMAGE"):
        EditImages(strength=0.3).samples(run_of("strength"))
    assert len(EditImages(num_drawn=2).samples(run_of("num_drawn"))[0]) == 2
    assert EditImages(edit="repaint").arguments(run_of()) == {"editing": Editing("repaint", 0.5, 5)}
