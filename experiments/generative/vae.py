"""VAE: bound the likelihood of digits, interpolate in the latent space, and sample new ones; here below kernel density.

python -m experiments.generative.vae                    (ELBO 23.4 nats, IWAE-50 22.9, 8x8 digits, 1,823 steps)
python -m experiments.generative.vae --draw_pixels      (samples of p(x given z), not its mean; not run to its end)
python -m experiments.generative.vae --dataset=factors --vae.likelihood=gaussian --vae.latent_dim=8
python -m experiments.generative.vae --dataset=mnist --data_dir=D --vae.hidden=500,500 --vae.latent_dim=50 \\
    --epochs=300 --importance_samples=500                         (MNIST: ELBO 91.3 nats, IWAE-500 86.4)
python -m experiments.generative.vae --dataset=mnist --data_dir=D --vae.widths=32,64 --vae.hidden=500 \\
    --vae.latent_dim=50 --epochs=60 --importance_samples=500 --eval_every=30000    (ELBO 89.5, IWAE-500 84.9)

`elbo_nll_nats_dynamic` and `iwaeK_nll_nats_dynamic` bound -log p of an image in nats from above, of pixels that were
binarized anew; lower is better. The second command edits shapes by factors that are known. The third
ends at 89.0 nats on training images; 100 epochs give 92.0 and 87.1, and 90.6 on training images. The last has
convolutions of stride 2, and 40 epochs give 90.1 and 85.5.
"""

from functools import partial

from dlcore.evaluators.image_generation import FinalFrechet
from dlcore.experiment import Epochs, Experiment, Measure, Sanity
from dlcore.generative import vae
from dlcore.generative.encoded_images import ImageEncoder
from dlcore.generative.images_or_factors import ImagesOrFactors
from dlcore.generative.sample_panels import FilmSamples
from dlcore.generative.shown_reconstructions import Reconstructions
from dlcore.generative.vae import VAE
from dlcore.main import main
from dlcore.optim import AveragedAdamW
from dlcore.report.reconstructions import ReconstructOrDraw
from experiments.classification import supervised
from experiments.smoke import few_samples

experiment = Experiment(
    __file__,
    __doc__,
    technique=vae.learner,
    data=ImagesOrFactors("digits", valid_fraction=0.1, labels=False),
    network=ImageEncoder(partial(VAE, hidden=(256,), latent_dim=16), code=lambda encoding: encoding[0]),
    optimizer=AveragedAdamW(learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.0, ema=0.999),
    length=Epochs(200, batch_size=128, eval_every=500),
    measures=[
        Measure("loss", "min", headline="elbo_nll_nats_dynamic"),
        FinalFrechet(classifier=supervised.experiment, num_samples=1000),
    ],
    report=[Reconstructions(), FilmSamples()],
    use=ReconstructOrDraw(),
    sanity=Sanity(plain={"ema": None}),
    smoke={**few_samples(3), "vae.hidden": (16,), "importance_samples": 2},
)

if __name__ == "__main__":
    main(experiment)
