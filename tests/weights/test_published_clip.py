"""A published CLIP as a measure: photographs and texts as its folder prepares them, and what is refused."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import chex
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from dlcore.data.captions import caption_words
from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.evaluators.object_correctness import ObjectCorrectness
from dlcore.pretrained import from_pretrained
from dlcore.weights import published_clip

HUB = Path(__file__).parents[1] / "goldens" / "hub"
WORDS = {"[UNK]": 0, "red": 7, "circle": 9, "<start>": 58, "<end>": 59}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("hub") / "clip"
    shutil.copytree(HUB / "openai--clip-tiny", path)
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [(name, WORDS[name]) for name in ("<start>", "<end>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    tokenizer.save(str(path / "tokenizer.json"))
    return path


@pytest.mark.slow
@pytest.mark.covers("ME-16")
def test_images_and_texts_are_encoded_as_the_folder_says(folder):
    clip, network = published_clip.open_clip(folder), from_pretrained(folder)
    gray = np.linspace(0, 1, 2 * 32 * 32, dtype=np.float32).reshape(2, 32, 32, 1)
    vectors = clip.encode_images(gray)
    chex.assert_shape(vectors, (2, 16))
    photographs = np.repeat(np.round(255 * gray).astype(np.uint8), 3, -1)
    np.testing.assert_allclose(vectors, network(photographs)["image_embeds"], atol=1e-6)
    texts = clip.encode_texts(["red circle", "circle"])
    tokens = np.zeros((2, 12), np.int32)
    tokens[0, :4], tokens[1, :3] = (58, 7, 9, 59), (58, 9, 59)
    np.testing.assert_allclose(texts, network(input_ids=tokens)["text_embeds"], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(texts, axis=-1), 1, rtol=1e-5)
    with pytest.raises(ValueError, match=r"prompt='red red .*': 13 tokens with start and end; allowed: at most 12"):
        clip.encode_texts(["red " * 11])


@pytest.mark.slow
def test_another_network_and_a_folder_without_a_tokenizer_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match=r"clip=.*siglip-tiny': .* is no CLIP; allowed: such as clip-vit-base-patch32"):
        published_clip.open_clip(HUB / "google--siglip-tiny")
    with pytest.raises(ValueError, match=r"clip=.*vit-tiny': .* is no CLIP"):
        published_clip.open_clip(HUB / "google--vit-tiny")
    shutil.copytree(HUB / "openai--clip-tiny", tmp_path / "clip")
    with pytest.raises(FileNotFoundError, match=r"holds no vocab\.json; allowed: a folder with tokenizer\.json"):
        published_clip.open_clip(tmp_path / "clip")


def test_the_origin_only_measures(folder):
    weights = published_clip.origin(SimpleNamespace(clip=str(folder)))
    assert (weights.argument, weights.model, weights.initializes) == ("clip", "clip_vit_b_32", False)
    assert published_clip.origin(SimpleNamespace(clip=None)) is None


def test_a_task_with_a_clip_scores_the_samples_by_the_words_of_their_prompts(monkeypatch):
    words, encoded = caption_words(), []

    def encode_texts(texts):
        encoded.append(texts)
        return np.eye(2)[: len(texts)]

    clip = published_clip.PublishedClip(lambda images: images.reshape(len(images), -1), encode_texts)
    monkeypatch.setattr(published_clip, "open_clip", lambda folder: clip)
    tokens = np.stack([np.pad(words.encode(text), (1, 2)) for text in ("a red circle", "a blue square")])
    prompts = Source({"tokens": tokens}, 2)
    facts = Facts(vocabulary=words.to_dict(), grid=2)
    run = SimpleNamespace(facts=facts, flags=SimpleNamespace(clip="folder"))
    splits = Splits(None, None, prompts, facts.spec())
    _, score = ObjectCorrectness(5).evaluators(run, splits, "test")
    assert encoded == [["a red circle", "a blue square"]]
    assert score.names[0] == "clip_score"
    acc = score.add(None, {"sample": np.eye(2).reshape(2, 1, 2, 1)}, prompts[:])
    assert score.finish(acc)["clip_score"] == pytest.approx(100)
    assert ObjectCorrectness(5).evaluators(run, splits, "valid") == []
    assert len(encoded) == 3  # a prompt that is too long is an error before training
    run.flags.clip = None
    assert len(ObjectCorrectness(5).evaluators(run, splits, "test")) == 1


def test_gray_images_get_three_channels_and_texts_their_tokens(monkeypatch):
    """Brightness 0.5 is 127.5 of 255, to the even 128; what is above 1 is cut off."""
    calls = []

    class Network:
        name, family = "clip", SimpleNamespace(kind="pairs")
        model = SimpleNamespace(window=6, vocab_size=9)

        def __call__(self, *images, **inputs):
            calls.append((images, inputs))
            return {"image_embeds": "image vectors", "text_embeds": "text vectors"}

    monkeypatch.setattr(published_clip, "from_pretrained", lambda folder: Network())
    monkeypatch.setattr(published_clip, "open_tokenizer", lambda folder: folder)
    monkeypatch.setattr(published_clip, "word_tokens", lambda *rest: rest)
    clip = published_clip.open_clip("some/clip")
    assert clip.encode_images(np.float32([[[[0.5], [1.5]]]])) == "image vectors"
    assert calls[0][0][0].tolist() == [[[[128] * 3, [255] * 3]]]
    assert calls[0][0][0].dtype == np.uint8
    assert clip.encode_texts(["a cat"]) == "text vectors"
    assert calls[1][1] == {"input_ids": (Path("some/clip"), ["a cat"], 6, 9, "prompt")}
