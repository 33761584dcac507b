"""MAE (masked autoencoder): learn features by reconstructing masked patches.

python -m experiments.self_supervised.mae                   (fine-tuned with 117 labels 94.8 %, untrained 88.4 %)
python -m experiments.self_supervised.mae --dataset=fashion_mnist --data_dir=D --steps=3000 \\
    --batch_size=256 --fine_tune=500,5000 --eval_every=1500   (with 500 labels 76.8 %, untrained 70.4 %)
python -m experiments.self_supervised.mae --dataset=cifar10 --data_dir=D --mae.patch_size=4 --norm_pix_loss \\
    --steps=12000 --batch_size=256 --fine_tune=500,5000                                               (not run)
python -m experiments.self_supervised.mae --dataset=folder --data_dir=D --input_size=224 --mae.decoder_width=512 \\
    --init_from=hf:facebook/vit-mae-base                                                              (not run)

`loss` is the squared error of the masked patches, `mean_patch` that of the mean of the image's seen patches. On
Fashion-MNIST the loss ends at a quarter of it; the second command's numbers are means of three seeds.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from dlcore.experiment import Experiment, Setup
from dlcore.experiment.setting import field_settings
from dlcore.kits.images import labeled_images
from dlcore.kits.self_supervised import encoders
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.models.mae import MAE
from dlcore.ops import unpatchify
from dlcore.report.self_supervised import reconstructions
from dlcore.self_supervised import mae
from dlcore.tasks.encoders import SMOKE
from dlcore.tasks.unlabeled_images import UnlabeledImages
from dlcore.weights.start import NETWORK, Start, start_network

OPTIMIZER = AdamW(learning_rate=1e-3)


class MaskedImages(UnlabeledImages):
    """Images of which a transformer sees a few patches, and paints the others."""

    model = None
    modules = {"mae": MAE}
    own_fields = tuple(f"mae.{name}" for name in ("mask_ratio", "decoder_depth"))

    def settings(self):
        """The flags of the optimizer, which `--help` shows before those of the protocol, and the task's."""
        return {**field_settings(OPTIMIZER), **super().settings(), **NETWORK}

    def start(self, setup: Setup) -> Start | None:
        """Start from the weights of `--init_from`; of an encoder alone, with a decoder that starts anew."""
        return start_network(setup)

    def network(self, setup: Setup) -> MAE:
        return MAE(setup.spec["image_shape"][-1], **setup.flags.group("mae"), dtype=setup.dtype)

    def arguments(self, setup: Setup) -> dict[str, Any]:
        return {
            "model": self.network(setup),
            "augment": labeled_images.augmentation(setup.flags, setup.spec),
            "preprocess": labeled_images.preprocess(setup),
        }

    def encoder(self, setup: Setup):
        return encoders.encoder(
            setup,
            self.network(setup),
            lambda state: {"params": state.params},
            method="encode",
            read=lambda tokens: tokens[:, 1:].mean(1),
        )

    def pretext_panels(self, context) -> list:
        """Images, the patches that the encoder saw, and the masked ones filled in."""
        size, spec = context.flags["mae.patch_size"], context.spec
        rows = {name: np.asarray(context.outputs[name][:12]) for name in ("prediction", "target", "masked")}
        prediction, target = rows["prediction"], rows["target"]
        count = prediction.shape[1]
        side = round(count**0.5) * size
        masked = np.repeat(rows["masked"][..., None], prediction.shape[-1] // spec["image_shape"][-1], -1)

        def pixels(patches):
            return np.asarray(unpatchify(jnp.asarray(patches), size, side, side))

        mean, std = (0.0, 1.0) if context.flags.norm_pix_loss else (np.asarray(spec["mean"]), np.asarray(spec["std"]))
        target, filled = (pixels(x) * std + mean for x in (target, prediction))
        if context.flags.norm_pix_loss:  # each patch has mean 0 and variance 1
            target, filled = (np.clip(0.5 + x / 4, 0, 1) for x in (target, filled))
        caption = (
            f"Test images, what the encoder saw of them, and the masked patches filled in. Squared error of these "
            f"{context.numbers['loss']:.3f}; the mean of the seen patches has {context.numbers['mean_patch']:.3f}."
        )
        return [reconstructions(np.clip(target, 0, 1), pixels(masked), filled, caption)]


experiment = Experiment(
    __file__,
    __doc__,
    mae.learner,
    task=MaskedImages(),
    optimizer=OPTIMIZER,
    defaults={
        "mae.patch_size": 4,
        "mae.depth": 4,
        "mae.width": 96,
        "mae.num_heads": 4,
        "mae.mlp_features": 384,
        "mae.decoder_depth": 2,
        "mae.decoder_width": 64,
        "mae.decoder_heads": 4,
        "mae.decoder_features": 256,
        "steps": 6000,
        "batch_size": 128,
        "eval_every": 1000,
    },
    smoke={
        **SMOKE,
        "mae.depth": 1,
        "mae.width": 8,
        "mae.num_heads": 2,
        "mae.mlp_features": 8,
        "mae.decoder_depth": 1,
        "mae.decoder_width": 8,
        "mae.decoder_heads": 2,
        "mae.decoder_features": 8,
    },
)

if __name__ == "__main__":
    main(experiment)
