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
from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.clips import Clips
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    supervised.learner,
    task=Clips(),
    optimizer=AveragedAdamW(),
    defaults={"epochs": 10.0, "batch_size": 64, "eval_every": 100},
    smoke={**few_steps(3), "num_clips": 40, "frames": 4, "clip_length": 3, "views": 2, "net.width": 4, "net.hidden": 8},
)

if __name__ == "__main__":
    main(experiment)
