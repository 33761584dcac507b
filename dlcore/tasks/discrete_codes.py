"""CodeGrids: images that an autoencoder encodes as one grid of codes, for the autoencoder and for a prior of its codes.

experiment = Experiment(__file__, __doc__, vq_vae.learner, task=CodeGrids(), optimizer=AdamW(learning_rate=1e-3))
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
from flax import linen as nn

from dlcore.data.augment import to_float
from dlcore.data.source import Source
from dlcore.experiment.experiment import Setup
from dlcore.experiment.splits import Splits
from dlcore.generative.vq_model import VQModel
from dlcore.generative.vq_vae import VQVAE
from dlcore.tasks.latent_space import LatentSpace

__all__ = ["SMOKE", "CodeGrids", "with_mean_image"]

SMOKE = {"steps": 4, "batch_size": 8, "num_codes": 8, "vqvae.width": 8, "eval_every": 4}
"""Settings of --smoke."""


@dataclasses.dataclass(frozen=True)
class CodeGrids(LatentSpace):
    """Images, and the autoencoder that encodes them as one grid of codes.

    Args:
      architecture: the paper's convolutions, or VQGAN's residual blocks with attention
    """

    architecture: Literal["vqvae", "vqmodel"] = "vqvae"

    modules: ClassVar[dict[str, Callable]] = {"vqvae": VQVAE, "vqmodel": VQModel}
    defaults: ClassVar[dict[str, Any]] = {
        "steps": 1500,
        "batch_size": 64,
        "eval_every": 500,
        "select": "last",
        "num_codes": 64,
        "vqvae.width": 32,
        "vqvae.embedding_dim": 16,
        "vqvae.downsamplings": 1,
        "vqvae.num_res_blocks": 1,
    }

    def network(self, setup: Setup) -> nn.Module:
        """Build the autoencoder that `--architecture` names, for images of the spec's shape."""
        name = setup.flags.architecture
        module = CodeGrids.modules[name]
        return module(tuple(setup.spec["image_shape"]), dtype=setup.dtype, **setup.flags.group(name))


def with_mean_image(splits: Splits) -> Splits:
    """Note the error of the mean image, and show test images in the report."""
    train, test = (np.asarray(to_float(split.arrays["image"][:10_000])) for split in (splits.train, splits.test))
    error = float(np.square(test - train.mean(0)).mean())
    message = f"mse of the mean image on the test split: {error:.4f}"
    return splits._replace(shown=Source({"image": test[:64]}), notes=(*splits.notes, message))
