"""The transformer captioner: its cache changes nothing, words see no later words, and the image is seen."""

import chex
import jax
import numpy as np
import pytest

from dlcore.vision_language.caption_transformer import CaptionTransformer
from tests.random_weights import random_like
from tests.vision_language.test_caption_rnn import IMAGES, RNG, TOKENS, Patches
from tests.wiring import assert_wiring


def small(**fields):
    model = CaptionTransformer(Patches(), 7, window=6, width=8, num_heads=2, **fields)
    shapes = jax.eval_shape(model.init, jax.random.key(1), IMAGES, TOKENS)
    return model, random_like(shapes, 0.5, RNG)


@pytest.mark.covers("CP-05")
def test_the_cache_changes_nothing():
    model, variables = small(encoder_layers=0, decoder_layers=1)

    @jax.jit
    def run(variables):
        at_once = model.apply(variables, IMAGES, TOKENS)
        memory = model.apply(variables, IMAGES, method="encode")
        carry, by_word = model.apply(variables, memory, 5, method="start"), []
        for t in range(2):
            carry, logits = model.apply(variables, carry, TOKENS[:, t], method="step")
            by_word.append(logits)
        return at_once, by_word, memory["grid"], carry

    at_once, by_word, grid, carry = run(variables)
    chex.assert_shape(grid, (2, 2, 2, 8))
    np.testing.assert_allclose(np.stack(by_word, 1), at_once[:, :2], atol=1e-5)
    assert "grid" not in carry  # projected once, by the first step


@pytest.mark.covers("CP-05")
def test_a_word_depends_on_the_image_and_on_earlier_words_alone():
    model, variables = small(encoder_layers=0, decoder_layers=1)
    apply = jax.jit(model.apply)
    logits = apply(variables, IMAGES, TOKENS)
    later = TOKENS.copy()
    later[:, 2:] = 3
    np.testing.assert_allclose(apply(variables, IMAGES, later)[:, :2], logits[:, :2], atol=1e-6)
    np.testing.assert_allclose(apply(variables, IMAGES[::-1], TOKENS[::-1]), logits[::-1], atol=1e-6)
    assert np.abs(apply(variables, IMAGES[::-1], TOKENS) - logits).max() > 1e-2


@pytest.mark.slow
def test_the_alignment_is_the_last_cross_attention():
    model, variables = small(encoder_layers=0, decoder_layers=2)

    @jax.jit
    def run(variables):
        _, sown = model.apply(variables, IMAGES, TOKENS, mutable=["intermediates"])
        blocks = [sown["intermediates"][f"blocks_{k}"]["cross_attn"]["weights"][0] for k in range(2)]
        return model.alignment(sown["intermediates"]), blocks

    alignment, blocks = jax.device_get(run(variables))
    chex.assert_shape(alignment, (2, 4, 4))
    np.testing.assert_allclose(alignment.sum(-1), 1, atol=1e-6)
    first, last = (weights.mean(1) for weights in blocks)  # over the heads
    np.testing.assert_allclose(alignment, last, atol=1e-6)
    assert np.abs(first - last).max() > 1e-3


def test_captions_longer_than_the_window_are_refused():
    model, variables = small(encoder_layers=0, decoder_layers=1)
    memory = {"grid": np.zeros((2, 2, 2, 8), np.float32)}
    with pytest.raises(ValueError, match=r"tokens.shape=\(2, 8\): 8 tokens; allowed: at most window=6"):
        model.apply(variables, memory, np.tile(TOKENS, 2), method="decode")


def test_the_wiring_of_the_caption_transformer_is_as_it_was():
    """A regression: the number holds the code as it was."""
    model = CaptionTransformer(Patches(), 7, window=6, width=8, num_heads=2, decoder_layers=1)
    assert_wiring(model, IMAGES.shape, TOKENS, [13.3831, 8.53057])
