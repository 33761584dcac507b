"""The U-Net of latent diffusion in the latents of ImageNet at 256 x 256, by class.

python -m experiments.recipes.latent_unet --data_dir=D --first_stage=RUN       (recipe, not run: FID 3.60 is published)
python -m experiments.recipes.latent_unet --mode=plan --topology=v5e:4x4 --precision=bf16
python -m experiments.recipes.latent_unet --mode=plan --topology=h100:8 --precision=bf16
python -m experiments.recipes.latent_unet --smoke                        (digits, in seconds: does everything work?)

After Rombach et al. 2022, arXiv:2112.10752, guided by 1.5 (table 3), with the widths of Stable Diffusion's U-Net: 320,
640, 1,280 and 1,280 channels, two blocks a level, attention at the upper three. Data and autoencoder are those of
`experiments.recipes.dit_xl2`.
"""

from functools import partial

from dlcore.data.planned_images import PlannedImages
from dlcore.evaluators.class_conditional import GuidedClassPanels
from dlcore.evaluators.image_generation import Frechet
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.generative import ddpm
from dlcore.generative.autoencoder_kl import AutoencoderKL
from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.diffusion import NoiseSchedule, Sampling
from dlcore.generative.latent_networks import LatentUNet
from dlcore.main import main
from dlcore.optim import AveragedAdamW
from dlcore.report.samples import DrawClasses
from dlcore.weights.first_stage import FirstStage
from experiments.classification import supervised
from experiments.generative import autoencoder_kl
from experiments.smoke import GUIDED, GUIDED_PLAIN

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(
        ddpm.learner,
        prediction="v",
        noise_schedule=NoiseSchedule(num_timesteps=1000, beta_schedule="scaled_linear"),
        sampling=Sampling("ddim", num_inference_steps=250, spacing="trailing", clip_sample=False, guidance=1.5),
    ),
    data=PlannedImages("imagenet2012", image_size=256, valid_fraction=0.1, labels=False),
    network=LatentUNet(
        autoencoder=partial(AutoencoderKL, channels=(128, 256, 512, 512), num_res_blocks=2, groups=32),
        unet=partial(
            ConditionalUNet,
            channels=(320, 640, 1280, 1280),
            num_res_blocks=2,
            attention_levels=(0, 1, 2),
            num_heads=8,
            groups=32,
        ),
    ),
    optimizer=AveragedAdamW(learning_rate=1e-4, schedule="constant", warmup=0.0, weight_decay=0.0, ema=0.9999),
    length=Steps(178_000, batch_size=1200, eval_every=50_000, select="last"),
    measures=[Frechet(classifier=supervised.experiment, num_samples=1000, by_class=True)],
    report=[GuidedClassPanels(guidance_samples=200)],
    use=DrawClasses(),
    start=FirstStage(first_phase=autoencoder_kl.experiment, autoencoder_steps=1500),
    sanity=Sanity(plain=GUIDED_PLAIN),
    smoke={
        **GUIDED,
        **{"dataset": "digits", "image_size": None, "num_samples": 16, "network_steps": 2},
        **{"unet.channels": (8, 8), "unet.num_res_blocks": 1, "unet.attention_levels": (1,)},
        **{"unet.num_heads": 2, "unet.groups": 4},
        **{"autoencoder.channels": (8, 8), "autoencoder.num_res_blocks": 1, "autoencoder.groups": 8},
    },
)

if __name__ == "__main__":
    main(experiment)
