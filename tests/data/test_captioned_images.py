"""Facts of images by hand, sentences of tokens, and the panel of what each word looked at."""

from types import SimpleNamespace

import numpy as np
import pytest

from dlcore.data import captioned_images
from dlcore.data.words import Words, pad_sequences
from dlcore.evaluators import image_text
from dlcore.experiment.flags import Flags
from dlcore.report import vision_language
from dlcore.setting import FlagError

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
    panel = vision_language.attention_panel(WORDS, images, TOKENS, maps, 1, "Bright: looked at.")
    assert panel.title == "Attention"
    assert panel.subtitle == "Bright: looked at."
    assert "a ball" in panel.html
    assert "a red ball" not in panel.html


def test_shapes_are_drawn_by_split_and_not_by_the_seed_of_the_run(monkeypatch):
    asked = []
    monkeypatch.setattr(captioned_images, "captions", lambda n, seed, **words: asked.append((n, seed, words)) or n)
    assert captioned_images.captioned_shapes(Flags({"image_size": None, "grid": 2, "seed": 7}), (8, 4, 6)) == [8, 4, 6]
    assert asked == [(n, seed, {"size": 32, "grid": 2}) for seed, n in enumerate((8, 4, 6))]
    captioned_images.captioned_shapes(Flags({"image_size": 48, "grid": 3}), (1,))
    assert asked[-1] == (1, 0, {"size": 48, "grid": 3})


def test_words_of_flickr8k_are_those_that_its_training_captions_repeat(monkeypatch):
    splits = {"train": SimpleNamespace(texts=(("a dog", "a cat"), ("a dog",)))}
    asked = []
    monkeypatch.setattr(captioned_images, "flickr8k", lambda *args: asked.append(args) or splits)
    flags = {"data_dir": "d", "image_size": None, "min_count": 2}
    found, words = captioned_images.flickr8k_splits(Flags(flags), 96)
    assert found is splits
    assert [words.decode(words.encode(text)).split()[-1] for text in ("a dog", "a")] == ["dog", "a"]
    assert "cat" not in words.decode(words.encode("a cat"))
    captioned_images.flickr8k_splits(Flags({**flags, "image_size": 64}), 96)
    assert asked == [("d", 96), ("d", 64)]


def test_sentences_are_measured_against_their_references(monkeypatch):
    monkeypatch.setattr("dlcore.evaluators.text.text_evaluator", lambda *args: args)
    texts, references, source = image_text.sentence_evaluator(WORDS, "references", "source")
    assert (references, source) == ("references", "source")
    assert texts({"tokens": TOKENS}, {}) == ["a ball", "a red ball"]
