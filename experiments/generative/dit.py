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
from dlcore.kits.generative import class_conditional, sample_panels
from dlcore.kits.training import optimizer
from dlcore.main import main


def build(setup: Setup):
    num_classes = setup.spec["num_classes"]
    learner = ddpm.learner(
        model=DiT(**setup.flags.group("dit") | {"num_classes": num_classes}, dtype=setup.dtype),
        optimizer=optimizer.build(setup),
        shape=tuple(setup.spec["image_shape"]),
        condition=class_condition(num_classes),
        **setup.flags.group("learner"),
    )
    return optimizer.averaged(learner, setup)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=ddpm.learner,
    data=class_conditional.data,
    build=build,
    modules={"dit": DiT},
    settings={**class_conditional.SETTINGS, **optimizer.SETTINGS},
    defaults={
        "epochs": 250.0,
        "batch_size": 128,
        "learning_rate": 2e-3,
        "weight_decay": 0.0,
        "clip_norm": 1.0,
        "ema": 0.999,
        "sampler": "ddim",
        "num_inference_steps": 50,
        "spacing": "trailing",
        "beta_schedule": "cosine",
        "eval_every": 1500,
        "select": "last",
        "dit.width": 96,
    },
    smoke={
        "steps": 3,
        "batch_size": 8,
        "dit.width": 16,
        "dit.depth": 1,
        "num_timesteps": 10,
        "num_inference_steps": 4,
        "num_samples": 16,
        "guidance_samples": 0,
        "network_steps": 2,
        "eval_every": 3,
    },
    monitor="frechet_distance",
    monitor_mode="min",
    headline="frechet_distance",
    plain={"ema": None, "weight_decay": 0.0, "condition_dropout": 0.0},
    inputs=class_conditional.inputs,
    describe=class_conditional.describe,
    write=class_conditional.write,
    schedule=optimizer.schedule,
    panels=lambda context: class_conditional.panels(context, build),
    pictures=sample_panels.pictures,
    evaluators=class_conditional.evaluators,
)

if __name__ == "__main__":
    main(experiment)
