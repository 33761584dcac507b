"""A seed starts parameters, codebook and state from keys of their own: measured runs can be started again."""

from types import SimpleNamespace

import jax
import numpy as np
import optax
import pytest

from dlcore.generative import (
    autoencoder,
    autoencoder_kl,
    autoregressive,
    ddpm,
    mask_git,
    pix2pix,
    vae,
    var,
    vq_vae,
    vq_vae_2,
    vq_vae_prior,
)
from dlcore.sequence import char_rnn, language_model, masked_language_model, neural_ode, patterns, seq2seq
from dlcore.vision3d import depth, implicit_surface, mesh_rcnn, nerf, pixel2mesh, point_generator, pointnet
from dlcore.vision_language import captioning, retrieval, video_caption, vqa

ROOT = jax.random.key(7)


MODEL_INPUTS = []
"""What the last model was started with."""


class Started(SimpleNamespace):
    """A model whose parameters are the key that they start from."""

    def init(self, key, *inputs, **options):
        MODEL_INPUTS[:] = inputs
        return {"params": {"key": jax.random.key_data(key)}}

    def apply(self, variables, x, *inputs, **options):
        return x

    def start(self, batch):
        return np.zeros(batch)


SGD = {"optimizer": optax.sgd(0.1)}
IMAGE = {"image": np.zeros((2, 2, 2, 1), np.float32), "index": np.arange(2), "label": np.zeros(2, int)}
TEXT = {"text": np.zeros((2, 5), int), "index": np.arange(2)}
CAPTIONS = {
    **IMAGE,
    "captions": np.ones((2, 1, 4), int),
    "question": np.ones((2, 3), int),
    "clip": IMAGE["image"][:, None],
}
POINTS = {**IMAGE, "points": np.zeros((2, 4, 3)), "origin": np.zeros((2, 3))}
PAIRS = {"source": np.ones((2, 3), int), "target": np.ones((2, 3), int), "index": np.arange(2)}
MODEL = Started()
CASES = {
    "autoencoder": (lambda: autoencoder.learner(model=MODEL, **SGD), IMAGE),
    "autoencoder_kl": (lambda: autoencoder_kl.learner(model=MODEL, **SGD), IMAGE),
    "autoregressive": (lambda: autoregressive.learner(model=Started(levels=2), shape=(2, 2, 1), **SGD), IMAGE),
    "ddpm": (lambda: ddpm.learner(model=MODEL, shape=(2, 2, 1), **SGD), IMAGE),
    "vae": (lambda: vae.learner(model=Started(likelihood="gaussian"), **SGD), IMAGE),
    "char_rnn": (lambda: char_rnn.learner(model=MODEL, chunk_length=2, **SGD), TEXT),
    "language_model": (lambda: language_model.learner(model=Started(window=3), **SGD), TEXT),
    "masked_language_model": (
        lambda: masked_language_model.learner(model=Started(window=3), mask_token=4, **SGD),
        TEXT,
    ),
    "neural_ode": (
        lambda: neural_ode.learner(model=MODEL, **SGD),
        {"state": np.zeros((2, 3, 1)), "time": np.zeros((2, 3))},
    ),
    "patterns": (lambda: patterns.learner(model=MODEL, **SGD), {"input": np.zeros((2, 3))}),
    "seq2seq": (lambda: seq2seq.learner(model=MODEL, **SGD), PAIRS),
    "depth": (lambda: depth.learner(model=MODEL, **SGD), IMAGE),
    "implicit_surface": (lambda: implicit_surface.learner(model=MODEL, **SGD), POINTS),
    "mesh_rcnn": (lambda: mesh_rcnn.learner(model=MODEL, **SGD), IMAGE),
    "nerf": (lambda: nerf.learner(model=MODEL, near=1.0, far=2.0, **SGD), POINTS),
    "pixel2mesh": (lambda: pixel2mesh.learner(model=Started(levels=()), **SGD), IMAGE),
    "point_generator": (lambda: point_generator.learner(model=MODEL, **SGD), IMAGE),
    "pointnet": (lambda: pointnet.learner(model=MODEL, **SGD), POINTS),
    "captioning": (lambda: captioning.learner(model=MODEL, **SGD), CAPTIONS),
    "retrieval": (lambda: retrieval.learner(model=MODEL, **SGD), CAPTIONS),
    "video_caption": (lambda: video_caption.learner(model=MODEL, **SGD), CAPTIONS),
    "vqa": (lambda: vqa.learner(model=MODEL, **SGD), CAPTIONS),
}


def numbers(k):
    return jax.random.key_data(jax.random.fold_in(ROOT, k))


@pytest.mark.parametrize("name", CASES)
def test_parameters_and_state_have_the_first_two_keys_of_the_seed(name):
    make, batch = CASES[name]
    state = make().init(ROOT, batch)
    np.testing.assert_array_equal(state.params["key"], numbers(0))
    np.testing.assert_array_equal(jax.random.key_data(state.rng), numbers(1))
    assert int(state.step) == 0


INPUT_SHAPES = {
    "autoencoder": [(1, 2, 2, 1)],
    "autoencoder_kl": [(1, 2, 2, 1)],
    "autoregressive": [(1, 2, 2, 1), None],
    "ddpm": [(1, 2, 2, 1), (1,)],
    "vae": [(1, 2, 2, 1)],
    "char_rnn": [(2,), (2, 1)],
    "language_model": [(1, 3)],
    "masked_language_model": [(1, 3)],
    "neural_ode": [(), (1,)],
    "seq2seq": [(2, 3), (2, 2)],
}
"""Shapes of what a network is started with; None where it gets no class."""


@pytest.mark.parametrize("name", INPUT_SHAPES)
def test_each_network_is_started_with_inputs_of_these_shapes(name):
    make, batch = CASES[name]
    make().init(ROOT, batch)
    assert [None if x is None else np.shape(x) for x in MODEL_INPUTS] == INPUT_SHAPES[name]


def test_the_priors_of_two_levels_have_keys_of_their_own():
    priors = vq_vae_2.Priors(Started(levels=4), Started(), Started(levels=4))
    model = Started(grids={"top": (1, 3), "bottom": (2, 6)})
    learner = vq_vae_2.learner(model=model, priors=priors, prior_optimizer=optax.sgd(0.1), **CODES)
    state = learner.init(ROOT, {"image": np.zeros((2, 2, 2, 1), np.float32), "index": np.arange(2)})
    top, condition, bottom = jax.random.split(jax.random.fold_in(ROOT, 1), 3)
    for name, key in (("top", top), ("condition", condition), ("bottom", bottom)):
        np.testing.assert_array_equal(state.params["prior"][name]["key"], jax.random.key_data(key))
    assert [np.shape(x) for x in MODEL_INPUTS] == [(1, 2, 6, 1), (1, 1, 3)]


def test_priors_of_codes_start_with_one_grid_of_codes():
    image = np.linspace(0, 1, 12, dtype=np.float32).reshape(2, 2, 3, 1)
    batch, model = {"image": image, "index": np.arange(2)}, Started(grid=(2, 3))
    for module, shape in ((vq_vae_prior, (1, 2, 3, 1)), (mask_git, (1, 2, 3))):
        module.learner(model=model, prior=Started(levels=4), num_codes=4, **SGD).init(ROOT, batch)
        assert [np.shape(x) for x in MODEL_INPUTS] == [shape]


CODES, GRID = {"num_codes": 4, **SGD}, Started(grid=(2, 2))


@pytest.mark.parametrize(
    ("make", "codebook_of"),
    [
        (lambda: vq_vae.learner(model=MODEL, **CODES), lambda state: state.codebook.vectors),
        (lambda: vq_vae_2.learner(model=MODEL, **CODES), lambda state: state.codebooks["top"].vectors),
        (
            lambda: vq_vae_prior.learner(model=GRID, prior=Started(levels=4), **CODES),
            lambda state: state.frozen["codebook"],
        ),
        (
            lambda: var.learner(model=GRID, prior=Started(scales=(1, 2)), prior_optimizer=optax.sgd(0.1), **CODES),
            lambda state: state.codebook.vectors,
        ),
    ],
    ids=["vq_vae", "vq_vae_2", "vq_vae_prior", "var"],
)
def test_parameters_prior_state_and_codebook_have_the_first_four_keys_of_the_seed(make, codebook_of):
    image = np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 2, 2, 1)
    state = make().init(ROOT, {"image": image, "index": np.arange(2)})
    keys = {"/".join(p.key for p in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state.params)}
    if hasattr(state, "frozen"):
        keys = {"autoencoder/key": state.frozen["autoencoder"]["key"], "prior/key": state.params["key"]}
    np.testing.assert_array_equal(keys.get("autoencoder/key", keys.get("key")), numbers(0))
    np.testing.assert_array_equal(keys.get("prior/key", numbers(1)), numbers(1))
    np.testing.assert_array_equal(jax.random.key_data(state.rng), numbers(2))
    order = jax.random.permutation(jax.random.fold_in(ROOT, 3), 8)[:4]
    np.testing.assert_allclose(np.ravel(codebook_of(state)), 2 * image.ravel()[order] - 1, rtol=1e-6)


def test_two_players_and_their_state_have_the_first_three_keys_of_the_seed():
    optimizers = {"generator_optimizer": optax.sgd(0.1), "discriminator_optimizer": optax.sgd(0.1)}
    learner = pix2pix.learner(generator=MODEL, discriminator=MODEL, **optimizers)
    state = learner.init(ROOT, {**IMAGE, "source": IMAGE["image"]})
    np.testing.assert_array_equal(state.params["generator"]["key"], numbers(0))
    np.testing.assert_array_equal(state.params["discriminator"]["key"], numbers(1))
    np.testing.assert_array_equal(jax.random.key_data(state.rng), numbers(2))
