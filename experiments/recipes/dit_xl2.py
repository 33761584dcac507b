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

from functools import partial

from dlcore.data.planned_images import PlannedImages
from dlcore.evaluators.class_conditional import GuidedClassPanels
from dlcore.evaluators.image_generation import Frechet
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.generative import ddpm
from dlcore.generative.autoencoder_kl import AutoencoderKL
from dlcore.generative.diffusion import NoiseSchedule, Sampling
from dlcore.generative.dit import DiT
from dlcore.generative.latent_networks import LatentDiT
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
        noise_schedule=NoiseSchedule(num_timesteps=1000, beta_schedule="linear"),
        sampling=Sampling("ddim", num_inference_steps=250, spacing="trailing", clip_sample=False, guidance=1.5),
    ),
    data=PlannedImages("imagenet2012", image_size=256, valid_fraction=0.1, labels=False),
    network=LatentDiT(
        autoencoder=partial(AutoencoderKL, channels=(128, 256, 512, 512), num_res_blocks=2, groups=32),
        dit=partial(DiT, width=1152, depth=28, num_heads=16),
    ),
    optimizer=AveragedAdamW(learning_rate=1e-4, schedule="constant", warmup=0.0, weight_decay=0.0, ema=0.9999),
    length=Steps(7_000_000, batch_size=256, eval_every=50_000, select="last"),
    measures=[Frechet(classifier=supervised.experiment, num_samples=1000, by_class=True)],
    report=[GuidedClassPanels(guidance_samples=200)],
    use=DrawClasses(),
    start=FirstStage(first_phase=autoencoder_kl.experiment, autoencoder_steps=1500),
    sanity=Sanity(plain=GUIDED_PLAIN),
    smoke={
        **GUIDED,
        **{"dataset": "digits", "image_size": None, "num_samples": 16, "network_steps": 2},
        **{"dit.width": 16, "dit.depth": 1, "dit.num_heads": 2},
        **{"autoencoder.channels": (8, 8), "autoencoder.num_res_blocks": 1, "autoencoder.groups": 8},
    },
)

if __name__ == "__main__":
    main(experiment)
