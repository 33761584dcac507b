"""Text-to-video retrieval: find a clip by a sentence, by two encoders trained with CLIP's loss.

python -m experiments.vision_language.retrieval        (recall at 1 of 100 %; 15 min on one core)
python -m experiments.vision_language.retrieval --dataset=flickr8k --data_dir=D --image_size=64     (not run)

The test clips have 100 different sentences. D holds captions_train.json.gz, train.zip, and the same of val and test.
"""

from typing import Literal

from dlcore.experiment import Experiment, Setup
from dlcore.kits import optimizer, vision_language, vision_language_results
from dlcore.main import main
from dlcore.vision_language import retrieval

_DISTINCT = 100


def data(flags):
    if flags.dataset == "clips":
        return vision_language.clip_data(flags, _DISTINCT)
    return vision_language.caption_data(flags)


def build(setup: Setup):
    flags = setup.flags
    return retrieval.learner(
        model=retrieval.DualEncoder(
            len(vision_language.vocabulary(setup.spec)), **flags.group("encoder"), dtype=setup.dtype
        ),
        optimizer=optimizer.build(setup),
        preprocess=vision_language.preprocess(setup),
        **flags.group("learner"),
    )


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=retrieval.learner,
    data=data,
    build=build,
    modules={"encoder": retrieval.DualEncoder},
    settings={
        **vision_language.CLIP_SETTINGS,
        **vision_language.CAPTION_SETTINGS,
        "dataset": vision_language.CAPTION_SETTINGS["dataset"]._replace(
            default="clips",
            help="clips or shapes (drawn), or flickr8k",
            type=Literal["clips", "shapes", "flickr8k"],
        ),
        **{k: v for k, v in optimizer.SETTINGS.items() if k not in ("ema", "accumulate")},
    },
    defaults={
        "path": "straight",
        "learning_rate": 2e-3,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
        "steps": 2000,
        "batch_size": 64,
        "eval_every": 250,
        "eval_batch_size": 100,
    },
    smoke={
        "num_clips": 20,
        "frames": 3,
        "steps": 4,
        "batch_size": 8,
        "eval_every": 4,
        "encoder.channels": (8, 8),
        "encoder.strides": (4, 4),
        "encoder.hidden_size": 8,
        "encoder.embedding_size": 8,
    },
    monitor="r1",
    headline="r1",
    plain={"weight_decay": 0.0},
    example=vision_language.example,
    schedule=optimizer.schedule,
    evaluators=vision_language_results.recall_evaluators,
    panels=vision_language_results.recall_panels,
)

if __name__ == "__main__":
    main(experiment)
