"""Facts of images by hand, sentences of tokens, and the panel of what each word looked at."""

import numpy as np
import pytest

from dlcore.data.words import Words, pad_sequences
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError
from dlcore.kits.vision_language import captioned_images

WORDS = Words(("a", "red", "ball"))
TOKENS = pad_sequences([WORDS.encode(text) for text in ("a ball", "a red ball")], 5)


def test_facts_of_images_and_of_clips_by_hand():
    images = np.zeros((2, 1, 2, 3), np.uint8)
    images[0, ..., 0], images[..., 1] = 255, 51
    facts = captioned_images.image_facts(images)
    assert facts["image_shape"] == [1, 2, 3]
    np.testing.assert_allclose(facts["mean"], [0.5, 0.2, 0], atol=1e-6)
    np.testing.assert_allclose(facts["std"][:1], [0.5], atol=1e-6)
    clips = captioned_images.image_facts(images.reshape(1, 2, 1, 2, 3))
    assert clips == facts


def test_flickr8k_without_its_folder_is_refused():
    with pytest.raises(FlagError, match="--data_dir: missing; allowed: the folder of captions_train"):
        captioned_images.flickr8k_splits(Flags({"data_dir": None}, {}), 96)


def test_sentences_are_written_and_shown_with_a_map_a_word():
    texts = captioned_images.decode_sentences(WORDS, TOKENS)
    assert texts == ["a ball", "a red ball"]
    images, maps = np.zeros((2, 8, 8, 3), np.uint8), np.full((2, 4, 2, 2), 0.25)
    panel = captioned_images.attention_panel(WORDS, images, TOKENS, maps, 1, "Bright: looked at.")
    assert panel.title == "Attention"
    assert panel.subtitle == "Bright: looked at."
    assert "a ball" in panel.html
    assert "a red ball" not in panel.html
