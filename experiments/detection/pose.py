"""Find the keypoints of cropped objects by heat maps: SimpleBaseline, or ViTPose.

python -m experiments.detection.pose        (PCK@0.1 99.5 %, AP 97.6 %; mean pose 62.4 %; 3 min on two cores)
python -m experiments.detection.pose --network=vitpose        (not run)

The images are crops of the colored shapes of drawn scenes, around their true boxes. The keypoints of a shape are its
pixels farthest to the left, the top, the right and the bottom. The page measures PCK (a keypoint is correct within a
tenth of the longer side of the box) and COCO's AP by keypoint similarity (OKS), both in true boxes. The baseline is the
PCK of the mean pose: each shape's mean keypoints in the training boxes.

References: Xiao, Wu & Wei 2018, arXiv:1804.06208 (SimpleBaseline); Xu et al. 2022, arXiv:2204.12484 (ViTPose).
"""

from functools import partial

from dlcore.data.object_crops import ObjectCrops
from dlcore.detection import pose
from dlcore.detection.pose_networks import PoseNetworks
from dlcore.detection.vitpose import ViTPose
from dlcore.evaluators import object_poses
from dlcore.evaluators.object_poses import PosePCK
from dlcore.experiment import Experiment, Steps
from dlcore.main import main
from dlcore.models.resnet import BasicBlock, ResNet
from dlcore.optim import AdamW
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    technique=pose.learner,
    data=ObjectCrops(num_scenes=800, crop_size=48),
    network=PoseNetworks(
        partial(pose.SimpleBaseline, num_deconvs=2, deconv_features=32),
        partial(ResNet, stages=(1, 1, 1, 1), block=BasicBlock, width=16, stem="cifar"),
        partial(ViTPose, patch_size=8, depth=4, width=64, num_heads=4, mlp_features=128, epsilon=1e-6),
    ),
    optimizer=AdamW(learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=1e-4),
    length=Steps(800, batch_size=32, eval_every=200),
    measures=[PosePCK()],
    report=[object_poses.panels],
    smoke={
        **few_steps(2, 4),
        "eval_batch_size": 8,
        "num_scenes": 16,
        "crop_size": 16,
        "simple_baseline.deconv_features": 4,
        "vitpose.depth": 1,
        "vitpose.width": 8,
        "vitpose.mlp_features": 8,
    },
)

if __name__ == "__main__":
    main(experiment)
