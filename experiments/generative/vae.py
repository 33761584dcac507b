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

from dlcore.data.augment import to_float
from dlcore.evaluators.fine_tuning import module_encoder
from dlcore.experiment import Experiment, Setup
from dlcore.generative import vae
from dlcore.generative.vae import VAE
from dlcore.kits.generative import latent_space, sample_panels, samples
from dlcore.kits.training import optimizer
from dlcore.main import main


def network(setup: Setup) -> VAE:
    return VAE(tuple(setup.spec["image_shape"]), dtype=setup.dtype, **setup.flags.group("vae"))


def build(setup: Setup):
    learner = vae.learner(model=network(setup), optimizer=optimizer.build(setup), **setup.flags.group("learner"))
    return optimizer.evaluate_ema(learner, setup)


def encoder(setup: Setup):
    return module_encoder(
        network(setup),
        to_float,
        setup.spec["image_shape"],
        lambda state: {"params": state.params},
        lambda code: code[0],
        method="encode",
        takes_train=False,
    )


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=vae.learner,
    data=latent_space.data,
    build=build,
    encoder=encoder,
    modules={"vae": VAE},
    settings={**latent_space.SAMPLED, **optimizer.SETTINGS},
    defaults={
        "epochs": 200.0,
        "batch_size": 128,
        "learning_rate": 2e-3,
        "weight_decay": 0.0,
        "ema": 0.999,
        "eval_every": 500,
        "vae.hidden": (256,),
        "vae.latent_dim": 16,
    },
    smoke={
        "steps": 3,
        "batch_size": 8,
        "vae.hidden": (16,),
        "importance_samples": 2,
        "num_samples": 16,
        "network_steps": 2,
        "eval_every": 3,
    },
    monitor="loss",
    monitor_mode="min",
    headline="elbo_nll_nats_dynamic",
    plain={"ema": None},
    inputs=latent_space.inputs,
    drawn=samples.number_samples,
    describe=latent_space.describe,
    write=latent_space.write,
    report_hooks=lambda setup: sample_panels.film_of_samples(build, setup),
    panels=latent_space.panels,
    pictures=latent_space.pictures,
    evaluators=latent_space.evaluators,
    schedule=optimizer.schedule,
)

if __name__ == "__main__":
    main(experiment)
