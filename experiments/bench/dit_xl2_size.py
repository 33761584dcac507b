"""A classifier with the size of DiT-XL/2's transformer, for plans of memory and time.

python -m experiments.bench.dit_xl2_size --mode=plan --topology=v5e:4x4 --meshes=data:16

A stand-in for DiT-XL/2 (Peebles & Xie 2022, arXiv:2212.09748) on latents of 32 x 32 x 4: 28 blocks of width 1152 with
16 heads over 256 tokens. It has no adaptive layer norms, which hold a third of DiT's 675 million parameters, and hardly
any of its FLOPs.
"""

import dataclasses
from typing import Any

import numpy as np

from dlcore.main import main
from experiments.classification import supervised


@dataclasses.dataclass(frozen=True)
class Latents(supervised.SupervisedClassification):
    """Latents of ImageNet, of which the shapes are known without data."""

    def planned(self, flags: Any) -> tuple[dict, Any]:
        """(the facts that `build` reads, a batch of one latent)."""
        spec = {"num_classes": 1000, "image_shape": [32, 32, 4], "mean": [0.0] * 4, "std": [1.0] * 4}
        zero = np.zeros(1, np.int32)
        batch = {"image": np.zeros((1, 32, 32, 4), np.float32), "label": zero, "index": zero}
        return {**spec, "dataset": "latents", "train_size": 1_281_167}, batch


experiment = dataclasses.replace(
    supervised.experiment,
    file=__file__,
    doc=__doc__,
    model="vit_b_16",
    task=Latents(),
    defaults={
        "batch_size": 256,
        "optimizer": "adamw",
        "learning_rate": 1e-4,
        "schedule": "constant",
        "warmup": 0.0,
        "weight_decay": 0.0,
        "ema": 0.9999,
        "augment": "none",
        "model.image_size": 32,
        "model.patch_size": 2,
        "model.width": 1152,
        "model.depth": 28,
        "model.num_heads": 16,
        "model.mlp_features": 4608,
        "model.pool": "mean",
    },
    smoke={},
)


if __name__ == "__main__":
    main(experiment)
