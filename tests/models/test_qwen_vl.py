"""Qwen-VL: positions of words and image tokens, and cached decoding of the published goldens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models.qwen_tower import PatchSequence, locate_patches
from dlcore.models.qwen_vl import multimodal_positions
from dlcore.pretrained import from_pretrained
from tests.pretrained.test_published import read_published

FILES = ("hf_qwen2_vl", "hf_qwen2_5_vl", "hf_qwen3_vl")
NEW = 3
"""Tokens that are decoded one by one, the last ones of the golden's sequence."""


@pytest.mark.covers("CP-15")
def test_words_and_images_of_one_row_have_one_position():
    is_image = jnp.asarray([[0, 1, 1, 1, 0, 0]], bool)
    positions, after = multimodal_positions(is_image, jnp.asarray([[1, 2, 6]]), 2)
    assert positions[2].tolist() == [[0, 1, 2, 3, 4, 5]]
    assert positions[0].tolist() == positions[1].tolist() == [[0, 1, 1, 1, 4, 5]]
    assert after.tolist() == [[1, 1, 1, 4, 5, 6]]
    words, _ = multimodal_positions(jnp.zeros((1, 4), bool), None, 2)
    assert words.tolist() == [[[0, 1, 2, 3]]] * 3


@pytest.mark.covers("CP-15")
def test_neighbors_that_are_merged_follow_one_another():
    place = locate_patches(jnp.arange(8 + 16), jnp.asarray([[1, 2, 4], [2, 2, 4]]), 2)
    assert place.row[:8].tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    assert place.column[:8].tolist() == [0, 1, 0, 1, 2, 3, 2, 3]
    assert place.image.tolist() == [0] * 8 + [1] * 16
    assert place.time.tolist() == [0] * 16 + [1] * 8
    assert np.flatnonzero(place.is_last).tolist() == [7, 23]


@pytest.mark.slow
@pytest.mark.covers("CP-15")
@pytest.mark.parametrize("name", FILES)
def test_a_prompt_and_single_tokens_give_the_logits_of_the_whole_sequence(name, tmp_path):
    _, _, inputs = read_published(name, tmp_path)
    net = from_pretrained(tmp_path)
    tokens = jnp.asarray(inputs["input_ids"])
    length = tokens.shape[1] - NEW
    expected = np.asarray(net(**inputs)["logits"])[:, length - 1 :]
    images = PatchSequence(inputs["pixel_values"], inputs["image_grid_thw"])

    @jax.jit
    def prefill(variables, tokens, images):
        cache = net.model.init_cache(len(tokens), tokens.shape[1] + 8)
        padded = jnp.pad(tokens[:, :length], ((0, 0), (0, 4)))
        return net.model.apply(variables, padded, jnp.full(len(tokens), length), cache, images, method="prefill")

    cache, logits = prefill(net.variables, tokens, images)
    step = jax.jit(lambda variables, tokens, cache: net.model.apply(variables, tokens, cache=cache))
    rows = [logits]
    for i in range(length, tokens.shape[1]):
        logits, cache = step(net.variables, tokens[:, i : i + 1], cache)
        rows.append(logits[:, 0])
    np.testing.assert_allclose(jnp.stack(rows, 1), expected, rtol=0, atol=2e-5 * float(expected.std()))
