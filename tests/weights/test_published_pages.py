"""Two steps of fine-tuning of every folder as a hub serves it, by the page of its kind."""

from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from dlcore.experiment.resolve import resolve
from dlcore.pretrained import from_pretrained
from experiments import find_experiment
from tests.started_pages import start_page

HUB = Path(__file__).parents[1] / "goldens" / "hub"

CLASSIFIERS = (
    *("facebook--convnextv2-tiny", "facebook--deit-tiny", "facebook--dinov2-tiny"),
    *("facebook--dinov2-with-registers-tiny", "facebook--dinov3-convnext-tiny", "facebook--dinov3-vit-tiny"),
    *("google--vit-tiny", "microsoft--beit-tiny", "microsoft--resnet-tiny", "microsoft--swin-tiny"),
    *("microsoft--swinv2-tiny", "timm--convnextv2_atto.tiny", "timm--eva02_tiny_patch14_224.tiny"),
    *("timm--resnet18.tiny", "timm--vit_small_patch14_reg4_dinov2.tiny", "timm--vit_tiny_patch16_224.tiny"),
)
"""Classifiers and their encoders, which get a new head of ten digits."""

PAGES = {
    **dict.fromkeys(CLASSIFIERS, ("transfer.fine_tuning", "--model={folder}", "--parts=*")),
    "facebook--detr-tiny": ("detection.detr", "--model={folder}"),
    "facebook--vit-mae-tiny": ("self_supervised.mae", "--init_from={folder}", *("--dataset=folder", "--data_dir={d}")),
    "openai--clip-tiny": ("self_supervised.clip", "--init_from={folder}"),
    "google--siglip-tiny": ("self_supervised.clip", "--init_from={folder}", "--loss=sigmoid"),
    "stabilityai--sd-vae-tiny": (
        "generative.autoencoder_kl",
        *("--init_from={folder}", "--dataset=folder", "--data_dir={d}", "--image_size=32"),
    ),
    "google-bert--bert-tiny": ("sequence.text_classification", "--init_from={folder}", "--model=bert"),
    "openai-community--gpt2-tiny": ("sequence.text_classification", "--init_from={folder}", "--model=gpt2"),
}
"""{folder: (page, flags)}; texts have a tokenizer of the network's vocabulary, which these folders lack."""

MORE_PAGES = {
    "nvidia--segformer-tiny": ("segmentation.segformer", "--model={folder}", "--image_size=64,64"),
    "depth-anything--depth-anything-tiny": ("vision3d.depth_anything", "--model={folder}", "--image_size=28,28"),
}
"""The same of folders that no classifier, pair, text or autoencoder is."""

NO_PAGE = {
    "Qwen--qwen3-tiny": "language models of pages read characters, or are GPT-2 or BERT",
    "stabilityai--sd-unet-tiny": "a U-Net of latents and of words by CLIP; pages of diffusion have words or latents",
}
"""{folder: why no page trains its network}."""

ABSENT = dict.fromkeys(
    ("openai--clip-tiny", "google--siglip-tiny", "google-bert--bert-tiny", "nvidia--segformer-tiny"), 2
)
"""Arrays of a file that a page does not take: embeddings of the file's vocabulary, a pooler, and other classes."""


@pytest.fixture
def images(tmp_path):
    """A folder of images of two classes."""
    rng = np.random.default_rng(0)
    for i in range(24):
        path = tmp_path / ("even", "odd")[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    return tmp_path


def tokenizer_of(path: Path, size: int) -> Path:
    """Write a tokenizer.json of so many words."""
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: i for i, word in enumerate(("[UNK]", "a", "fine", "dull", "film"))}
    words |= {f"word{i}": i for i in range(len(words), size)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(path))
    return path


def flags_of_texts(folder: Path) -> list[str]:
    texts = folder / "texts.tsv"
    texts.write_text("good\ta fine film\nbad\ta dull film\n" * 9, encoding="utf-8")
    return [
        f"--tokenizer={tokenizer_of(folder / 'tokenizer.json', 50)}",
        *("--dataset=file", f"--data_dir={texts}", "--num_labels=4"),
    ]


def arrays_of(*trees) -> set[bytes]:
    """The content of arrays of more than one number."""
    arrays = [np.asarray(leaf) for leaf in jax.tree.leaves(trees)]
    return {array.tobytes() for array in arrays if array.size > 1}


@pytest.mark.weekly
@pytest.mark.covers("PT-07")
@pytest.mark.parametrize("name", [*PAGES, *MORE_PAGES])
def test_a_folder_is_fine_tuned_by_the_page_of_its_kind(name, images):
    page, *words = {**PAGES, **MORE_PAGES}[name]
    words = [word.format(folder=HUB / name, d=images) for word in words]
    if page == "sequence.text_classification":
        words += flags_of_texts(images)
    started = start_page(page, *words)
    after, metrics = started.steps(2)
    variables = from_pretrained(HUB / name).variables
    published = arrays_of({k: v for k, v in variables["params"].items() if k not in ("head", "head_dist")})
    absent = published - arrays_of(started.state.params)
    assert len(absent) == ABSENT.get(name, 0)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves((after.params, metrics)))
    moved = published & arrays_of(started.state.params) - arrays_of(after.params)
    assert len(moved) > len(published) / 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("facebook--vit-mae-tiny", {"mae.width": 32, "mae.depth": 2, "mae.decoder_depth": 1, "mae.mask_ratio": 0.75}),
        ("openai--clip-tiny", {"clip.vision_width": 32, "clip.embedding_size": 16, "image_size": 32}),
        ("facebook--detr-tiny", {"model": "resnet18", "model.stages": (1, 1), "model.widths": (8, 16)}),
        ("nvidia--segformer-tiny", {"model": "mit_b0", "model.widths": (8, 16, 24, 32), "segformer.features": 16}),
        ("facebook--detr-tiny", {"detr.stage": "layer2", "detr.decoder_layers": 2, "detr.pre_norm": False}),
        ("stabilityai--sd-vae-tiny", {"autoencoder.channels": (8, 16), "autoencoder.groups": 4}),
    ],
)
def test_published_weights_set_the_fields_of_the_network(name, expected):
    page, *words = {**PAGES, **MORE_PAGES}[name]
    words = [word.format(folder=HUB / name, d="D") for word in words]
    flags = resolve(find_experiment(page), ["--smoke", *words])
    assert {key: flags[key] for key in expected} == expected
    assert flags.init_from == str(HUB / name)


def test_the_command_line_has_precedence_over_published_fields():
    words = ["--smoke", f"--init_from={HUB / 'facebook--vit-mae-tiny'}", "--mae.depth=1"]
    assert resolve(find_experiment("self_supervised.mae"), words)["mae.depth"] == 1


@pytest.mark.slow
def test_weights_of_another_network_are_refused():
    words = (f"--init_from={HUB / 'google--vit-tiny'}", "--mae.width=32")
    with pytest.raises(ValueError, match=r"^init_from=.*google--vit-tiny': .*; allowed: weights of the same layers"):
        start_page("self_supervised.mae", *words)


def test_every_folder_of_these_kinds_has_a_page_or_a_reason():
    others = ("rtdetr", "yolos", "segformer", "mask2former", "sam-", "depth-anything", "timesformer", "transformer")
    folders = {folder.name for folder in HUB.iterdir() if not any(other in folder.name for other in others)}
    assert folders == PAGES.keys() | NO_PAGE.keys()
    assert len(folders) == 25
