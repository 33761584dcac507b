"""Audio-visual correspondence: learn features by telling whether a sound belongs to a clip.

python -m experiments.self_supervised.audio_visual              (pretext 99 %; k-NN 98.6 %, untrained 85.0 %; 12 min)
python -m experiments.self_supervised.audio_visual --num_clips=8000 --model.width=16 --steps=4000            (not run)

A ball bounces in a box and clicks at each contact. Features are those of single frames, judged by which wall the ball
touches, which the pretext never names.
"""

from functools import partial

import numpy as np

from dlcore.data.bounces import CONTACTS, bounces
from dlcore.data.frame_clips import FrameClips
from dlcore.data.source import Source
from dlcore.evaluators.feature_measures import FeatureMeasures
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.optim import AdamW
from dlcore.self_supervised import audio_visual
from dlcore.self_supervised.piece_network import Labels, PieceNetwork, log_labels
from dlcore.weights.start import BackboneWeights
from experiments.smoke import ENCODERS


def draw(count: int, seed: int) -> Source:
    """Draw clips; `image` is the middle frame and `label` the wall that is touched in it."""
    return bounces(count, seed, frames=8, size=24, samples=16)


def picture(pieces: dict[str, np.ndarray]) -> np.ndarray:
    """Draw frames with a bar below that is the brighter, the louder."""
    frames, loud = pieces["frames"], np.clip(np.abs(pieces["sound"]).max(-1), 0, 1)
    level = np.broadcast_to(loud[:, :, None, None, None], (*frames.shape[:2], 4, *frames.shape[3:]))
    return np.concatenate([frames, level], 2)


experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(audio_visual.learner, shift=2),
    data=FrameClips(draw, "bounces", CONTACTS, num_clips=2000),
    network=PieceNetwork(
        Zoo("resnet8_cifar"),
        Labels(audio_visual.correspondence, audio_visual.NUM_CLASSES, ("displaced", "its own"), picture=picture),
        head={"width": 64, "side": 3},
        classifier=audio_visual.AudioVisual,
    ),
    optimizer=AdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=1e-4),
    length=Steps(1000, batch_size=64, eval_every=200, select="last"),
    measures=[FeatureMeasures(bank_size=5000, knn_k=20, fine_tune=(0.01, 0.1))],
    start=BackboneWeights(),
    sanity=Sanity(expected_loss=log_labels, tolerance=0.5),
    smoke={**ENCODERS, "num_clips": 150},
)

if __name__ == "__main__":
    main(experiment)
