"""`create_model` and `load_torch` know every network with published weights, of every kind."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.experiment.flags import Flags
from dlcore.models import clip, create_model, list_models, load_torch, torch_weights
from dlcore.models.normalization import IMAGENET, SYMMETRIC, normalization
from dlcore.models.registry import FILES, input_shape, kind_of
from dlcore.models.stored_counts import all_stored_models
from dlcore.weights.read import save_weights
from dlcore.weights.start import _load, open_modules
from tests.models.parity import GOLDENS, read_golden
from tests.models.test_clip import FIELDS
from tests.models.tracing import layers_traced_once

KINDS = ("pairs", "encoder", "video", "detection", "segmentation", "depth", "generative", "chat")
PUBLISHED = {
    "clip_vit_b_32": 151_277_313,
    "clip_vit_b_16": 149_620_737,
    "clip_vit_l_14": 427_616_513,
    "clip_resnet50": 102_007_137,
    "r3d_18": 33_371_472,
    "mc3_18": 11_695_440,
    "r2plus1d_18": 31_505_325,
    "mvit_v2_s": 34_537_744,
    "mvit_v1_b": 36_610_672,
    "siglip_so400m_patch14_384": 877_960_498,
    "stable_diffusion_v1_unet": 859_520_964,
    "stable_diffusion_v1_vae": 83_653_863,
}
"""Parameters as transformers, diffusers, OpenCLIP and torchvision count them."""


def test_every_kind_is_listed_and_built():
    assert set(FILES) == {"image", "tokens", *KINDS}
    for name in (
        "clip_vit_b_32",
        "clip_resnet50",
        "dinov2_base",
        "r3d_18",
        "mae_vit_b_16",
        "detr_resnet50",
        "fcn_resnet50",
    ):
        assert kind_of(name) in KINDS
        assert name in list_models(kind=kind_of(name))
        assert name not in list_models()
        create_model(name)
    assert create_model("fcos_resnet50_fpn", num_classes=3).num_classes == 3
    with pytest.raises(ValueError, match=r"classes=3: not a field \(did you mean num_classes\?\); allowed: backbone,"):
        create_model("detr_resnet50", classes=3)
    with pytest.raises(ValueError, match="name='fcn_resnet50': it is a network of segmentation; allowed: models of im"):
        input_shape("fcn_resnet50")
    with pytest.raises(ValueError, match=r"name='detr_resnet51': unknown \(did you mean detr_resnet50"):
        create_model("detr_resnet51")


def test_stored_counts_are_the_published_ones():
    stored = {name: row["parameters"] for rows in all_stored_models().values() for name, row in rows.items()}
    assert {name: stored[name] for name in PUBLISHED} == PUBLISHED


def test_images_are_normalized_as_published():
    assert normalization("siglip_base_patch16_224") == SYMMETRIC
    assert normalization("retinanet_resnet50_fpn") == normalization("dinov2_base") == IMAGENET
    assert normalization("clip_vit_b_32").mean == normalization("openclip_vit_h_14").mean == (
        0.48145466, 0.4578275, 0.40821073,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("names", "mean", "std"),
    [
        ("resnet50 dinov2_base", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("mixer_s16_224 vit_gpt2 siglip_base_patch16_224 stable_diffusion_v1_vae", (0.5,) * 3, (0.5,) * 3),
        ("aimv2_large_patch14_224", (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
        ("ssd300_vgg16", (0.48235, 0.45882, 0.40784), (0.00392156862745098,) * 3),
        ("s3d r3d_18", (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)),
        ("mvit_v2_s", (0.45,) * 3, (0.225,) * 3),
        ("mobilevit_s", (0.0,) * 3, (1.0,) * 3),
    ],
)
def test_means_and_deviations_are_those_that_the_projects_document(names, mean, std):
    for name in names.split():
        assert normalization(name) == (mean, std), name


def test_a_googlenet_that_transforms_its_input_takes_imagenets_normalization():
    assert normalization("googlenet") == SYMMETRIC
    assert normalization("googlenet", {"transform_input": True}) == IMAGENET


SMALL_VIT = {"num_classes": 0, "frames": 2, "image_size": 4, "width": 8, "num_heads": 2, "mlp_features": 12}
CLIPS = {
    "s3d": ("tvvid_s3d", {"width_mult": 0.02}, "(?!)", "S3D"),
    "mvit_v2_s": (
        "tvvid_mvit_v2_s",
        {"stages": (1, 1), "frames": 4, "image_size": 32, "width": 8},
        r"^blocks\.([2-9]|1\d)\.",
        "MViT of version 2",
    ),
    "swin3d_t": (
        "tv_swin_t",
        {"stages": (2, 1), "width": 8, "num_heads": (1, 2)},
        r"^features\.(2\.1|[3-6])\.",
        "Swin3D",
    ),
    "vjepa2_vitl_fpc64_256": (
        "hf_vjepa2",
        {"image_size": 4, "frames": 4, "patch_size": 2, "depth": 2, "width": 24, "num_heads": 2, "mlp_features": 12}
        | {"predictor_depth": 1, "predictor_width": 12, "predictor_heads": 1, "predictor_features": 8},
        "(?!)",
        "VJEPA2",
    ),
    "timesformer_base": ("hf_timesformer", SMALL_VIT | {"patch_size": 2, "depth": 2}, "(?!)", "TimeSformer"),
    "vivit_b_16x2": ("hf_vivit", SMALL_VIT | {"tubelet": (2, 2, 2), "depth": 2, "pooler": True}, "(?!)", "ViViT"),
}
"""{network: (golden whose names the file has, fields of a small one, pattern of names that it lacks, what it is)}."""
IN_A_CLIP = (
    (r"^features\.0\.0\.", "patch_embed.proj."),
    (r"^features\.0\.2\.", "patch_embed.norm."),
    (r"^features\.(\d)\.", lambda match: f"features.{int(match[1]) - 1}."),
)
"""From torchvision's names of a Swin to those of a Video Swin, whose patches are embedded by a module of their own."""


@pytest.mark.slow(only=["s3d"])
@pytest.mark.parametrize("name", CLIPS)
def test_a_network_of_clips_finds_all_names_of_its_project(name):
    """Arrays of one number have wrong shapes; none is missing and none left over."""
    file, fields, pattern, what = CLIPS[name]
    about = json.loads(str(np.load(GOLDENS / f"{file}.npz")["meta"]))
    entries = {}
    for key, shape in about["state_dict"]:
        for old, new in IN_A_CLIP if name == "swin3d_t" else ():
            key, count = re.subn(old, new, key)
            if count:
                break
        entries[{"vjepa2_vitl_fpc64_256": "vjepa2."}.get(name, "") + key] = np.zeros((1,) * len(shape), np.float32)
    entries = {key: value for key, value in entries.items() if not re.search(pattern, key)}
    message = rf"^state_dict: it does not fit {what}; \d+ of a wrong shape: "
    with layers_traced_once(), pytest.raises(ValueError, match=message):
        load_torch(name, entries, **fields)


def test_the_table_of_files_names_models():
    """Each name or pattern of docs/models.md is of its kind."""
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    table = text[text.index("## Published files") :].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in table.splitlines() if line.startswith("| ")]
    kinds = {kind for kind, _ in rows} - {"kind", "---"}
    assert kinds == set(FILES)
    stored = all_stored_models()
    for kind, cell in rows:
        for pattern in re.findall(r"`([\w*]+)`", cell) if kind in FILES else ():
            found = [name for name in stored[kind] if re.fullmatch(pattern.replace("*", ".*"), name)]
            assert found, (kind, pattern)


@pytest.mark.slow
@pytest.mark.parametrize("front", ["", "module."])
def test_load_torch_gives_what_the_family_gives(front):
    _, _, weights = read_golden("hf_clip")
    fields = FIELDS | {"embedding_size": 16}
    wrapped = {front + key: value for key, value in weights.items()}
    got = load_torch("clip_vit_b_32", wrapped, **fields)
    want = clip.from_torch_names(create_model("clip_vit_b_32", **fields), weights)
    jax.tree.map(np.testing.assert_array_equal, got, want)
    with pytest.raises(ValueError, match="replace_head=True: clip_vit_b_32 is no classifier"):
        load_torch("clip_vit_b_32", weights, replace_head=True)
    assert torch_weights.count_classes("clip_vit_b_32", weights) is None


@pytest.mark.slow
def test_a_page_starts_from_a_published_detector(tmp_path):
    """A converted detector gives its modules, and its backbone's name; its classes were not recorded."""
    variables = {"params": {"backbone": {"conv1": {"kernel": jnp.ones((1, 1, 2, 2))}}, "fpn": {"p6": jnp.zeros(2)}}}
    save_weights(tmp_path / "detector", variables, {"model": "retinanet_resnet50_fpn"})
    backbone, loaded, classes = _load(str(tmp_path / "detector"))
    assert (backbone, classes) == ("resnet50", None)
    flags = Flags({"init_from": str(tmp_path / "detector"), "model": "resnet50"})
    assert open_modules(flags).mean == IMAGENET.mean
    with pytest.raises(ValueError, match="its backbone is resnet50; allowed: resnet18, as --model here"):
        open_modules(Flags({"init_from": str(tmp_path / "detector"), "model": "resnet18"}))
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)
    save_weights(tmp_path / "segmenter", variables, {"model": "deeplabv3_mobilenet_v3_large"})
    assert _load(str(tmp_path / "segmenter"))[0] == "mobilenet_v3_large"


@pytest.mark.slow
def test_a_detector_comes_through_the_door():
    """DETR of the golden, under the published names, by fields of the published model."""
    from tests.detection.test_published_names import TINY_DETR as TINY
    from tests.detection.test_published_names import Golden, as_published

    fields = {name: getattr(TINY, name) for name in ("backbone", "num_classes", "stage", "num_queries", "features")}
    fields |= {name: getattr(TINY, name) for name in ("num_heads", "hidden_features", "encoder_layers")}
    weights = Golden("hf_detr").weights
    got = load_torch("detr_resnet50", as_published(weights), **fields, decoder_layers=2)
    key = weights["model.decoder.layers.1.encoder_attn.k_proj.weight"]
    np.testing.assert_array_equal(got["params"]["decoder_1"]["cross_attn"]["key"]["kernel"], key.T)
    stem = weights["model.backbone.model.embedder.embedder.convolution.weight"]
    np.testing.assert_array_equal(got["params"]["backbone"]["conv1"]["kernel"], stem.transpose(2, 3, 1, 0))
