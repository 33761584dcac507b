"""Video captioning: say what moves in a clip, and where to: "the red circle moves left".

python -m experiments.vision_language.video_caption                        (all sentences right; 10 min on one core)
python -m experiments.vision_language.video_caption --shuffled             (23 % right)

The frames of a hopping path without their order say nothing of the direction, one of four.
"""

import math
from typing import Any

from dlcore.experiment import Experiment, Run
from dlcore.kits.training.optimizer import AdamW
from dlcore.kits.vision_language.captioned_images import vocabulary
from dlcore.main import main
from dlcore.tasks.image_text import CaptionedClips
from dlcore.vision_language import video_caption
from dlcore.vision_language.video_caption import VideoCaptioner
from experiments.smoke import few_steps


class ClipsToDescribe(CaptionedClips):
    """Clips, of which a network writes the sentences."""

    modules = {"captioner": VideoCaptioner}

    def arguments(self, run: Run) -> dict[str, Any]:
        size, fields = len(vocabulary(run.spec)), run.flags.group("captioner")
        return {**super().arguments(run), "model": VideoCaptioner(size, **fields, dtype=run.dtype)}

    def expected_loss(self, run: Run) -> float:
        return math.log(len(vocabulary(run.spec)))


experiment = Experiment(
    __file__,
    __doc__,
    video_caption.learner,
    task=ClipsToDescribe(),
    optimizer=AdamW(learning_rate=2e-3, weight_decay=0.01, clip_norm=1.0),
    defaults={"steps": 6000, "batch_size": 32, "eval_every": 1000, "eval_batch_size": 100},
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
