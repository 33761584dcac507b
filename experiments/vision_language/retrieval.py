"""Text-to-video retrieval: find a clip by a sentence, by two encoders trained with CLIP's loss.

python -m experiments.vision_language.retrieval        (recall at 1 of 100 %; 15 min on one core)
python -m experiments.vision_language.retrieval --dataset=flickr8k --data_dir=D --image_size=64     (not run)

The test clips have 100 different sentences. D holds captions_train.json.gz, train.zip, and the same of val and test.
"""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

from dlcore.experiment import Experiment, Run
from dlcore.experiment.flags import Flags
from dlcore.experiment.splits import Splits
from dlcore.kits.training.optimizer import AdamW
from dlcore.kits.vision_language.captioned_images import vocabulary
from dlcore.main import main
from dlcore.tasks.image_text import CaptionedClips, CaptionedImages
from dlcore.vision_language import retrieval
from dlcore.vision_language.retrieval import DualEncoder
from experiments.smoke import few_steps


@dataclasses.dataclass(frozen=True)
class ClipsOrImages(CaptionedImages, CaptionedClips):
    """Clips or images with sentences, of which each finds the other.

    Args:
      dataset: clips or shapes (drawn), or flickr8k
    """

    dataset: Annotated[Literal["clips", "shapes", "flickr8k"], "essential"] = "clips"

    modules: ClassVar[dict] = {"encoder": DualEncoder}
    monitor = headline = "r1"
    num_sentences: ClassVar[int] = 100

    def data(self, flags: Flags) -> Splits:
        return (CaptionedClips if flags.dataset == "clips" else CaptionedImages).data(self, flags)

    def arguments(self, run: Run) -> dict[str, Any]:
        size, fields = len(vocabulary(run.spec)), run.flags.group("encoder")
        return {**super().arguments(run), "model": DualEncoder(size, **fields, dtype=run.dtype)}


experiment = Experiment(
    __file__,
    __doc__,
    retrieval.learner,
    task=ClipsOrImages(path="straight"),
    optimizer=AdamW(learning_rate=2e-3, weight_decay=0.01, clip_norm=1.0),
    defaults={"steps": 2000, "batch_size": 64, "eval_every": 250, "eval_batch_size": 100},
    smoke={
        **few_steps(4),
        "num_clips": 20,
        "frames": 3,
        "encoder.channels": (8, 8),
        "encoder.strides": (4, 4),
        "encoder.hidden_size": 8,
        "encoder.embedding_size": 8,
    },
)

if __name__ == "__main__":
    main(experiment)
