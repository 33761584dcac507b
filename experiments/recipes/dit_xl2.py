"""DiT-XL/2 in the latents of ImageNet at 256 x 256.

python -m experiments.recipes.dit_xl2 --data_dir=D --first_stage=RUN   (recipe, not run: FID 2.27 is published, guided)
python -m experiments.recipes.dit_xl2 --mode=plan --topology=v5e:4x4 --precision=bf16
python -m experiments.recipes.dit_xl2 --mode=plan --topology=h100:8 --precision=bf16
python -m experiments.recipes.dit_xl2 --smoke                        (digits, in seconds: does everything work?)

Peebles & Xie 2022, arXiv:2212.09748: 28 blocks of width 1,152 over latents of 32 x 32 x 4, AdamW at 1e-4 without decay
or warm-up, a batch of 256, an average of 0.9999, 7 million steps. RUN is an autoencoder of
`experiments.generative.autoencoder_kl` with the channels below. Two things differ: the variance of a step is not
learned, and images are not mirrored.
"""

import dataclasses
from typing import Any

from dlcore.experiment import Setup
from dlcore.experiment.splits import zero_batch
from dlcore.generative.autoencoder_kl import AutoencoderKL
from dlcore.generative.dit import DiT
from dlcore.kits.images import labeled_images
from dlcore.main import main
from dlcore.tasks.latent_images import LatentImages, latent_arguments
from experiments.generative import latent_diffusion


def arguments(setup: Setup) -> dict:
    fields = setup.flags.group("dit") | {"num_classes": setup.spec["num_classes"]}
    return latent_arguments(setup, DiT(**fields, dtype=setup.dtype))


@dataclasses.dataclass(frozen=True)
class ImageNetLatents(LatentImages):
    """Latent images, of ImageNet without loading it for `--mode=plan`."""

    def planned(self, flags: Any) -> tuple[dict, Any] | None:
        """Return (the facts that `arguments` reads, a batch of one image) for ImageNet, and None for other data."""
        if flags.dataset != "imagenet2012":
            return None
        names = [str(k) for k in range(1000)]
        spec = {
            "dataset": "imagenet2012",
            "num_classes": 1000,
            "class_names": names,
            "image_shape": [flags.image_size, flags.image_size, 3],
            "train_size": 1_281_167,
        }
        return spec, zero_batch(labeled_images.labeled_batch(spec["image_shape"]), 1)


experiment = dataclasses.replace(
    latent_diffusion.experiment,
    file=__file__,
    doc=__doc__,
    arguments=arguments,
    task=ImageNetLatents(**vars(latent_diffusion.experiment.task)),
    modules={"dit": DiT, "autoencoder": AutoencoderKL},
    defaults={
        **latent_diffusion.experiment.defaults,
        "dataset": "imagenet2012",
        "image_size": 256,
        "steps": 7_000_000,
        "batch_size": 256,
        "learning_rate": 1e-4,
        "schedule": "constant",
        "warmup": 0.0,
        "clip_norm": None,
        "ema": 0.9999,
        "beta_schedule": "linear",
        "guidance": 1.5,
        "num_inference_steps": 250,
        "eval_every": 50_000,
        "dit.width": 1152,
        "dit.depth": 28,
        "dit.num_heads": 16,
        "autoencoder.channels": (128, 256, 512, 512),
        "autoencoder.num_res_blocks": 2,
        "autoencoder.groups": 32,
    },
    smoke={
        **{name: value for name, value in latent_diffusion.experiment.smoke.items() if not name.startswith("unet.")},
        "dataset": "digits",
        "image_size": None,
        "dit.width": 16,
        "dit.depth": 1,
        "dit.num_heads": 2,
        "autoencoder.num_res_blocks": 1,
        "autoencoder.groups": 8,
    },
)

if __name__ == "__main__":
    main(experiment)
