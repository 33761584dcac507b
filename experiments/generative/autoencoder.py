"""Autoencoders of digits: undercomplete, sparse or denoising; fully connected or convolutional.

python -m experiments.generative.autoencoder                              (21.7 dB; the mean training image has 11.4)
python -m experiments.generative.autoencoder --kind=denoising       (+4.2 dB over the noisy digits, 1,823 steps)
python -m experiments.generative.autoencoder --kind=sparse --autoencoder.latent_dim=128
python -m experiments.generative.autoencoder --autoencoder.widths=16,32        (with convolutions: 21.4 dB)
python -m experiments.generative.autoencoder --autoencoder.widths=16,32 --kind=denoising           (+4.3 dB)
python -m experiments.generative.autoencoder --autoencoder.widths=16,32 --kind=sparse --autoencoder.latent_dim=128
python -m experiments.generative.autoencoder --dataset=mnist --data_dir=D --kind=denoising --autoencoder.latent_dim=64

`psnr_gain` is what denoising gains over its noisy input, and `mean_activation` what the sparse code should bring to
`--rho`.
"""

from functools import partial
from typing import Any

from flax import linen as nn

from dlcore.experiment import Epochs, Experiment, Measure, Sanity
from dlcore.experiment.parts import Run
from dlcore.generative import autoencoder
from dlcore.generative.autoencoder import Autoencoder
from dlcore.generative.encoded_images import ImageEncoder
from dlcore.generative.images_or_factors import ImagesOrFactors
from dlcore.generative.shown_reconstructions import Reconstructions
from dlcore.main import main
from dlcore.optim import AveragedAdamW
from dlcore.report.reconstructions import ReconstructImages


def code_activation(run: Run) -> dict[str, Any]:
    """Bound a sparse code: to [0, 1] for the KL penalty, at 0 for the L1 penalty."""
    values = run.parts.technique.keywords
    bounded = nn.sigmoid if values["penalty"] == "kl" else nn.relu
    return {"activation": bounded if values["kind"] == "sparse" else None}


experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(autoencoder.learner, kind="plain"),
    data=ImagesOrFactors("digits", valid_fraction=0.1, labels=False),
    network=ImageEncoder(partial(Autoencoder, hidden=(256,), latent_dim=16), fields=code_activation),
    optimizer=AveragedAdamW(learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.0),
    length=Epochs(100, batch_size=64, eval_every=500),
    measures=[Measure("loss", "min", headline="psnr")],
    report=[Reconstructions()],
    use=ReconstructImages(),
    sanity=Sanity(plain={"kind": "plain", "ema": None}),
    smoke={"steps": 3, "batch_size": 8, "autoencoder.hidden": (16,), "eval_every": 3},
)

if __name__ == "__main__":
    main(experiment)
