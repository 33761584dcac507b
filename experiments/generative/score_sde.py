"""Score SDE: generate digits along the score of noisy images, by a stochastic equation, its flow, or Langevin's steps.

python -m experiments.generative.score_sde
python -m experiments.generative.score_sde --mode=evaluate --run=RUN --sampler=ode --num_inference_steps=50
python -m experiments.generative.score_sde --sde=ve --sampler=langevin --num_inference_steps=100

200 steps of the reverse equation call the network 200 times, 50 of the flow 100 times, and 100 levels of Langevin's 5
steps 501 times.

The report shows the bits per dimension of 100 test images, cut into 16 levels. Uniform noise makes the levels
continuous, and the flow gives their density, with Hutchinson's estimate of the divergence. In the mean over the noise
this is an upper bound of the bits of the levels (Jensen's inequality).

The first command reaches a Fréchet distance of 0.72, where DDPM has 0.91, in 19 minutes of one core. Its bits per
dimension, 2.36, are more than the 2.27 of independent pixels: digits have few levels, which noise hides. One seed.
"""

from functools import partial

from dlcore.data.images import Images
from dlcore.evaluators.flow_bits import FrechetAndBits
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.generative import score_sde
from dlcore.generative.sample_panels import ShowSamples
from dlcore.generative.score_sde import SDE, ScoreSampling
from dlcore.generative.unet import UNet
from dlcore.main import main
from dlcore.optim import AveragedAdamW
from dlcore.report.samples import DrawSamples
from experiments.classification import supervised
from experiments.smoke import few_samples

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(score_sde.learner, sde=SDE("vp"), score_sampling=ScoreSampling("sde", num_inference_steps=200)),
    data=Images("digits", valid_fraction=0.1, labels=False),
    network=UNet(width=32, channel_multipliers=(1, 2)),
    optimizer=AveragedAdamW(
        learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=0.0, clip_norm=1.0, ema=0.999
    ),
    length=Epochs(300, batch_size=128, eval_every=1000, select="last"),
    measures=[FrechetAndBits(classifier=supervised.experiment, num_samples=1000)],
    report=[ShowSamples()],
    use=DrawSamples(),
    sanity=Sanity(plain={"ema": None, "weight_decay": 0.0}),
    smoke={**few_samples(3), "unet.width": 8, "unet.channel_multipliers": (1,), "num_inference_steps": 4},
)

if __name__ == "__main__":
    main(experiment)
