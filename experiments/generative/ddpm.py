"""DDPM: generate digits by denoising diffusion.

python -m experiments.generative.ddpm
python -m experiments.generative.ddpm --dataset=mnist --data_dir=D --unet.patch_size=2 --steps=2000
python -m experiments.generative.ddpm --dataset=fashion_mnist --data_dir=D --unet.patch_size=2 --batch_size=64 \\
    --steps=7000 --beta_schedule=cosine --learning_rate=0.002 --eval_every=3500
python -m experiments.generative.ddpm --mode=evaluate --run=RUN --sampler=ddpm --num_inference_steps=1000
python -m experiments.generative.ddpm --mode=predict --run=RUN --num_drawn=16 --sample_seed=3 --output=FOLDER
python -m experiments.generative.ddpm --mode=predict --run=RUN --input=IMAGE --edit=repaint --mask=MASK --output=FOLDER

The third command draws clothes after 10 epochs, 39 minutes on two busy cores: Fréchet distance 4.1, against 6.9 of the
GAN. The fourth measures a finished run by another sampler: 1,000 ancestral steps reach 1.6, where 50 steps of DDIM have
4.1 (3.1 with --eta=1). The first command draws digits: Fréchet distance 0.91 by 50 steps of DDIM, 1.05 by 1,000
ancestral ones; after only 300 steps of training (--steps=300) these are 7.0 and 4.9. So on digits few steps cost
quality only while the network is young. The second command was not run in full.

These distances are over a small classifier of the same images. Published ones are over an Inception of 2015: get
pt_inception-2015-12-05-6726825d.pth, `dlcore convert` it `--model=inception_v3_fid --out=inception_fid`, and add
--frechet_network=inception_fid --num_samples=10000.
"""

import dataclasses

from dlcore.experiment import Experiment
from dlcore.generative import ddpm
from dlcore.generative.unet import UNet
from dlcore.kits.generative import sample_panels
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.report.context import ReportContext
from dlcore.tasks.edited_images import EditedImages
from experiments.classification.supervised import experiment as classifier
from experiments.smoke import few_samples


@dataclasses.dataclass(frozen=True)
class SampledImages(EditedImages):
    """Generated images, with every sampler's in the report."""

    def panels(self, context: ReportContext) -> list:
        """Show samples, their trajectories and those of every sampler."""
        return sample_panels.diffusion_panels(context, UNet(**context.flags.group("unet")))


experiment = Experiment(
    __file__,
    __doc__,
    ddpm.learner,
    task=SampledImages(classifier=classifier),
    optimizer=AveragedAdamW(learning_rate=1e-3, weight_decay=0.0, clip_norm=1.0, ema=0.999),
    defaults={"sampler": "ddim", "num_inference_steps": 50},
    smoke={
        **few_samples(3),
        "unet.width": 8,
        "unet.channel_multipliers": (1,),
        "num_timesteps": 10,
        "num_inference_steps": 4,
    },
)

if __name__ == "__main__":
    main(experiment)
