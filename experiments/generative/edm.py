"""EDM: generate digits by a network that is scaled by the noise level, and Heun's method.

python -m experiments.generative.edm                              (Fréchet distance 0.70 by 35 calls of the network)
python -m experiments.generative.edm --mode=evaluate --run=RUN --num_inference_steps=5
python -m experiments.generative.edm --mode=evaluate --run=RUN --s_churn=10
python -m experiments.generative.edm --dataset=fashion_mnist --data_dir=D --unet.patch_size=2 --batch_size=64 \\
    --steps=7000 --learning_rate=0.002 --eval_every=3500                                                  (not run)

18 steps of Heun's method call the network 35 times, 5 steps 9 times.
"""

from dlcore.data.images import Images
from dlcore.evaluators.image_generation import Frechet
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.generative import edm
from dlcore.generative.sample_panels import ShowSamples
from dlcore.generative.unet import UNet
from dlcore.main import main
from dlcore.optim import AveragedAdamW
from dlcore.report.samples import DrawSamples
from experiments.classification import supervised
from experiments.smoke import few_samples

experiment = Experiment(
    __file__,
    __doc__,
    technique=edm.learner,
    data=Images("digits", valid_fraction=0.1, labels=False),
    network=UNet(width=32, channel_multipliers=(1, 2)),
    optimizer=AveragedAdamW(
        learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=0.0, clip_norm=1.0, ema=0.999
    ),
    length=Epochs(300, batch_size=128, eval_every=1000, select="last"),
    measures=[Frechet(classifier=supervised.experiment, num_samples=1000)],
    report=[ShowSamples()],
    use=DrawSamples(),
    sanity=Sanity(plain={"ema": None, "weight_decay": 0.0}),
    smoke={**few_samples(3), "unet.width": 8, "unet.channel_multipliers": (1,), "num_inference_steps": 4},
)

if __name__ == "__main__":
    main(experiment)
