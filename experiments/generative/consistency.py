"""Consistency models: generate digits in one step of the network.

python -m experiments.generative.consistency
python -m experiments.generative.consistency --init_from=RUN_OF_EDM --s0=17 --s1=17
python -m experiments.generative.consistency --mode=evaluate --run=RUN --num_inference_steps=2

The first command trains on images alone. The second distills a run of `experiments.generative.edm`, whose network must
have the same fields: it follows the paths of that network, between 18 noise levels, and starts from its weights.
One seed of it ended at a Fréchet distance of 1.17 by one step and 0.83 by two. Its teacher has 0.70 by 35 calls of the
network, and 69.3 and 69.1 by one and two steps of Euler, which are DDIM's.
"""

from functools import partial

from dlcore.data.images import Images
from dlcore.evaluators.image_generation import Frechet
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.generative import consistency
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
    technique=partial(consistency.learner, sigma_data=0.5),
    data=Images("digits", valid_fraction=0.1, labels=False),
    network=UNet(width=32, channel_multipliers=(1, 2)),
    optimizer=AveragedAdamW(
        learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=0.0, clip_norm=1.0, ema=0.999
    ),
    length=Epochs(300, batch_size=128, eval_every=1000, select="last"),
    measures=[Frechet(classifier=supervised.experiment, num_samples=1000)],
    report=[ShowSamples()],
    use=DrawSamples(),
    start=Teacher(
        "generative.edm",
        "which is distilled; by default the images alone teach",
        same=("sigma_data",),
        always_identity=True,
    ),
    sanity=Sanity(plain={"ema": None, "weight_decay": 0.0}),
    smoke={**few_samples(3), "unet.width": 8, "unet.channel_multipliers": (1,)},
)

if __name__ == "__main__":
    main(experiment)
