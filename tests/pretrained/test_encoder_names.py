"""Encoders of transformers by their configurations: the goldens' weights as a folder give the goldens' outputs."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from dlcore.pretrained import from_pretrained
from dlcore.pretrained.family import find_family
from tests.models.parity import check_output, nchw, nhwc, read_golden, weight_rule

FILES = ["hf_pvt_v2", "hf_mobilevit", "hf_ijepa", "hf_aimv2"]


def config_of(meta, **fields):
    return {"architectures": [meta["name"]], "model_type": meta["config_class"], **meta["kwargs"], **fields}


@pytest.mark.slow
@pytest.mark.covers("PT-01")
@pytest.mark.parametrize("file", FILES)
def test_a_folder_gives_what_transformers_gives(file, tmp_path):
    golden, meta, weights = read_golden(file)
    save_file({key: np.ascontiguousarray(value) for key, value in weights.items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config_of(meta)))
    x = np.asarray(nhwc(weight_rule().det_input(meta["inputs"]["pixel_values"])))
    for name, value in from_pretrained(tmp_path)(pixel_values=x).items():
        check_output(golden, meta, name, nchw(value))


@pytest.mark.covers("PT-01")
@pytest.mark.parametrize(
    ("file", "field", "message"),
    [
        ("hf_pvt_v2", {"strides": [2, 2, 2, 2]}, r"^strides=\[2, 2, 2, 2\]: not in dlcore's network; allowed: \[4, 2"),
        ("hf_aimv2", {"qkv_bias": True}, r"^qkv_bias=True: not in dlcore's AIMv2; allowed: False$"),
    ],
)
def test_fields_that_are_not_here_are_refused(file, field, message):
    config = config_of(read_golden(file, keep=lambda key: False)[1], **field)
    with pytest.raises(ValueError, match=message):
        find_family(config).model(config)


def test_hiera_s_classifier_has_the_classes_of_its_configuration():
    meta = read_golden("hf_hiera", keep=lambda key: False)[1]
    labels = {"id2label": {"0": "cat", "1": "dog"}, "architectures": ["HieraForImageClassification"]}
    config = config_of(meta, **labels)
    name, fields = find_family(config).model(config)
    assert (name, fields["num_classes"], fields["stages"], fields["unit"]) == ("hiera_tiny_224", 2, (1, 1, 2, 1), 8)
