"""DiT: generate digits of a class by a diffusion transformer.

python -m experiments.generative.dit                    (Fréchet distance 0.63, class consistency 97 %)
python -m experiments.generative.dit --mode=predict --run=RUN --input=3,7 --guidance=3 --output=samples
python -m experiments.generative.dit --mode=predict --run=RUN --input=16x3 --output=samples
python -m experiments.generative.dit --mode=predict --run=RUN --input=3..7 --output=samples
python -m experiments.generative.dit --dataset=fashion_mnist --data_dir=D --dit.patch_size=4 --dit.width=192 \\
    --batch_size=64 --steps=7000 --beta_schedule=cosine --eval_every=3500

Classifier-free guidance, `--guidance=W`, draws by eps(null) + W (eps(class) - eps(null)): 0 ignores the class, 1 is as
trained. `class_consistency` is the share of samples that a classifier of real images takes for the class that was asked
for. The last command was not run.
"""

from functools import partial

from dlcore.data.images import Images
from dlcore.evaluators.class_conditional import GuidedClassPanels
from dlcore.evaluators.image_generation import Frechet
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.generative import ddpm
from dlcore.generative.condition import class_condition
from dlcore.generative.diffusion import NoiseSchedule, Sampling
from dlcore.generative.dit import DiT
from dlcore.main import main
from dlcore.models import Networks
from dlcore.optim import AveragedAdamW
from dlcore.report.samples import DrawClasses
from experiments.classification import supervised
from experiments.smoke import GUIDED, GUIDED_PLAIN

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(
        ddpm.learner,
        noise_schedule=NoiseSchedule(num_timesteps=1000, beta_schedule="cosine"),
        sampling=Sampling(sampler="ddim", num_inference_steps=50, spacing="trailing", guidance=1.0),
        condition_dropout=0.1,
    ),
    data=Images("digits", valid_fraction=0.1, labels=False),
    network=Networks({"dit": partial(DiT, width=96, depth=4)}, condition=class_condition),
    optimizer=AveragedAdamW(
        learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.0, clip_norm=1.0, ema=0.999
    ),
    length=Epochs(250, batch_size=128, eval_every=1500, select="last"),
    measures=[Frechet(classifier=supervised.experiment, num_samples=1000, by_class=True)],
    report=[GuidedClassPanels(guidance_samples=200)],
    use=DrawClasses(),
    sanity=Sanity(plain=GUIDED_PLAIN),
    smoke={**GUIDED, "dit.width": 16, "dit.depth": 1, "num_samples": 16, "network_steps": 2},
)

if __name__ == "__main__":
    main(experiment)
