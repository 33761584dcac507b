"""VideoMAE: learn features of clips by filling in hidden tubes. One seed of three gains nothing: the task is easy.

python -m experiments.self_supervised.video_mae   (k-NN 92.8 %, untrained 88.1 %; linear probe 99.6 %, 99.1 %)
python -m experiments.self_supervised.video_mae --data_dir=FOLDER --size=224 --clip_length=16 --short=loop \\
    --mae.patch_size=16 --mae.depth=12 --mae.width=768 --mae.num_heads=12 --mae.mlp_features=3072    (not run)

The numbers are the means of three seeds, whose k-NN is 99.0, 83.0 and 96.4 % beside 91.6, 83.4 and 89.4 % of their
untrained networks. The color of a shape is nearly visible in random features, so there is little to gain.

In each clip a shape moves over a textured background. Features are the mean of the encoder's tokens. `--task` chooses
the label that measures them: the color of the shape, the direction of its motion, or whether time goes forward. `loss`
is the squared error of hidden tubelets, and `mean_patch` the error of predicting the mean of the visible ones. The
background is noise, which no network can predict. Two defaults therefore differ from the paper: tubelets are not
normalized, because normalized ones (`--norm_pix_loss`) are mostly noise, and 50 % of the places are hidden, because
with 90 % the shape is hardly visible.
"""

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.self_supervised import video_mae
from dlcore.self_supervised.video_mae import TubeMAE
from dlcore.tasks.encoders import SMOKE
from dlcore.tasks.unlabeled_clips import UnlabeledClips


class MaskedClips(UnlabeledClips):
    """Clips of which a transformer sees a few tubes, and paints the others."""

    modules = {"mae": TubeMAE}
    encoder_method = "encode"

    def network(self, setup):
        return TubeMAE(setup.spec["image_shape"][-1], **setup.flags.group("mae"), dtype=setup.dtype)

    def features(self, out):
        return out.mean(1)


experiment = Experiment(
    __file__,
    __doc__,
    video_mae.learner,
    task=MaskedClips(task="appearance"),
    optimizer=AdamW(learning_rate=1e-3, weight_decay=0.05),
    defaults={
        "mae.patch_size": 4,
        "mae.depth": 3,
        "mae.width": 64,
        "mae.num_heads": 4,
        "mae.mlp_features": 256,
        "mae.decoder_depth": 1,
        "mae.decoder_width": 32,
        "mae.decoder_heads": 2,
        "mae.decoder_features": 128,
        "mae.final_norm": True,
        "mae.mask_ratio": 0.5,
        "norm_pix_loss": False,
        "steps": 1000,
        "batch_size": 64,
        "eval_every": 500,
    },
    smoke={
        **SMOKE,
        "num_clips": 100,
        "mae.depth": 1,
        "mae.width": 8,
        "mae.num_heads": 2,
        "mae.mlp_features": 8,
        "mae.decoder_width": 8,
        "mae.decoder_features": 8,
    },
)

if __name__ == "__main__":
    main(experiment)
