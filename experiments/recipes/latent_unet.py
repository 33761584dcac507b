"""The U-Net of latent diffusion in the latents of ImageNet at 256 x 256, by class.

python -m experiments.recipes.latent_unet --data_dir=D --first_stage=RUN       (recipe, not run: FID 3.60 is published)
python -m experiments.recipes.latent_unet --mode=plan --topology=v5e:4x4 --precision=bf16
python -m experiments.recipes.latent_unet --mode=plan --topology=h100:8 --precision=bf16
python -m experiments.recipes.latent_unet --smoke                        (digits, in seconds: does everything work?)

After Rombach et al. 2022, arXiv:2112.10752, guided by 1.5 (table 3), with the widths of Stable Diffusion's U-Net: 320,
640, 1,280 and 1,280 channels, two blocks a level, attention at the upper three. Data and autoencoder are those of
`experiments.recipes.dit_xl2`.
"""

import dataclasses

from dlcore.generative.autoencoder_kl import AutoencoderKL
from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.main import main
from experiments.generative import latent_diffusion
from experiments.recipes import dit_xl2

experiment = dataclasses.replace(
    dit_xl2.experiment,
    file=__file__,
    doc=__doc__,
    arguments=latent_diffusion.arguments,
    modules={"unet": ConditionalUNet, "autoencoder": AutoencoderKL},
    defaults={
        **{name: value for name, value in dit_xl2.experiment.defaults.items() if not name.startswith("dit.")},
        "steps": 178_000,
        "batch_size": 1200,
        "beta_schedule": "scaled_linear",
        "unet.channels": (320, 640, 1280, 1280),
        "unet.num_res_blocks": 2,
        "unet.attention_levels": (0, 1, 2),
        "unet.num_heads": 8,
        "unet.groups": 32,
    },
    smoke={
        **{name: value for name, value in dit_xl2.experiment.smoke.items() if not name.startswith("dit.")},
        "unet.channels": (8, 8),
        "unet.num_res_blocks": 1,
        "unet.attention_levels": (1,),
        "unet.num_heads": 2,
        "unet.groups": 4,
    },
)

if __name__ == "__main__":
    main(experiment)
