"""References: each drawn as often, losses without padding, and sentences that equal one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.words import END, PAD, START
from dlcore.vision_language.references import caption_losses, draw_references, is_reference

CAPTIONS = np.array(
    [[[START, 5, 6, END], [START, 7, END, PAD], [PAD] * 4], [[START, 8, END, PAD], [PAD] * 4, [PAD] * 4]], np.int32
)


def test_different_references_that_exist_are_drawn_equally_often():
    captions = np.zeros((1, 4, 4), np.int32)
    captions[0, 1:] = [[START, 4, END, PAD], [START, 5, 5, END], [START, 6, END, PAD]]
    keys = jax.random.split(jax.random.key(0), 300)
    drawn = np.asarray(jax.jit(draw_references, static_argnums=2)(keys, np.repeat(captions, 300, 0), 2))
    assert (drawn[:, 0, 1] != drawn[:, 1, 1]).all()
    counts = np.bincount(drawn[..., 1].ravel(), minlength=7)
    assert counts[0] == 0
    assert (np.abs(counts[4:] - 200) < 35).all()  # 300 draws of 2 of 3; three deviations of sqrt(300 2/9) = 8.2 are 25
    every = np.asarray(jax.jit(draw_references, static_argnums=2)(keys[:1], captions, 4))[0]
    assert (every[3] == PAD).all()
    assert sorted(every[:3, 1]) == [4, 5, 6]
    with pytest.raises(ValueError, match="captions_per_image=5: images have 4; allowed: at most 4"):
        draw_references(keys[:1], captions, 5)


def test_padding_is_no_target():
    losses, mask = caption_losses(jnp.zeros((2, 3, 9)), CAPTIONS[:, 0])
    np.testing.assert_array_equal(mask, [[True, True, True], [True, True, False]])
    np.testing.assert_allclose(losses, np.log(9), rtol=1e-6)


def test_a_number_added_to_all_logits_changes_no_loss():
    losses, _ = caption_losses(jnp.full((1, 2, 8), 1e8), jnp.array([[START, 4, END]]))
    np.testing.assert_allclose(losses, np.log(8) * np.ones((1, 2)), rtol=1e-6)


def test_a_sentence_counts_up_to_its_end():
    cases = (
        ([5, 6, END, END, END], True),
        ([5, 6, END, 7, 7], True),  # what follows the end is no part of it
        ([7, END, END, END, END], True),
        ([5, END, END, END, END], False),
        ([5, 6, 6, END, END], False),
        ([5, 6, 7, 7, 7], False),  # no end
        ([END] * 5, False),  # a missing reference is no empty one
    )
    tokens, right = zip(*cases, strict=True)
    found = jax.jit(is_reference)(np.array(tokens), np.repeat(CAPTIONS[:1], len(cases), 0))
    assert found.tolist() == list(right)
    # Sentences may be shorter than references.
    assert jax.jit(is_reference)(np.array([[8, END], [8, 8]]), CAPTIONS[[1, 1]]).tolist() == [True, False]
