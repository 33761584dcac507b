"""ControlNet: condition a trained text-to-image network on edges, in two phases.

python -m experiments.generative.control_net
python -m experiments.generative.control_net --base=RUN_OF_TEXT_TO_IMAGE
python -m experiments.generative.control_net --mode=predict --run=RUN --output=samples \\
    --input="drawing.png: a red circle / a green cross"
python -m experiments.generative.control_net --image_size=48 --grid=3 --base=RUN --num_images=100000 --steps=50000

The first command first trains `experiments.generative.text_to_image`, a run of its own that is found again. Its network
is locked; a copy of its encoder learns to steer it. `shape_iou` is the overlap of the samples' shapes with those whose
edges were given, `shuffled_iou` with those of another image: .77 and .20 by the first command. The last command was not
run.
"""

from dlcore.experiment import Experiment, Setup
from dlcore.generative import ddpm
from dlcore.generative.control_net import control_condition
from dlcore.kits.generative import class_conditional, edge_control, sample_panels, text_prompts
from dlcore.kits.training import optimizer
from dlcore.main import main


def build(setup: Setup):
    learner = ddpm.learner(
        model=edge_control.model_of(setup),
        optimizer=optimizer.build(setup),
        shape=tuple(setup.spec["image_shape"]),
        condition=control_condition(),
        locked=("base",),
        **setup.flags.group("learner"),
    )
    return optimizer.averaged(learner, setup)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=ddpm.learner,
    data=edge_control.data,
    build=build,
    modules=text_prompts.MODULES,
    settings={**edge_control.SETTINGS, **optimizer.SETTINGS},
    defaults={
        "steps": 1000,
        "batch_size": 64,
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "clip_norm": 1.0,
        "ema": 0.99,
        "sampler": "ddim",
        "num_inference_steps": 50,
        "spacing": "trailing",
        "beta_schedule": "cosine",
        "guidance": 2.0,
        "eval_every": 500,
        "select": "last",
        **text_prompts.NETWORK,
    },
    smoke={
        "steps": 3,
        "batch_size": 8,
        "num_images": 16,
        "num_timesteps": 10,
        "num_inference_steps": 4,
        "num_samples": 8,
        "guidance_samples": 0,
        **text_prompts.SMOKE_NETWORK,
        "eval_every": 3,
    },
    monitor="loss",
    monitor_mode="min",
    headline="shape_iou",
    plain={"ema": None, "weight_decay": 0.0, "condition_dropout": 0.0},
    example=edge_control.example,
    inputs=edge_control.inputs,
    describe=class_conditional.describe,
    write=class_conditional.write,
    schedule=optimizer.schedule,
    start=edge_control.start,
    panels=lambda context: text_prompts.panels(context, build),
    pictures=sample_panels.pictures,
    evaluators=edge_control.evaluators,
)

if __name__ == "__main__":
    main(experiment)
