"""Architectures that hubs name with more heads, or none, than dlcore reads; and networks read from goldens' files."""

import json
import pathlib

import chex
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dlcore.pretrained import from_pretrained
from tests.models.parity import check_output, read_golden, weight_rule
from tests.pretrained.test_from_pretrained import HUB, channels_first, check_outputs, read_expected


def rewrite(source: pathlib.Path, folder: pathlib.Path, architecture: str, weights: dict[str, np.ndarray]) -> None:
    """Write a folder's configuration with another architecture, and other weights."""
    config = json.loads((source / "config.json").read_text()) | {"architectures": [architecture]}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: np.ascontiguousarray(value) for name, value in weights.items()}, folder / "model.safetensors")


@pytest.mark.slow
@pytest.mark.covers("PT-01")
def test_an_mae_with_its_decoder_as_facebook_publishes_it_is_its_encoder(tmp_path):
    source = HUB / "facebook--vit-mae-tiny"
    weights = {f"vit.{name}": value for name, value in load_file(source / "model.safetensors").items()}
    rewrite(
        source, tmp_path, "ViTMAEForPreTraining", weights | {"decoder.mask_token": np.zeros((1, 1, 16), np.float32)}
    )
    inputs, expected, _ = read_expected(source.name)
    check_outputs(from_pretrained(tmp_path)(**inputs), expected, 1e-4)


@pytest.mark.slow
@pytest.mark.covers("PT-01")
def test_a_bert_with_both_of_its_heads_and_old_names_fills_in_masked_tokens(tmp_path):
    golden, meta, weights = read_golden("hf_bert_mlm")
    config = {"architectures": ["BertForMaskedLM"], "layer_norm_eps": 1e-12, "hidden_act": "gelu", "type_vocab_size": 2}
    (tmp_path / "config.json").write_text(json.dumps(meta["kwargs"] | config))
    old = {
        name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): w for name, w in weights.items()
    }
    more = {"bert.pooler.dense.bias": np.zeros(32, np.float32), "cls.seq_relationship.bias": np.zeros(2, np.float32)}
    arrays = {name: np.array(value, np.float32) for name, value in (old | more).items()}
    save_file(arrays, tmp_path / "model.safetensors")
    net = from_pretrained(tmp_path)
    check_output(golden, meta, "logits", net(input_ids=weight_rule().det_input(meta["inputs"]["input_ids"]))["logits"])


POSES = {"id2label": dict.fromkeys("01234", "joint")}
CLIPS = {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "use_mean_pooling": True}


@pytest.mark.slow
@pytest.mark.covers("PT-01")
@pytest.mark.parametrize(
    ("file", "more", "names"),
    [
        ("hf_vitpose", POSES, {"heatmaps": "heatmaps"}),
        ("hf_videomae", CLIPS, {"last_hidden_state": "last_hidden_state"}),
        ("hf_vjepa2", {}, {"last_hidden_state": "last_hidden_state", "predictor_output": "predictor"}),
    ],
)
def test_a_network_of_a_golden_is_read_by_its_configuration(tmp_path, file, more, names):
    golden, meta, weights = read_golden(file)
    config = meta["kwargs"] | more | {"architectures": [meta["name"]]}
    if "backbone_config" in config:
        config["backbone_config"]["model_type"] = "vitpose_backbone"
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({name: np.array(value, np.float32) for name, value in weights.items()}, tmp_path / "model.safetensors")
    outputs = from_pretrained(tmp_path)(**{k: weight_rule().det_input(about) for k, about in meta["inputs"].items()})
    for ours, theirs in names.items():
        check_output(golden, meta, theirs, channels_first(outputs[ours]), least=1e-5)


@pytest.mark.slow
@pytest.mark.covers("PT-01")
def test_a_vit_without_a_head_gives_its_tokens_and_its_pooled_token_and_takes_a_head(tmp_path):
    golden, meta, weights = read_golden("hf_vit")
    fields = {"image_size": 32, "patch_size": 8, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "num_channels": 3}
    (tmp_path / "config.json").write_text(json.dumps(fields | meta["kwargs"] | {"architectures": ["ViTModel"]}))
    save_file({name: np.array(value, np.float32) for name, value in weights.items()}, tmp_path / "model.safetensors")
    inputs = {name: weight_rule().det_input(about) for name, about in meta["inputs"].items()}
    net = from_pretrained(tmp_path)
    outputs = net(**inputs)
    assert list(outputs) == ["last_hidden_state", "pooler_output"]
    for name, value in outputs.items():
        check_output(golden, meta, name, value)
    chex.assert_shape(from_pretrained(tmp_path, num_classes=7)(**inputs)["logits"], (2, 7))
