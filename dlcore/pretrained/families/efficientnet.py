"""EfficientNet of transformers."""

import math
import re
from collections.abc import Mapping
from typing import Any

from dlcore.models.efficientnet import EfficientNet, StageSetting
from dlcore.models.mobilenet_v2 import round_channels
from dlcore.models.torch_weights import load_torch
from dlcore.pretrained.family import Family, check_config, classifier, map_encoder

__all__ = ["FAMILIES", "torchvision_names"]

FIXED = {"num_channels": 3, "depth_divisor": 8, "hidden_act": "swish", "pooling_type": "mean"}
WHERE = "dlcore's EfficientNet"

LAYERS = (
    ("expansion.expand_conv", "expansion.expand_bn"),
    ("depthwise_conv.depthwise_conv", "depthwise_conv.depthwise_norm"),
    ("squeeze_excite.reduce", "squeeze_excite.expand"),
    ("projection.project_conv", "projection.project_bn"),
)
"""The layers of a block, in the order of torchvision's names."""


def _efficientnet(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, FIXED, WHERE)
    width = config.get("width_coefficient", 2.0)
    outputs = config.get("out_channels", (16, 24, 40, 80, 112, 192, 320))
    inputs, strides = (32, *outputs[:-1]), config.get("strides", (1, 2, 2, 2, 1, 2, 1))
    check_config(config, {"in_channels": list(inputs), "hidden_dim": round_channels(1280 * width)}, WHERE)
    for channels, features, stride in zip(inputs, outputs, strides, strict=True):
        if stride == 1 and round_channels(channels * width) == round_channels(features * width):
            raise ValueError(f"out_channels={outputs}: {WHERE} adds a shortcut to a stage of stride 1; allowed: others")
    columns = (
        config.get("expand_ratios", (1, 6, 6, 6, 6, 6, 6)),
        config.get("kernel_sizes", (3, 3, 5, 3, 5, 5, 3)),
        strides,
        outputs,
        config.get("num_block_repeats", (1, 2, 2, 3, 3, 4, 1)),
    )
    ratio = config.get("squeeze_expansion_ratio", 0.25)
    return "efficientnet_b7", {
        "num_classes": len(config["id2label"]) if config["architectures"][0].endswith("Classification") else 0,
        "settings": tuple(StageSetting(*row, se_ratio=ratio) for row in zip(*columns, strict=True)),
        "width_mult": width,
        "depth_mult": config.get("depth_coefficient", 3.1),
        "last_channel": round_channels(1280 * width),
        "padding": "end",
        "symmetric_blocks": tuple(config.get("depthwise_padding", ())),
        "epsilon": config.get("batch_norm_eps", 1e-3),
        "momentum": config.get("batch_norm_momentum", 0.99),
        "dropout": config.get("dropout_rate", 0.5),
        "drop_path": config.get("drop_connect_rate", 0.2),
    }


def torchvision_names(model: EfficientNet) -> dict[str, str]:
    """List torchvision's names of transformers' layers, which count the blocks through all stages.

    Args:
      model: the network.

    Returns:
      {transformers' name of a layer: torchvision's}.
    """
    last = len(model.settings) + 1
    names = {
        "embeddings.convolution": "features.0.0",
        "embeddings.batchnorm": "features.0.1",
        "encoder.top_conv": f"features.{last}.0",
        "encoder.top_bn": f"features.{last}.1",
        "classifier": "classifier.1",
    }
    repeats = [math.ceil(setting.layers * model.depth_mult) for setting in model.settings]
    blocks = [f"features.{i + 1}.{j}.block" for i, blocks in enumerate(repeats) for j in range(blocks)]
    for k, block in enumerate(blocks):
        stage = model.settings[int(block.split(".")[1]) - 1]
        for i, layer in enumerate(LAYERS if stage.expansion != 1 else LAYERS[1:]):
            parts = ("fc1", "fc2") if layer[0].startswith("squeeze") else ("0", "1")
            names |= {
                f"encoder.blocks.{k}.{name}": f"{block}.{i}.{part}" for name, part in zip(layer, parts, strict=True)
            }
    return names


def _load(model: EfficientNet, config: Mapping[str, Any], arrays: Mapping[str, Any]) -> Any:
    """Read transformers' weights."""
    names, renamed = torchvision_names(model), {}
    for key, value in arrays.items():
        layer, _, entry = re.sub(r"^efficientnet\.", "", key).rpartition(".")
        renamed[f"{names.get(layer, layer)}.{entry}"] = value
    name, fields = _efficientnet(config)
    new_head = model.num_classes != fields["num_classes"]
    fields["num_classes"] = model.num_classes
    return load_torch(name, renamed, replace_head=new_head, **fields)


FAMILIES = (
    Family("transformers", ("EfficientNetForImageClassification",), _efficientnet, classifier, load=_load),
    Family("transformers", ("EfficientNetModel",), _efficientnet, map_encoder, load=_load),
)
