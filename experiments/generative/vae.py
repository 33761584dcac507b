"""VAE: bound the likelihood of digits, interpolate in the latent space, and sample new ones.

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

from typing import ClassVar

from dlcore.evaluators.fine_tuning import Encoder
from dlcore.experiment import Experiment, Setup
from dlcore.generative import vae
from dlcore.generative.vae import VAE
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.latent_space import SampledLatentSpace, code_encoder
from experiments.classification.supervised import experiment as classifier
from experiments.smoke import few_samples


class Latents(SampledLatentSpace):
    """Images, and a VAE that gives each a distribution of latents."""

    headline = "elbo_nll_nats_dynamic"
    plain: ClassVar[dict] = {"ema": None}

    def network(self, setup: Setup) -> VAE:
        return VAE(tuple(setup.spec["image_shape"]), dtype=setup.dtype, **setup.flags.group("vae"))

    def encoder(self, setup: Setup) -> Encoder:
        return code_encoder(setup, self.network(setup), lambda encoding: encoding[0])


experiment = Experiment(
    __file__,
    __doc__,
    vae.learner,
    task=Latents(classifier=classifier),
    optimizer=AveragedAdamW(learning_rate=2e-3, weight_decay=0.0, ema=0.999),
    modules={"vae": VAE},
    defaults={"epochs": 200.0, "batch_size": 128, "eval_every": 500, "vae.hidden": (256,), "vae.latent_dim": 16},
    smoke={**few_samples(3), "vae.hidden": (16,), "importance_samples": 2},
)

if __name__ == "__main__":
    main(experiment)
