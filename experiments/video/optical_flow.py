"""Estimate optical flow by RAFT, beside Lucas-Kanade's.

python -m experiments.video.optical_flow        (endpoint error 0.201 pixels; Lucas-Kanade 0.791; 3 min on one core)
python -m experiments.video.optical_flow --raft.num_updates=12 --num_pairs=4000 --steps=4000        (not run)

The data are pairs of frames with known flow: a colored shape moves by up to 3 pixels along each axis over a texture,
and the camera by up to 2. The page measures the mean endpoint error (EPE) over all pixels that stay in the frame. Three
baselines need no training: Lucas-Kanade (windows of 15 pixels on two levels), no motion at all (1.886), and the mean of
the true flow over the frame (0.265), which contains the motion of the camera but not that of the shape.

References: Teed & Deng 2020, arXiv:2003.12039 (RAFT); Lucas & Kanade 1981.
"""

from dlcore.experiment import Experiment, Measure, Steps
from dlcore.main import main
from dlcore.optim import AdamW
from dlcore.video import frame_pairs, raft
from dlcore.video.frame_pairs import FramePairs
from dlcore.video.raft_network import RAFT
from experiments.smoke import few_steps

SMALL = {
    "widths": (16, 16, 24, 32),
    "strides": (2, 1, 1, 1),
    "features": 48,
    "context_features": 24,
    "hidden_features": 32,
    "num_levels": 2,
    "radius": 2,
    "correlation_features": (48,),
    "flow_features": (24, 16),
    "motion_features": 40,
    "head_features": 48,
    "convex": True,
    "num_updates": 4,
}
"""Fields of RAFT for small frames: maps of half the side."""


experiment = Experiment(
    __file__,
    __doc__,
    technique=raft.learner,
    data=FramePairs(num_pairs=1600, image_size=32),
    network=RAFT(**SMALL),
    optimizer=AdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=1e-4, clip_norm=1.0),
    length=Steps(800, batch_size=8, eval_every=200),
    measures=[Measure("epe", "min")],
    report=[frame_pairs.panels],
    smoke={
        **few_steps(2, 4),
        "eval_batch_size": 4,
        "num_pairs": 40,
        "raft.widths": (4, 4, 4, 8),
        "raft.num_updates": 2,
        "raft.hidden_features": 8,
        "raft.features": 8,
    },
)

if __name__ == "__main__":
    main(experiment)
