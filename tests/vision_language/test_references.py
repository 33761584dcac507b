"""References: each drawn as often, losses without padding, and sentences that equal one."""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.words import END, PAD, START, UNKNOWN
from dlcore.vision_language.references import caption_losses, draw_reference, forbid, is_reference

CAPTIONS = np.array(
    [[[START, 5, 6, END], [START, 7, END, PAD], [PAD] * 4], [[START, 8, END, PAD], [PAD] * 4, [PAD] * 4]], np.int32
)


def test_existing_references_are_drawn_equally_often():
    keys = jax.random.split(jax.random.key(0), 400)
    drawn = draw_reference(keys, np.repeat(CAPTIONS[:1], 400, 0))
    assert set(map(int, drawn[:, 1])) == {5, 7}
    assert 160 < (drawn[:, 1] == 5).sum() < 240  # 200, with a standard deviation of 10
    np.testing.assert_array_equal(draw_reference(keys[:1], CAPTIONS[1:]), CAPTIONS[1:, 0])


def test_padding_is_no_target():
    losses, mask = caption_losses(jnp.zeros((2, 3, 9)), CAPTIONS[:, 0])
    np.testing.assert_array_equal(mask, [[True, True, True], [True, True, False]])
    np.testing.assert_allclose(losses, np.log(9), rtol=1e-6)


def test_no_caption_shows_what_is_forbidden():
    logits = forbid(jnp.zeros((1, 6)))
    assert set(np.flatnonzero(np.isinf(logits[0]))) == {PAD, START, UNKNOWN}


def test_a_sentence_counts_up_to_its_end():
    for tokens, right in (
        ([5, 6, END, END, END], True),
        ([5, 6, END, 7, 7], True),  # what follows the end is no part of it
        ([7, END, END, END, END], True),
        ([5, END, END, END, END], False),
        ([5, 6, 6, END, END], False),
        ([5, 6, 7, 7, 7], False),  # no end
        ([END] * 5, False),  # a missing reference is no empty one
    ):
        assert bool(is_reference(jnp.array([tokens]), CAPTIONS[:1])[0]) is right
    assert bool(is_reference(jnp.array([[8, END]]), CAPTIONS[1:])[0])
