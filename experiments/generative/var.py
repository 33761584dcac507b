"""VAR: encode digits as grids of codes from coarse to fine, and sample them one grid at a time.

python -m experiments.generative.var                              (mse 0.0074; 3.59 bits a code; Fréchet distance 11)
python -m experiments.generative.var --prior.scales=1,2,4
python -m experiments.generative.var --mode=predict --run=RUN --output=samples

The first part of the run trains the autoencoder, and the last part (`--prior_share`) the transformer over the scales. A
uniform prior has log2 K = 6 `prior_bits` a code. `prior_bits` cannot be compared with those of
`experiments.generative.vq_vae_prior`, which has other codes. `frechet_distance` of the samples can: the PixelCNN of
that page has 4.5. VAR draws the codes of a scale independently of each other, which harms samples of only 4 x 4 codes;
a `--temperature` below 1 helps. The first scale carries no information here: all digits have the same first code. The
numbers are of one seed; the second command was not run.
"""

from functools import partial

from dlcore.data.images_or_crops import MeanImage
from dlcore.evaluators.image_generation import PriorFrechet
from dlcore.experiment import Experiment, Steps
from dlcore.generative import var
from dlcore.generative.code_networks import CodesByScale
from dlcore.generative.images_or_factors import ImagesOrFactors
from dlcore.generative.phased_codes import FilmPrior, PriorBits, ReconstructOrDrawPrior
from dlcore.generative.shown_reconstructions import Reconstructions
from dlcore.generative.var import ScaleTransformer
from dlcore.generative.vq_vae import VQVAE
from dlcore.main import main
from dlcore.optim.phased_adamw import PhasedAdamW
from experiments.classification import supervised
from experiments.smoke import few_samples

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(var.learner, num_codes=64, temperature=1.0),
    data=ImagesOrFactors("digits", valid_fraction=0.1, labels=False),
    network=CodesByScale(
        vqvae=partial(VQVAE, width=32, embedding_dim=16, downsamplings=1, num_res_blocks=1),
        prior=partial(ScaleTransformer, scales=(1, 2, 3, 4), width=64, depth=3, mlp_ratio=2),
    ),
    optimizer=PhasedAdamW(learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=0.0, prior_share=0.5),
    length=Steps(3000, batch_size=64, eval_every=1000, select="last"),
    measures=[PriorBits(), PriorFrechet(classifier=supervised.experiment, num_samples=1000), MeanImage(shown=64)],
    report=[Reconstructions(), FilmPrior()],
    use=ReconstructOrDrawPrior(),
    smoke={
        **few_samples(4),
        "num_codes": 8,
        "vqvae.width": 8,
        "prior.width": 8,
        "prior.depth": 1,
        "prior.num_heads": 2,
    },
)

if __name__ == "__main__":
    main(experiment)
