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

from functools import partial

from dlcore.data.images import Images
from dlcore.evaluators.image_generation import Frechet
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.generative import ddpm
from dlcore.generative.diffusion import NoiseSchedule, Sampling
from dlcore.generative.edited_images import EditImages
from dlcore.generative.sample_panels import DiffusionPanels
from dlcore.generative.unet import UNet
from dlcore.main import main
from dlcore.optim import AveragedAdamW
from experiments.classification import supervised
from experiments.smoke import few_samples

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(
        ddpm.learner,
        noise_schedule=NoiseSchedule(num_timesteps=1000, beta_schedule="linear"),
        sampling=Sampling(sampler="ddim", num_inference_steps=50),
    ),
    data=Images("digits", valid_fraction=0.1, labels=False),
    network=UNet(width=32, channel_multipliers=(1, 2)),
    optimizer=AveragedAdamW(
        learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=0.0, clip_norm=1.0, ema=0.999
    ),
    length=Epochs(300, batch_size=128, eval_every=1000, select="last"),
    measures=[Frechet(classifier=supervised.experiment, num_samples=1000)],
    report=[DiffusionPanels()],
    use=EditImages(),
    sanity=Sanity(plain={"ema": None, "weight_decay": 0.0}),
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
