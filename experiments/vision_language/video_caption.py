"""Video captioning: say what moves in a clip, and where to: "the red circle moves left".

python -m experiments.vision_language.video_caption                        (all sentences right; 10 min on one core)
python -m experiments.vision_language.video_caption --shuffled             (23 % right)

The frames of a hopping path without their order say nothing of the direction, one of four.
"""

from functools import partial

from dlcore.data.image_text import CaptionedClips
from dlcore.evaluators import image_text
from dlcore.evaluators.image_text import ClipSentences, log_words, num_words
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.main import main
from dlcore.models import Network
from dlcore.optim import AdamW
from dlcore.vision_language import video_caption
from dlcore.vision_language.video_caption import VideoCaptioner
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(video_caption.learner, max_length=12),
    data=CaptionedClips(num_clips=6000, frames=8, image_size=32, path="hopping", shuffled=False),
    network=Network(
        partial(VideoCaptioner, channels=(16, 32, 32), strides=(2, 2, 1), hidden_size=96),
        of_run=num_words,
        prefix="captioner",
    ),
    optimizer=AdamW(learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.01, clip_norm=1.0),
    length=Steps(6000, batch_size=32, eval_every=1000, eval_batch_size=100),
    measures=[ClipSentences()],
    report=[image_text.clip_panels],
    sanity=Sanity(expected_loss=log_words, plain={"weight_decay": 0.0}),
    smoke={
        **few_steps(4),
        "num_clips": 20,
        "frames": 3,
        "eval_batch_size": 8,
        "captioner.channels": (8, 8),
        "captioner.strides": (4, 4),
        "captioner.hidden_size": 8,
    },
)

if __name__ == "__main__":
    main(experiment)
