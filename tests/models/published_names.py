"""Write goldens/published_names.json.gz: entries and shapes of the state dicts of torchvision and timm.

python tests/models/published_names.py          (needs torch, torchvision and timm; no weights are made or loaded)
"""

import gzip
import json
from pathlib import Path

PATH = Path(__file__).parents[1] / "goldens" / "published_names.json.gz"
TIMM = [
    "resnetv2_50",
    "resnetv2_101",
    "resnetv2_152",
    "seresnet18",
    "seresnet34",
    "seresnet50",
    "seresnet101",
    "seresnet152",
    "seresnext50_32x4d",
    "legacy_xception",
    "xception41",
    "xception65",
    "mobilenetv1_100",
    "mobilenetv1_125",
    "deit_tiny_patch16_224",
    "deit_small_patch16_224",
    "deit_base_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "deit_small_distilled_patch16_224",
    "deit_base_distilled_patch16_224",
    "mixer_s16_224",
    "mixer_s32_224",
    "mixer_b16_224",
    "mixer_b32_224",
    "nf_resnet50",
]


def published():
    """{model: {"source", "parameters", "entries": [[name, shape], ...]}}."""
    import timm
    import torch
    import torchvision

    builders = {}
    for name in torchvision.models.list_models(torchvision.models):
        more = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        builders[name] = ("torchvision", lambda name=name, more=more: torchvision.models.get_model(name, **more))
    builders |= {name: ("timm", lambda name=name: timm.create_model(name)) for name in TIMM}
    found = {}
    for name, (source, build) in builders.items():
        try:
            with torch.device("meta"):
                model = build()
        except NotImplementedError:  # a schedule of drop rates is read while the model is built
            model = build()
        found[name] = {
            "source": source,
            "parameters": sum(p.numel() for p in model.parameters()),
            "entries": [[key, list(value.shape)] for key, value in model.state_dict().items()],
        }
    return found


if __name__ == "__main__":
    text = json.dumps(published(), separators=(",", ":"), sort_keys=True)
    PATH.write_bytes(gzip.compress(text.encode(), mtime=0))
