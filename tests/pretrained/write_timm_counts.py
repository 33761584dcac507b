"""Write goldens/timm_counts.json: parameters, image side and classes of each architecture of timm that has weights.

python tests/pretrained/write_timm_counts.py          (needs torch and timm; no weights are made or loaded)
"""

import json
from pathlib import Path

import timm
import torch

PATH = Path(__file__).parents[1] / "goldens" / "timm_counts.json"


def count(name):
    """(parameters, side of the image, classes)."""
    with torch.device("meta"):
        network = timm.create_model(name)
    settings = network.pretrained_cfg
    return sum(p.numel() for p in network.parameters()), settings["input_size"][-1], network.num_classes


def main():
    counts = {}
    for name in sorted({name.split(".")[0] for name in timm.list_models(pretrained=True)}):
        try:
            counts[name] = count(name)
        except Exception as error:  # a network whose initialization reads values cannot be made without memory
            print(name, error)
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(value)}" for name, value in counts.items())
    PATH.write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
