"""Video captioning: say what moves in a clip, and where to: "the red circle moves left".

python -m experiments.vision_language.video_caption                        (all sentences right; 10 min on one core)
python -m experiments.vision_language.video_caption --shuffled             (23 % right)

The frames of a hopping path without their order say nothing of the direction, one of four.
"""

import math

from dlcore.experiment import Experiment, Setup
from dlcore.kits.training import optimizer
from dlcore.kits.vision_language import image_text, image_text_results
from dlcore.main import main
from dlcore.vision_language import video_caption


def build(setup: Setup):
    flags = setup.flags
    return video_caption.learner(
        model=video_caption.VideoCaptioner(
            len(image_text.vocabulary(setup.spec)), **flags.group("captioner"), dtype=setup.dtype
        ),
        optimizer=optimizer.build(setup),
        preprocess=image_text.preprocess(setup),
        **flags.group("learner"),
    )


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=video_caption.learner,
    data=image_text.clip_data,
    build=build,
    modules={"captioner": video_caption.VideoCaptioner},
    settings={
        **image_text.CLIP_SETTINGS,
        **{k: v for k, v in optimizer.SETTINGS.items() if k not in ("ema", "accumulate")},
    },
    defaults={
        "learning_rate": 2e-3,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
        "steps": 6000,
        "batch_size": 32,
        "eval_every": 1000,
        "eval_batch_size": 100,
    },
    smoke={
        "num_clips": 20,
        "frames": 3,
        "steps": 4,
        "batch_size": 8,
        "eval_every": 4,
        "eval_batch_size": 8,
        "captioner.channels": (8, 8),
        "captioner.strides": (4, 4),
        "captioner.hidden_size": 8,
    },
    monitor="exact_match",
    headline="exact_match",
    expected_loss=lambda setup: math.log(len(image_text.vocabulary(setup.spec))),
    plain={"weight_decay": 0.0},
    schedule=optimizer.schedule,
    evaluators=image_text_results.motion_evaluators,
    panels=image_text_results.clip_panels,
)

if __name__ == "__main__":
    main(experiment)
