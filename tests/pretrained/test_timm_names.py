"""Networks of timm by their names: the goldens' weights as timm's folder give the goldens' outputs."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from dlcore.pretrained import from_pretrained
from dlcore.pretrained.family import find_family
from tests.models.parity import check_output, nhwc, read_golden, weight_rule

NAMES = [
    *("cait_xxs24_224", "fastvit_t8", "mixer_s16_224", "mobilenetv1_100", "mobilenetv4_conv_small", "nf_resnet50"),
    *("repvgg_a0", "resnetv2_50", "vit_small_patch16_rope_224", "legacy_xception", "xception41"),
]


@pytest.mark.slow
@pytest.mark.covers("PT-01")
@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_timm_is_loaded_by_its_architecture(name, tmp_path):
    golden, meta, weights = read_golden(f"timm_{name}")
    save_file({key: np.ascontiguousarray(value) for key, value in weights.items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": name, "num_classes": 1000}))
    x = nhwc(weight_rule().det_input(meta["inputs"]["x"]))
    net = from_pretrained(tmp_path)
    check_output(golden, meta, "logits", net(x=np.asarray(x))["logits"])


def test_arguments_that_are_unknown_are_refused():
    config = {"architecture": "repvgg_a0", "model_args": {"num_classes": 3, "act_layer": "gelu"}}
    with pytest.raises(ValueError, match=r"^model_args: act_layer not in dlcore's repvgg_a0; allowed: num_classes$"):
        find_family(config).model(config)
    assert find_family(config).model({**config, "model_args": {"num_classes": 3}}) == ("repvgg_a0", {"num_classes": 3})
