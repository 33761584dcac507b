"""Folders as a hub serves them, from a golden's weights and its configuration."""

import json

import numpy as np
from safetensors.numpy import save_file

from dlcore.pretrained import from_pretrained
from tests.detection.detectors import Golden

__all__ = ["check_published", "nested"]

MODEL_TYPES = {"ResNetConfig": "resnet", "RTDetrResNetConfig": "rt_detr_resnet", "HGNetV2Config": "hgnet_v2"}
MODEL_TYPES |= {"SwinConfig": "swin", "DetrConfig": "detr"}


def nested(value, **more):
    """The golden's arguments as config.json has them: a class by its model_type, classes by id2label."""
    config = {key: nested(v) if isinstance(v, dict) else v for key, v in value.items() if key != "__class__"}
    if "__class__" in value:
        config["model_type"] = MODEL_TYPES[value["__class__"]]
    if "num_labels" in config:
        config["id2label"] = {str(i): str(i) for i in range(config["num_labels"])}
    return config | more


def check_published(name, folder, tolerance=1e-4, constants=None, **config):
    """The network of a folder with the golden's weights gives the golden's outputs; tied copies are left out.

    constants: entries of the file that the library computes.
    """
    golden = Golden(name)
    meta = golden.meta
    config = {"architectures": [meta["name"]], **nested(meta["kwargs"]), **config}
    (folder / "config.json").write_text(json.dumps(config))
    tied = set(meta["tied"])
    weights = {key: np.ascontiguousarray(value) for key, value in golden.weights.items() if key not in tied}
    weights |= constants or {}
    save_file(weights, folder / "model.safetensors")
    net = from_pretrained(folder)
    inputs = {key: _input(golden, key) for key in meta["inputs"]}
    outputs = net(**inputs)
    for key in meta["outputs"]:
        value = np.asarray(outputs[key])
        golden.check(np.moveaxis(value, -1, 1) if "mask" in key and value.ndim == 4 else value, key, tolerance)
    return net


def _input(golden, key):
    from tests.detection.detectors import RULE

    return RULE.det_input(golden.meta["inputs"][key])
