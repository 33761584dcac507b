"""Monocular depth by a vision transformer, DPT on DINOv2 (Depth Anything), up to scale and shift or metric.

python -m experiments.vision3d.depth_anything            (abs_rel 2.5 %; trees on pixels 3.3 %; 5 min on one core)
python -m experiments.vision3d.depth_anything --dpt.metric --dpt.max_depth=10        (metric depth)
python -m experiments.vision3d.depth_anything --model=hf:depth-anything/Depth-Anything-V2-Small-hf \\
    --dataset=folder --data_dir=D --image_size=518,518 --batch_size=4 --learning_rate=5e-6              (not run)
python -m experiments.vision3d.depth_anything --run=RUN --mode=predict --input=IMAGES --output=FOLDER

Scenes of one to three solids on a floor are rendered with exact depth. The network gives disparity, 1 / depth, up to a
scale and a shift; `abs_rel` is the mean of |p - g| / g after both were fitted to each image's truth. `--model=hf:ID`
takes encoder, head and weights of a published network. D holds train, val and test, each with images/ and depth/: files
of the same names, 16-bit PNG in millimeters (--depth_scale=1000) or .npy.
"""

from functools import partial

from dlcore.data.depth_images import DepthImages
from dlcore.experiment import Experiment, Measure, Steps
from dlcore.main import main
from dlcore.models import OnBackbone, Zoo
from dlcore.optim import AdamW
from dlcore.report import depth_maps
from dlcore.report.depth_maps import DepthOfImages
from dlcore.vision3d import affine_depth
from dlcore.vision3d.dpt import DPT, NormalizedDINOv2
from dlcore.weights.start import ModuleWeights
from experiments.smoke import DEPTH_TRANSFORMER

SIZES = {"image_size": 64, "patch_size": 8, "depth": 4, "width": 96, "num_heads": 4, "mlp_features": 384}
NECK = {"channels": (24, 32, 48, 64), "features": 32, "head_features": 16}

experiment = Experiment(
    __file__,
    __doc__,
    technique=affine_depth.learner,
    data=DepthImages("scenes", num_scenes=2000),
    network=OnBackbone(
        partial(DPT, stages=("block1", "block2", "block3", "block4"), image_sized=True, rectified=False, **NECK),
        backbone=Zoo("dinov2_small", SIZES),
        backbone_class=NormalizedDINOv2,
    ),
    optimizer=AdamW(learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=0.01, clip_norm=1.0),
    length=Steps(1000, batch_size=16, eval_every=250),
    measures=[Measure("abs_rel", "min")],
    report=[depth_maps.affine_panels],
    use=DepthOfImages(),
    start=ModuleWeights(),
    smoke=DEPTH_TRANSFORMER,
)

if __name__ == "__main__":
    main(experiment)
