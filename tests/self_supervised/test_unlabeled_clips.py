"""Clips without labels: what the pages measure, film strips, and flags that do not fit."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.clip_data import FilmStrips, UnlabeledClips
from dlcore.data.preprocess import to_signed
from dlcore.experiment.resolve import resolve
from dlcore.learner import State
from dlcore.self_supervised.patch_predictors import TeacherState
from dlcore.setting import FlagError
from experiments import find_experiment

PAGES = {name: find_experiment(f"self_supervised.{name}") for name in ("vjepa", "video_mae")}


@pytest.mark.slow
@pytest.mark.covers("VD-21")
@pytest.mark.parametrize("name", PAGES)
def test_the_encoder_of_a_page_is_that_of_its_learner(name):
    """What fine-tuning starts from gives the features that `predict` gives."""
    page = PAGES[name]
    flags = resolve(page, ["--smoke"])
    spec = {"num_classes": 4, "image_shape": [6, 16, 16, 3]}
    setup = page.run(flags, spec, 2, jnp.float32)
    clips = np.random.default_rng(0).integers(0, 256, (2, 6, 16, 16, 3), np.uint8)
    rows = {"image": clips, "index": np.arange(2)}
    learner = setup.build()
    encoder = setup.encoder()

    @jax.jit
    def run(key):
        state = learner.init(key, rows)
        return state, learner.predict(state, rows)["features"]

    state, expected = run(jax.random.key(0))
    assert isinstance(state, TeacherState if name == "vjepa" else State)
    features, _ = jax.jit(lambda v, x: encoder.apply(v, x, None))(encoder.variables(state), to_signed(clips))
    np.testing.assert_allclose(features, expected, atol=1e-5)


def test_levels_are_scaled():
    np.testing.assert_allclose(to_signed(jnp.asarray([0, 255], jnp.uint8)), [-1, 1])


def test_film_strips_show_four_frames():
    clips = np.arange(6, dtype=np.uint8)[None, :, None, None, None] * np.ones((3, 1, 2, 3, 3), np.uint8)
    strips = FilmStrips(clips)
    assert strips.shape == (len(strips), *strips[0].shape) == (3, 2, 12, 3)
    chex.assert_shape(strips[np.array([0, 2])], (2, 2, 12, 3))
    # Frames 0, 5/3, 10/3 and 5, rounded down.
    np.testing.assert_array_equal(strips[1][0, :, 0], np.repeat([0, 1, 3, 5], 3))
    few = FilmStrips(clips[:, :3], np.array([2]))
    assert few.shape == (len(few), *few[0].shape) == (1, 2, 9, 3)
    np.testing.assert_array_equal(few[0][0, :, 0], np.repeat([0, 1, 2], 3))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--clip_length=9"], "clip_length=9: with stride 1 longer than a video of 8 frames; allowed: at most 8"),
        (["--fine_tune=0.5,-1"], "fine_tune"),
    ],
)
def test_flags_that_do_not_fit(words, message):
    page = PAGES["video_mae"]
    with pytest.raises(FlagError, match=message):
        page.run(resolve(page, words)).check()


def test_the_report_shows_film_strips_of_clips():
    clips = np.arange(6, dtype=np.uint8).reshape(2, 3, 1, 1, 1) * np.ones((1, 1, 4, 4, 3), np.uint8)
    strips = UnlabeledClips().pictures_of(clips)
    assert isinstance(strips, FilmStrips)
    np.testing.assert_array_equal(strips[0], FilmStrips(clips)[0])
