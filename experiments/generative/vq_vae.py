"""VQ-VAE: encode digits as a grid of codebook indices.

python -m experiments.generative.vq_vae                               (mse 0.0061, perplexity 59.5 of 64)
python -m experiments.generative.vq_vae --dataset=cifar10 --data_dir=D --vqvae.downsamplings=2 --num_codes=128 \\
    --vqvae.width=64 --epochs=10

`perplexity` and `usage` of the codebook are over a whole split. The mean image has an mse of 0.0734. The second command
was not run. `experiments.generative.vq_vae_prior` learns a prior of the codes, which samples new digits.
"""

from functools import partial

from dlcore.data.images_or_crops import MeanImage
from dlcore.experiment import Experiment, Measure, Steps
from dlcore.generative import vq_vae
from dlcore.generative.code_networks import CodeGrid
from dlcore.generative.images_or_factors import ImagesOrFactors
from dlcore.generative.shown_reconstructions import Reconstructions
from dlcore.generative.vq_vae import VQVAE
from dlcore.main import main
from dlcore.optim import AdamW
from dlcore.report.reconstructions import ReconstructImages
from experiments.smoke import CODES

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(vq_vae.learner, num_codes=64),
    data=ImagesOrFactors("digits", valid_fraction=0.1, labels=False),
    network=CodeGrid(vqvae=partial(VQVAE, width=32, embedding_dim=16, downsamplings=1, num_res_blocks=1)),
    optimizer=AdamW(learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=0.0),
    length=Steps(1500, batch_size=64, eval_every=500, select="last"),
    measures=[Measure("mse", "min"), MeanImage(shown=64)],
    report=[Reconstructions()],
    use=ReconstructImages(),
    smoke=CODES,
)

if __name__ == "__main__":
    main(experiment)
