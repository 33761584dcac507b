"""Classify clips with networks that join time early, late, slowly, by an LSTM, by optical flow, or not at all.

python -m experiments.video.classification
python -m experiments.video.classification --net.fusion=single --task=appearance
python -m experiments.video.classification --net.fusion=lstm --task=order
python -m experiments.video.classification --network=two_stream --two_stream.levels=1 --auxiliary_weight=1 --epochs=25
python -m experiments.video.classification --network=c3d                           (C3D; not run)
python -m experiments.video.classification --network=slowfast                 (SlowFast; not run)
python -m experiments.video.classification --network=r3d_18 --resnet_width=8
python -m experiments.video.classification --network=swin3d --swin3d.width=24 --swin3d.stages=2,2 \\
    --swin3d.num_heads=2,4 --swin3d.window_size=4 --swin3d.window_frames=2                         (Video Swin; not run)
python -m experiments.video.classification --inflate_from=RUN_DIR   (I3D: of a run with --net.fusion=single)
python -m experiments.video.classification --data_dir=FOLDER --size=112 --clip_length=16 --short=loop
python -m experiments.video.classification --mode=predict --run=RUN_DIR --input=clip.mp4

A shape moves over a textured ground that wraps around. `--task` says what its label is: the direction, which no single
frame shows; the color, which each shows; or right against left, of which each is the other with its frames in reverse.
Training takes a clip of each video, whose start is a function of (video, epoch, seed); the test averages logits over
`--views` clips of each video, by its id. `--data_dir` reads own videos, one folder a class: folders of frames, GIFs, or
video files.
"""

from dlcore.classification import supervised
from dlcore.data.clip_data import LabeledClips
from dlcore.evaluators import videos
from dlcore.evaluators.accuracy import log_classes
from dlcore.evaluators.videos import AccuracyByVideo, ClassifyVideos
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.main import main
from dlcore.optim import AveragedAdamW
from dlcore.video.clip_network import ClipNetwork
from dlcore.weights.inflated import InflatedWeights
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    technique=supervised.learner,
    data=LabeledClips(
        num_clips=2000, task="motion", frames=8, size=16, clip_length=6, stride=1, views=3, valid_fraction=0.1
    ),
    network=ClipNetwork("fusion", fields={"net": {"fusion": "slow", "width": 16, "hidden": 64}}),
    optimizer=AveragedAdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=0.05),
    length=Epochs(10, batch_size=64, eval_every=100, select="best"),
    measures=[AccuracyByVideo()],
    report=[videos.panels],
    use=ClassifyVideos(),
    start=InflatedWeights(),
    sanity=Sanity(
        expected_loss=log_classes,
        plain={"label_smoothing": 0.0, "l2": 0.0, "weight_decay": 0.0},
        regularizer="l2",
        overfit=1e-2,
    ),
    smoke={**few_steps(3), "num_clips": 40, "frames": 4, "clip_length": 3, "views": 2, "net.width": 4, "net.hidden": 8},
)

if __name__ == "__main__":
    main(experiment)
