"""StyleGAN: generate digits from mapped styles and per-layer noise, and interpolate in the latent space.

python -m experiments.generative.style_gan                     (Fréchet distance 1.19, noise share 1.03)
python -m experiments.generative.style_gan --mode=predict --run=RUN --output=samples
python -m experiments.generative.style_gan --dataset=fashion_mnist --data_dir=D --generator.width=16 \\
    --discriminator.width=16 --steps=2000 --eval_every=1000

`noise_share` is how far noise alone moves samples in a classifier's features, over how far another latent does, and
`path_length` how fast they change along walks. The report walks along the principal directions of the styles. The
last command was not run.
"""

from functools import partial

from dlcore.data.images import Images
from dlcore.evaluators.style_distances import StyleDistances
from dlcore.experiment import Experiment, Steps
from dlcore.generative import gan, sagan, style_gan
from dlcore.generative.styles import ShowStyles, StyleNetworks
from dlcore.main import main
from dlcore.optim import GANAdam
from dlcore.report.samples import DrawSamples
from experiments.classification import supervised
from experiments.smoke import few_samples

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(gan.learner, loss="non_saturating", latent_dim=64, r1=0.3, ema=0.999),
    data=Images("digits", valid_fraction=0.1, labels=False),
    network=StyleNetworks(
        {
            "generator": partial(style_gan.Generator, width=24),
            "discriminator": partial(sagan.Discriminator, width=32, attention=False, spectral_norm=False),
        }
    ),
    optimizer=GANAdam(learning_rate=1e-3, schedule="linear", momentum=0.0),
    length=Steps(2500, batch_size=64, eval_every=1250, select="last"),
    measures=[StyleDistances(classifier=supervised.experiment, num_samples=1000, monitor=None)],
    report=[ShowStyles()],
    use=DrawSamples(),
    smoke={**few_samples(2), "generator.width": 4, "discriminator.width": 4, "latent_dim": 8},
)

if __name__ == "__main__":
    main(experiment)
