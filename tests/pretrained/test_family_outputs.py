"""Which parts of a network each family calls, and under which names of its library their outputs stand.

The networks are stand-ins that answer each method with one array; tests/pretrained/test_from_pretrained.py has
the networks themselves.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from flax import linen as nn

from dlcore.models.clip import SigLIP
from dlcore.models.siglip2 import SigLIP2
from dlcore.pretrained.families.resnet import backbone_of
from dlcore.pretrained.family import find_family

RNG = np.random.default_rng(0)
TOKEN, PATCHES, LOGITS, OTHER = (RNG.normal(size=size) for size in ((2, 3), (2, 4, 3), (2, 5), (2, 5)))


class Answers:
    """A network of which each method returns what is said here; `calls` has its arguments."""

    def __init__(self, num_classes=0, **answers):
        self.num_classes, self.answers, self.calls = num_classes, answers, {}

    def apply(self, variables, *arguments, method="call", **options):
        self.calls[method] = (*arguments, *options.items())
        return self.answers[method]


class Pair(SigLIP):
    """A SigLIP of fixed vectors."""

    @nn.nowrap
    def apply(self, variables, *arguments, method):
        return VECTORS[method]


VECTORS = {
    "encode_image": np.float32([[1, 2], [3, 4], [0, 1]]),
    "encode_text": np.float32([[1, 0], [2, -1]]),
    "scale": np.float32(10),
}


def outputs_of(architecture, model, variables=None, **inputs):
    return find_family({"architectures": [architecture]}).outputs(model, variables, inputs)


def assert_outputs(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("num_classes", [0, 5])
def test_a_vit_gives_its_token_before_its_patches_and_logits_where_it_has_classes(num_classes):
    model = Answers(num_classes, tokens=(TOKEN, PATCHES), call=LOGITS)
    found = outputs_of("ViTModel", model, {"params": {}}, pixel_values="images")
    states = {"last_hidden_state": np.float32(np.concatenate([TOKEN[:, None], PATCHES], 1))}
    assert_outputs(found, states | ({"logits": LOGITS} if num_classes else {}))
    assert set(model.calls.values()) == {("images",)}


def test_the_two_heads_of_a_deit_are_averaged():
    model = Answers(5, auxiliary=(LOGITS, {"distillation": OTHER}), call=TOKEN)
    found = outputs_of("DeiTForImageClassificationWithTeacher", model, pixel_values="images")
    mean = {"logits": (LOGITS + OTHER) / 2}
    assert_outputs(found, mean | {"cls_logits": LOGITS, "distillation_logits": OTHER})
    assert model.calls == {"auxiliary": ("images", ("train", False))}
    model.num_classes = 0
    found = outputs_of("DeiTForImageClassificationWithTeacher", model, pixel_values="images")
    assert_outputs(found, {"pooler_output": TOKEN})


def test_pairs_are_scored_by_scaled_products_and_those_of_siglip_plus_a_bias():
    """Images (1, 2), (3, 4), (0, 1) and texts (1, 0), (2, -1): products 1, 0; 3, 2; 0, -1, times 10, plus 7."""
    clip, inputs = Answers(**VECTORS), {"pixel_values": "images", "input_ids": "texts"}
    scores = np.array([[10, 0], [30, 20], [0, -10]])
    embeds = {"image_embeds": VECTORS["encode_image"], "text_embeds": VECTORS["encode_text"]}
    found = outputs_of("CLIPModel", clip, **inputs)
    assert_outputs(found, embeds | {"logits_per_image": scores, "logits_per_text": scores.T})
    assert clip.calls == {"encode_image": ("images",), "encode_text": ("texts",), "scale": ()}
    found = outputs_of("SiglipModel", Pair(9, 1), {"params": {"logit_bias": np.float32([7])}}, **inputs)
    assert_outputs(found, embeds | {"logits_per_image": scores + 7, "logits_per_text": scores.T + 7})
    for name, embed in (("pixel_values", "image_embeds"), ("input_ids", "text_embeds")):
        assert_outputs(outputs_of("CLIPModel", clip, **{name: None}), {embed: embeds[embed]})


def test_packed_images_want_their_masks_and_sizes():
    with pytest.raises(ValueError, match="pixel_attention_mask: missing beside pixel_values; allowed: pixel_values, "):
        outputs_of("Siglip2Model", SigLIP2(9, 1), pixel_values=None, spatial_shapes=None)


def test_the_tokens_behind_the_last_norm_are_caught_on_their_way_to_the_pool():
    model = Answers(call=(TOKEN, {"intermediates": {"norm": {"__call__": (PATCHES,)}}}))
    found = outputs_of("Aimv2VisionModel", model, pixel_values="images")
    assert_outputs(found, {"last_hidden_state": PATCHES, "pooler_output": TOKEN})
    images, (option, is_caught) = model.calls["call"]
    assert (images, option) == ("images", "capture_intermediates")
    caught = [
        is_caught(SimpleNamespace(path=path), method)
        for path, method in ((("norm",), "__call__"), (("norm",), "setup"), (("blocks_0", "norm"), "__call__"))
    ]
    assert caught == [True, False, False]
    assert_outputs(outputs_of("IJepaModel", model, pixel_values="images"), {"last_hidden_state": PATCHES})


def test_models_of_language_read_tokens_masks_and_segments():
    inputs = {"input_ids": "ids", "attention_mask": "mask", "token_type_ids": "segments"}
    model = Answers(call=LOGITS, features=PATCHES)
    assert_outputs(outputs_of("BertForMaskedLM", model, **inputs), {"logits": LOGITS})
    found = outputs_of("BertModel", model, **inputs)
    assert_outputs(found, {"last_hidden_state": PATCHES, "pooler_output": LOGITS})
    assert model.calls == dict.fromkeys(("call", "features"), ("ids", False, "mask", "segments"))
    outputs_of("BertModel", model, input_ids="ids")
    assert model.calls == dict.fromkeys(("call", "features"), ("ids", False, None, None))
    assert_outputs(outputs_of("GPT2LMHeadModel", model, input_ids="ids"), {"logits": LOGITS})
    assert model.calls["call"] == ("ids",)


def test_an_mae_reads_the_patches_of_least_noise():
    """Of five patches at a ratio of 0.5 two are read, int(5 * 0.5)."""
    model = Answers(encode=PATCHES)
    model.mask_ratio = 0.5
    noise = np.array([[0.3, 0.1, 0.9, 0.2, 0.7], [0.5, 0.4, 0.3, 0.2, 0.1]])
    found = outputs_of("ViTMAEModel", model, pixel_values="images", noise=noise)
    assert_outputs(found, {"last_hidden_state": PATCHES})
    images, visible = model.calls["encode"]
    assert images == "images"
    np.testing.assert_array_equal(visible, [[1, 3], [4, 3]])
    outputs_of("ViTMAEModel", model, pixel_values="images")
    assert model.calls["encode"] == ("images", None)


@pytest.mark.parametrize(
    ("architecture", "method", "answer", "expected"),
    [
        ("PvtV2Model", "features", {"stage3": TOKEN, "stage4": PATCHES}, {"last_hidden_state": PATCHES}),
        ("SegformerModel", "features", {"stage3": TOKEN, "stage4": PATCHES}, {"last_hidden_state": PATCHES}),
        ("MobileViTModel", "features", {"stage4": TOKEN, "last": PATCHES}, {"last_hidden_state": PATCHES}),
        ("VitDetModel", "features", {"block2": TOKEN, "block3": PATCHES}, {"last_hidden_state": PATCHES}),
        ("TimesformerModel", "tokens", PATCHES, {"last_hidden_state": PATCHES}),
        ("VideoMAEModel", "encode", PATCHES, {"last_hidden_state": PATCHES}),
        (
            "VJEPA2Model",
            "call",
            {"tokens": PATCHES, "prediction": TOKEN},
            {"last_hidden_state": PATCHES, "predictor_output": TOKEN},
        ),
    ],
)
def test_an_encoder_gives_its_last_map_or_its_tokens(architecture, method, answer, expected):
    model = Answers(**{method: answer})
    model.depth = 3
    name = "pixel_values_videos" if architecture == "VJEPA2Model" else "pixel_values"
    assert_outputs(outputs_of(architecture, model, **{name: "images"}), expected)
    assert model.calls == {method: ("images",)}


@pytest.mark.parametrize(("num_classes", "name"), [(0, "pooler_output"), (5, "logits")])
def test_a_dinov2_gives_its_tokens_and_what_its_head_sees_or_says(num_classes, name):
    model = Answers(num_classes, tokens=PATCHES, call=LOGITS)
    found = outputs_of("Dinov2Model", model, pixel_values="images")
    assert_outputs(found, {"last_hidden_state": PATCHES, name: LOGITS})


def test_a_backbone_of_timm_is_the_network_of_its_name_without_a_head():
    for config in ({"backbone": "resnet34"}, {"backbone_config": {"backbone": "resnet34"}, "backbone": "resnet18"}):
        found = backbone_of(config)
        assert (found.stages, found.num_classes) == ((3, 4, 6, 3), 0)
    with pytest.raises(ValueError, match="backbone='swin': no ResNet; allowed: resnet18, resnet34"):
        backbone_of({"backbone_config": {"model_type": "swin"}})
