"""Text-to-image diffusion: generate colored shapes from a sentence, by a U-Net with cross-attention.

python -m experiments.generative.text_to_image
python -m experiments.generative.text_to_image --mode=predict --run=RUN --output=samples \\
    --input="8x a red circle is left of a blue square / a green cross"
python -m experiments.generative.text_to_image --image_size=48 --grid=3 --unet.patch_size=1 \\
    --unet.channels=64,128,256 --num_images=100000 --steps=100000 --batch_size=128

Images and captions are drawn by a program. `object_correctness` is the share of the named objects (color and shape)
that are seen in the samples, read without a network, which finds 98 % of those in real images; `shuffled_correctness`
takes the prompt of another sample: 92 % and 6 % by the first command in 49 minutes of one core, and both objects of a
sentence in 57 %. The last command was not run.
"""

from dlcore.experiment import Experiment, Setup
from dlcore.generative import ddpm
from dlcore.generative.text_to_image import prompt_condition
from dlcore.kits.generative import conditional_diffusion, text_prompts
from dlcore.kits.training import optimizer
from dlcore.main import main


def build(setup: Setup):
    learner = ddpm.learner(
        model=text_prompts.model_of(setup),
        optimizer=optimizer.build(setup),
        shape=tuple(setup.spec["image_shape"]),
        condition=prompt_condition(),
        **setup.flags.group("learner"),
    )
    return optimizer.evaluate_ema(learner, setup)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=ddpm.learner,
    data=text_prompts.data,
    build=build,
    **conditional_diffusion.PROMPT_FIELDS,
    settings={**text_prompts.SETTINGS, **optimizer.SETTINGS},
    defaults={
        **conditional_diffusion.DEFAULTS,
        "steps": 4000,
        "batch_size": 64,
        "learning_rate": 2e-3,
        "ema": 0.999,
        "guidance": 4.0,
        "eval_every": 500,
        **text_prompts.NETWORK,
    },
    smoke={
        **conditional_diffusion.SMOKE,
        "num_images": 16,
        **text_prompts.SMOKE_NETWORK,
        "num_samples": 8,
    },
    headline="object_correctness",
    inputs=text_prompts.inputs,
    input_kind='"PROMPT / PROMPT"',
    panels=lambda context: text_prompts.panels(context, build),
    evaluators=text_prompts.evaluators,
)

if __name__ == "__main__":
    main(experiment)
