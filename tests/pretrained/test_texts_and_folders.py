"""Texts by the folder's tokenizer, and networks in a folder of a repository."""

import shutil

import chex
import numpy as np
import pytest

from dlcore.pretrained import from_pretrained
from tests.pretrained.hub_server import Hub, serve
from tests.pretrained.test_from_pretrained import HUB


def write_tokenizer(folder, start, end):
    """Three words between tokens of start and end."""
    tokenizers = pytest.importorskip("tokenizers")
    words = {"a": 3, "cat": 7, "dog": 8, "<unk>": 0, "<s>": start, "<e>": end}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A <e>", special_tokens=[("<s>", start), ("<e>", end)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.covers("PT-01")
def test_texts_of_a_clip_are_read_by_the_tokenizer_of_its_folder(tmp_path):
    folder = shutil.copytree(HUB / "openai--clip-tiny", tmp_path / "clip")
    net = from_pretrained(write_tokenizer(folder, 58, 59))
    tokens = np.array([[58, 3, 7, 59], [58, 8, 59, 0]])
    chex.assert_trees_all_close(net(text=["a cat", "dog"]), net(input_ids=tokens), atol=1e-6)
    chex.assert_trees_all_close(net(text="dog"), net(input_ids=tokens[1:, :3]), atol=1e-6)
    for text, message in (
        ("a " * 20, "text: 22 tokens with start and end; allowed: at most 12"),
        ([3], r"text=\[3\]: no texts; allowed: a str, or a list of them"),
    ):
        with pytest.raises(ValueError, match=message):
            net(text=text)


def test_texts_without_a_tokenizer_are_refused():
    with pytest.raises(FileNotFoundError, match=r"holds no vocab.json; allowed: a folder with tokenizer.json"):
        from_pretrained(HUB / "openai--clip-tiny")(text="a cat")
    with pytest.raises(ValueError, match="text: siglip_base_patch16_224 has no tokenizer here; allowed: input_ids"):
        from_pretrained(HUB / "google--siglip-tiny")(text="a cat")


def test_a_network_of_words_gets_the_mask_of_its_texts(tmp_path):
    """BERT does not see what fills the shorter text up: its first token has the vector that it has alone."""
    folder = shutil.copytree(HUB / "google-bert--bert-tiny", tmp_path / "bert")
    net = from_pretrained(write_tokenizer(folder, 1, 2))
    both, one = net(text=["a cat", "dog"]), net(text=["dog"])
    key = next(iter(one))
    np.testing.assert_allclose(both[key][1, 0], one[key][0, 0], atol=1e-5)


@pytest.mark.covers("PT-01")
def test_a_folder_of_a_repository_is_opened(tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub")
    shutil.copytree(HUB / "google--vit-tiny", tmp_path / "pipeline" / "part")
    image = np.load(HUB / "google--vit-tiny" / "expected.npz")["in.pixel_values"]
    expected = from_pretrained(HUB / "google--vit-tiny")(pixel_values=image)
    local = from_pretrained(tmp_path / "pipeline", subfolder="part")
    chex.assert_trees_all_close(local(pixel_values=image), expected)
    hub = Hub()
    hub.repositories = {"acme/pipeline": tmp_path / "pipeline"}
    with serve(hub) as address:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        url = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        options = {"cache_dir": tmp_path / "cache"}
        net = from_pretrained("acme/pipeline", subfolder="part", **options)
        with pytest.raises(FileNotFoundError, match=r"the folder vae of the repository lacks config.json"):
            from_pretrained("acme/pipeline", subfolder="vae", **options)
    chex.assert_trees_all_close(net(pixel_values=image), expected)
    with pytest.raises(FileNotFoundError, match=r"pipeline/vae': holds no config.json"):
        from_pretrained(tmp_path / "pipeline", subfolder="vae")
