"""A classifier with the size of DiT-XL/2's transformer, for plans of memory and time.

python -m experiments.bench.dit_xl2_size --mode=plan --topology=v5e:4x4 --meshes=data:16

A stand-in for DiT-XL/2 (Peebles & Xie 2022, arXiv:2212.09748) on latents of 32 x 32 x 4: 28 blocks of width 1152 with
16 heads over 256 tokens. It has no adaptive layer norms, which hold a third of DiT's 675 million parameters, and hardly
any of its FLOPs.
"""

import dataclasses
from typing import Any

import numpy as np

from dlcore.classification import supervised
from dlcore.data.images import Augmentation, Images, Resizing
from dlcore.evaluators.accuracy import Accuracy, log_classes
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.optim import AveragedAdamW
from dlcore.weights.start import ClassifierWeights


@dataclasses.dataclass(frozen=True)
class Latents(Images):
    """Latents of ImageNet, of which the shapes are known without data."""

    def planned(self) -> tuple[dict, Any]:
        """(the facts of the data, a batch of one latent)."""
        spec = {"num_classes": 1000, "image_shape": [32, 32, 4], "mean": [0.0] * 4, "std": [1.0] * 4}
        zero = np.zeros(1, np.int32)
        batch = {"image": np.zeros((1, 32, 32, 4), np.float32), "label": zero, "index": zero}
        names = [str(k) for k in range(1000)]
        return {**spec, "class_names": names, "dataset": "latents", "train_size": 1_281_167}, batch


SIZE = {"image_size": 32, "patch_size": 2, "width": 1152, "depth": 28, "num_heads": 16, "mlp_features": 4608}

experiment = Experiment(
    __file__,
    __doc__,
    technique=supervised.learner,
    data=Latents(resizing=Resizing(), augmentation=Augmentation("none")),
    network=Zoo("vit_b_16", {**SIZE, "pool": "mean"}),
    optimizer=AveragedAdamW(learning_rate=1e-4, schedule="constant", warmup=0.0, weight_decay=0.0, ema=0.9999),
    length=Epochs(10, batch_size=256),
    measures=[Accuracy()],
    start=ClassifierWeights(),
    sanity=Sanity(expected_loss=log_classes),
)

if __name__ == "__main__":
    main(experiment)
