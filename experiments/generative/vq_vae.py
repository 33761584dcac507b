"""VQ-VAE: encode digits as a grid of codebook indices.

python -m experiments.generative.vq_vae                               (mse 0.0061, perplexity 59.5 of 64)
python -m experiments.generative.vq_vae --dataset=cifar10 --data_dir=D --vqvae.downsamplings=2 --num_codes=128 \\
    --vqvae.width=64 --epochs=10

`perplexity` and `usage` of the codebook are over a whole split. The mean image has an mse of 0.0734. The second command
was not run. `experiments.generative.vq_vae_prior` learns a prior of the codes, which samples new digits.
"""

from dlcore.experiment import Experiment, Flags, Splits
from dlcore.generative import vq_vae
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.tasks.discrete_codes import SMOKE, CodeGrids, with_mean_image


class Codes(CodeGrids):
    """Images, their grids of codes, and the error of the mean image beside."""

    monitor = headline = "mse"

    def data(self, flags: Flags) -> Splits:
        return with_mean_image(super().data(flags))


experiment = Experiment(
    __file__, __doc__, vq_vae.learner, task=Codes(), optimizer=AdamW(learning_rate=1e-3, weight_decay=0.0), smoke=SMOKE
)

if __name__ == "__main__":
    main(experiment)
