"""Flow matching (rectified flow): generate digits along straight lines from noise to data.

python -m experiments.generative.flow_matching
python -m experiments.generative.flow_matching --mode=evaluate --run=RUN --num_inference_steps=4 --solver=heun
python -m experiments.generative.flow_matching --init_from=RUN --time_density=uniform --steps=800
python -m experiments.generative.flow_matching --dataset=fashion_mnist --data_dir=D --unet.patch_size=2 \\
    --batch_size=64 --steps=7000 --learning_rate=0.002 --eval_every=3500                                  (not run)

The first command reaches a Fréchet distance of 0.99 by 50 steps of Euler's method (DDPM by 50 steps of DDIM: 0.91), one
seed. The second measures a network by fewer steps. That of an earlier run, 0.95 by 50 steps of Euler, has 1.02 by 16,
1.04 by 4 of Heun, which call the network 7 times, 2.27 by 4 of Euler, and 90.6 by 1 of Euler, as the velocity at pure
noise points to the mean image. DDPM's distances are over the same network of features.

The third command is reflow: a second flow starts from the weights of the first, and learns the pairs of noise and image
that the first connects. The report's straightness is 0 for paths that are lines. This command was not run;
`experiments.studies.sampler_table` measures a smaller flow before and after: by one step of Euler 103.7 and 7.4, by
four 8.2 and 5.6, by 64 4.5 and 5.1.
"""

from functools import partial

from dlcore.data.images import Images
from dlcore.evaluators.flow_measures import FrechetAndStraightness
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.generative import flow_matching
from dlcore.generative.sample_panels import ShowSamples
from dlcore.generative.unet import UNet
from dlcore.main import main
from dlcore.optim import AveragedAdamW
from dlcore.report.samples import DrawSamples
from dlcore.weights.teacher import Teacher
from experiments.classification import supervised
from experiments.smoke import few_samples

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(flow_matching.learner, time_density="logit_normal"),
    data=Images("digits", valid_fraction=0.1, labels=False),
    network=UNet(width=32, channel_multipliers=(1, 2)),
    optimizer=AveragedAdamW(
        learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=0.0, clip_norm=1.0, ema=0.999
    ),
    length=Epochs(300, batch_size=128, eval_every=1000, select="last"),
    measures=[FrechetAndStraightness(classifier=supervised.experiment, num_samples=1000)],
    report=[ShowSamples()],
    use=DrawSamples(),
    start=Teacher(
        "generative.flow_matching",
        "whose noise and samples are the pairs of reflow; by default any noise and example are one",
    ),
    sanity=Sanity(plain={"ema": None, "weight_decay": 0.0}),
    smoke={**few_samples(3), "unet.width": 8, "unet.channel_multipliers": (1,), "num_inference_steps": 4},
)

if __name__ == "__main__":
    main(experiment)
