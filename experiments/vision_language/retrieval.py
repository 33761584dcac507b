"""Text-to-video retrieval: find a clip by a sentence, by two encoders trained with CLIP's loss.

python -m experiments.vision_language.retrieval        (recall at 1 of 100 %; 15 min on one core)
python -m experiments.vision_language.retrieval --dataset=flickr8k --data_dir=D --image_size=64     (not run)

The test clips have 100 different sentences. D holds captions_train.json.gz, train.zip, and the same of val and test.
"""

from typing import Literal

from dlcore.experiment import Experiment, Setup
from dlcore.kits.training import optimizer
from dlcore.kits.vision_language import image_text, image_text_results
from dlcore.main import main
from dlcore.vision_language import retrieval

_DISTINCT = 100


def data(flags):
    if flags.dataset == "clips":
        return image_text.clip_data(flags, _DISTINCT)
    return image_text.caption_data(flags)


def build(setup: Setup):
    flags = setup.flags
    return retrieval.learner(
        model=retrieval.DualEncoder(
            len(image_text.vocabulary(setup.spec)), **flags.group("encoder"), dtype=setup.dtype
        ),
        optimizer=optimizer.build(setup),
        preprocess=image_text.preprocess(setup),
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
        **image_text.CLIP_SETTINGS,
        **image_text.CAPTION_SETTINGS,
        "dataset": image_text.CAPTION_SETTINGS["dataset"]._replace(
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
    schedule=optimizer.schedule,
    evaluators=image_text_results.recall_evaluators,
    panels=image_text_results.recall_panels,
)

if __name__ == "__main__":
    main(experiment)
