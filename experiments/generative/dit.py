"""DiT: generate digits of a class by a diffusion transformer.

python -m experiments.generative.dit                    (Fréchet distance 0.63, class consistency 97 %)
python -m experiments.generative.dit --mode=predict --run=RUN --input=3,7 --guidance=3 --output=samples
python -m experiments.generative.dit --mode=predict --run=RUN --input=16x3 --output=samples
python -m experiments.generative.dit --mode=predict --run=RUN --input=3..7 --output=samples
python -m experiments.generative.dit --dataset=fashion_mnist --data_dir=D --dit.patch_size=4 --dit.width=192 \\
    --batch_size=64 --steps=7000 --beta_schedule=cosine --eval_every=3500

`--guidance=W` draws by eps(null) + W (eps(class) - eps(null)): 0 ignores the class, 1 is as trained.
`class_consistency` is the share of samples that a classifier of real images takes for the class that was asked for.
The last command was not run.
"""

from dlcore.experiment import Experiment, Setup
from dlcore.generative import ddpm
from dlcore.generative.condition import class_condition
from dlcore.generative.dit import DiT
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.class_conditional import GuidedImages
from dlcore.tasks.guided_samples import SMOKE
from experiments.classification.supervised import experiment as classifier


def arguments(setup: Setup) -> dict:
    num_classes = setup.spec["num_classes"]
    return {
        "model": DiT(**setup.flags.group("dit") | {"num_classes": num_classes}, dtype=setup.dtype),
        "shape": tuple(setup.spec["image_shape"]),
        "condition": class_condition(num_classes),
    }


experiment = Experiment(
    __file__,
    __doc__,
    ddpm.learner,
    task=GuidedImages(classifier=classifier),
    optimizer=AveragedAdamW(learning_rate=2e-3, weight_decay=0.0, clip_norm=1.0, ema=0.999),
    arguments=arguments,
    modules={"dit": DiT},
    defaults={"epochs": 250.0, "batch_size": 128, "eval_every": 1500, "dit.width": 96},
    smoke={**SMOKE, "dit.width": 16, "dit.depth": 1, "num_samples": 16, "network_steps": 2},
)

if __name__ == "__main__":
    main(experiment)
