"""Text-to-video retrieval: find a clip by a sentence, by two encoders trained with CLIP's loss.

python -m experiments.vision_language.retrieval        (recall at 1 of 100 %; 15 min on one core)
python -m experiments.vision_language.retrieval --dataset=flickr8k --data_dir=D --image_size=64     (not run)

The test clips have 100 different sentences. D holds captions_train.json.gz, train.zip, and the same of val and test.
"""

from functools import partial

from dlcore.data.image_text import ClipsOrImages
from dlcore.evaluators import image_text
from dlcore.evaluators.image_text import Recall, num_words
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.main import main
from dlcore.models import Network
from dlcore.optim import AdamW
from dlcore.vision_language import retrieval
from dlcore.vision_language.retrieval import DualEncoder
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    technique=retrieval.learner,
    data=ClipsOrImages("clips", num_clips=6000, frames=8, path="straight", num_sentences=100),
    network=Network(
        partial(DualEncoder, channels=(16, 32, 32), strides=(2, 2, 2), hidden_size=96, embedding_size=64),
        of_run=num_words,
        prefix="encoder",
    ),
    optimizer=AdamW(learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.01, clip_norm=1.0),
    length=Steps(2000, batch_size=64, eval_every=250, eval_batch_size=100),
    measures=[Recall()],
    report=[image_text.recall_panels],
    sanity=Sanity(plain={"weight_decay": 0.0}),
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
