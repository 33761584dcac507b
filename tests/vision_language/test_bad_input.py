"""Captions, paths and features that do not fit: each is named before anything is computed."""

import jax
import numpy as np
import pytest

from dlcore.vision_language.networks import append_coordinates, last_valid, relation_pairs
from dlcore.vision_language.references import caption_losses, draw_references, is_reference
from dlcore.vision_language.retrieval import softmax_contrast
from dlcore.vision_language.text_reading import collapse, reading_order

KEYS = jax.random.split(jax.random.key(0), 2)
TOKENS, CAPTIONS = np.ones((2, 4), int), np.ones((2, 3, 5), int)
LOGITS, ATTENTION = np.zeros((2, 3, 9), np.float32), np.ones((2, 4, 1, 3)) / 3


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("tokens=.*wrong shape", lambda: last_valid(LOGITS, TOKENS)),
        ("scale=0", lambda: softmax_contrast(None, LOGITS[:, 0], LOGITS[:, 0], 0.0, np.ones(2))),
        ("grid=.*wrong shape", lambda: append_coordinates(LOGITS)),
        ("objects=.*wrong shape", lambda: relation_pairs(LOGITS[0])),
        ("captions=.*wrong shape", lambda: draw_references(KEYS, TOKENS, 1)),
        ("keys=.*wrong shape|captions=.*wrong shape", lambda: draw_references(KEYS[:1], CAPTIONS, 1)),
        ("captions_per_image=0", lambda: draw_references(KEYS, CAPTIONS, 0)),
        ("captions_per_image=4: images have 3", lambda: draw_references(KEYS, CAPTIONS, 4)),
        ("logits=.*wrong shape", lambda: caption_losses(LOGITS[:1], TOKENS)),
        ("logits=.*wrong shape", lambda: caption_losses(LOGITS, TOKENS[:1])),
        (r"captions\[0, 0\]=9: out of range; allowed: 0 to 8", lambda: caption_losses(LOGITS, 9 * TOKENS)),
        ("captions=.*wrong shape or dtype", lambda: caption_losses(LOGITS, TOKENS + 0.5)),
        ("captions=.*wrong shape", lambda: is_reference(TOKENS, CAPTIONS[:1])),
        (r"tokens\[0, 0\]=-1", lambda: is_reference(-TOKENS, CAPTIONS)),
        ("path=.*wrong shape", lambda: collapse(TOKENS[0], 3)),
        (r"path\[0, 0\]=-1", lambda: collapse(-TOKENS, 3)),
        ("max_length=0", lambda: collapse(TOKENS, 0)),
        ("alignment=.*wrong shape", lambda: reading_order(TOKENS[:, :3], ATTENTION)),
        (r"alignment\[0, 0, 0, 0\]=nan", lambda: reading_order(TOKENS, np.nan * ATTENTION)),
        (r"alignment\[0, 0, 0, 0\]=-0.3", lambda: reading_order(TOKENS, -ATTENTION)),
    ],
)
def test_an_argument_that_does_not_fit_is_named(message, call):
    with pytest.raises(ValueError, match=message):
        call()
