"""MAE (masked autoencoder): learn features by reconstructing masked patches.

python -m experiments.self_supervised.mae                   (fine-tuned with 117 labels 94.8 %, untrained 88.4 %)
python -m experiments.self_supervised.mae --dataset=fashion_mnist --data_dir=D --steps=3000 \\
    --batch_size=256 --fine_tune=500,5000 --eval_every=1500   (with 500 labels 76.8 %, untrained 70.4 %)
python -m experiments.self_supervised.mae --dataset=cifar10 --data_dir=D --mae.patch_size=4 --norm_pix_loss \\
    --steps=12000 --batch_size=256 --fine_tune=500,5000                                               (not run)

`loss` is the squared error of the masked patches, `mean_patch` that of the mean of the image's seen patches. On
Fashion-MNIST the loss ends at a quarter of it; the second command's numbers are means of three seeds.
"""

from functools import partial

import jax.numpy as jnp
import numpy as np

from dlcore.experiment import Experiment, Setup
from dlcore.kits.images import labeled_images
from dlcore.kits.self_supervised import encoders
from dlcore.kits.training import optimizer
from dlcore.main import main
from dlcore.models.mae import MAE
from dlcore.ops import unpatchify
from dlcore.report.self_supervised import reconstructions
from dlcore.self_supervised import mae

SMALL = {
    "patch_size": 4,
    "depth": 4,
    "width": 96,
    "num_heads": 4,
    "mlp_features": 384,
    "decoder_depth": 2,
    "decoder_width": 64,
    "decoder_heads": 4,
    "decoder_features": 256,
}


def network(setup: Setup) -> MAE:
    return MAE(setup.spec["image_shape"][-1], **setup.flags.group("mae"), dtype=setup.dtype)


def build(setup: Setup):
    learner = mae.learner(
        model=network(setup),
        optimizer=optimizer.build(setup),
        augment=labeled_images.augmentation(setup.flags, setup.spec),
        preprocess=labeled_images.preprocess(setup),
        **setup.flags.group("learner"),
    )
    return encoders.remove_labels(learner)


def encoder(setup: Setup):
    return encoders.encoder(
        setup,
        network(setup),
        lambda state: {"params": state.params},
        method="encode",
        read=lambda tokens: tokens[:, 1:].mean(1),
    )


def panels(context):
    size, spec = context.flags["mae.patch_size"], context.spec
    rows = {name: np.asarray(context.outputs[name][:12]) for name in ("prediction", "target", "masked")}
    prediction, target = rows["prediction"], rows["target"]
    count = prediction.shape[1]
    side = round(count**0.5) * size
    masked = np.repeat(rows["masked"][..., None], prediction.shape[-1] // spec["image_shape"][-1], -1)

    def pixels(patches):
        return np.asarray(unpatchify(jnp.asarray(patches), size, side, side))

    mean, std = (0.0, 1.0) if context.flags.norm_pix_loss else (np.asarray(spec["mean"]), np.asarray(spec["std"]))
    truth, filled = (pixels(x) * std + mean for x in (target, prediction))
    if context.flags.norm_pix_loss:  # each patch has mean 0 and variance 1
        truth, filled = (np.clip(0.5 + x / 4, 0, 1) for x in (truth, filled))
    note = (
        f"Test images, what the encoder saw of them, and the masked patches filled in. Squared error of these "
        f"{context.numbers['loss']:.3f}; the mean of the seen patches has {context.numbers['mean_patch']:.3f}."
    )
    panel = reconstructions(np.clip(truth, 0, 1), pixels(masked), filled, note)
    return encoders.panels(context, [panel])


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=mae.learner,
    build=build,
    modules={"mae": MAE},
    defaults={
        **{f"mae.{name}": value for name, value in SMALL.items()},
        "steps": 6000,
        "batch_size": 128,
        "learning_rate": 1e-3,
        "eval_every": 1000,
        "select": "last",
    },
    smoke={
        **{name: value for name, value in encoders.SMOKE.items() if not name.startswith("model.")},
        "mae.depth": 1,
        "mae.width": 8,
        "mae.num_heads": 2,
        "mae.mlp_features": 8,
        "mae.decoder_depth": 1,
        "mae.decoder_width": 8,
        "mae.decoder_heads": 2,
        "mae.decoder_features": 8,
    },
    **{
        name: value
        for name, value in encoders.SHARED.items()
        if name not in ("model", "settings", "start", "evaluators", "panels")
    },
    settings=encoders.SETTINGS,
    evaluators=partial(encoders.evaluators, encoder=encoder),
    encoder=encoder,
    panels=panels,
)

if __name__ == "__main__":
    main(experiment)
