"""The prior of a VQ-VAE: learn the codes of a trained autoencoder with a PixelCNN, and sample new digits.

python -m experiments.generative.vq_vae_prior                              (3.94 bits a code; independent codes 5.89)
python -m experiments.generative.vq_vae_prior --init_from=RUN_OF_VQ_VAE
python -m experiments.generative.vq_vae_prior --mode=predict --run=RUN --output=samples

The first command first trains the autoencoder, `experiments.generative.vq_vae`, a run of its own that the next command
finds again. `prior_bits` a code compare with log2 K of uniform codes, 6 here, and with `histogram_bits` of codes that
are drawn by their frequencies in the same split. The number is the mean of three seeds, each with an autoencoder of its
own: compare priors by `--init_from` of one run.
"""

from functools import partial

from dlcore.evaluators.image_generation import FinalFrechet
from dlcore.experiment import Experiment, Measure, Sanity, Steps
from dlcore.generative import vq_vae_prior
from dlcore.generative.code_networks import CodeGridPrior
from dlcore.generative.images_or_factors import ImagesOrFactors
from dlcore.generative.pixel_cnn import PixelCNN
from dlcore.generative.sample_panels import FilmSamples
from dlcore.generative.shown_reconstructions import Reconstructions
from dlcore.generative.vq_vae import VQVAE
from dlcore.main import main
from dlcore.optim import AdamW
from dlcore.report.reconstructions import ReconstructOrDraw
from dlcore.weights.frozen_codes import FrozenCodes, uniform_codes
from experiments.classification import supervised
from experiments.generative import vq_vae
from experiments.smoke import CODE_PRIORS

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(vq_vae_prior.learner, num_codes=64, temperature=1.0),
    data=ImagesOrFactors("digits", valid_fraction=0.1, labels=False),
    network=CodeGridPrior(
        vqvae=partial(VQVAE, width=32, embedding_dim=16, downsamplings=1, num_res_blocks=1),
        prior=partial(PixelCNN, features=32, num_layers=3, first_kernel=5, embedding_dim=16),
        prior_fields={"colors": 1},
    ),
    optimizer=AdamW(learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=0.0),
    length=Steps(1500, batch_size=64, eval_every=500, select="last"),
    measures=[Measure("prior_bits", "min"), FinalFrechet(classifier=supervised.experiment, num_samples=1000)],
    report=[Reconstructions(), FilmSamples()],
    use=ReconstructOrDraw(),
    start=FrozenCodes(first_phase=vq_vae.experiment, autoencoder_steps=1500),
    sanity=Sanity(expected_loss=uniform_codes),
    smoke={**CODE_PRIORS, "prior.features": 8, "prior.num_layers": 1},
)

if __name__ == "__main__":
    main(experiment)
