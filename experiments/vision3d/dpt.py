"""Monocular depth by a dense prediction transformer (DPT) on a ViT, up to scale and shift.

python -m experiments.vision3d.dpt                       (abs_rel 1.8 %; trees on pixels 3.3 %; 5 min on one core)
python -m experiments.vision3d.dpt --dpt.readout=add

Data, loss and measures are those of experiments.vision3d.depth_anything. Each patch is joined by the class token and
projected (`readout`), and the maps of four blocks become a pyramid that is fused from its coarsest level on.
`--model=hf:ID`, such as Intel/dpt-large, takes encoder, head and weights of a published network.
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
from dlcore.vision3d.dpt import DPT, ClassTokenViT
from dlcore.weights.start import ModuleWeights
from experiments.smoke import DEPTH_TRANSFORMER

SIZES = {"image_size": 64, "patch_size": 8, "depth": 4, "width": 96, "num_heads": 4, "mlp_features": 384}
NECK = {"channels": (24, 32, 48, 64), "features": 32, "head_features": 16, "readout": "project"}

experiment = Experiment(
    __file__,
    __doc__,
    technique=affine_depth.learner,
    data=DepthImages("scenes", num_scenes=2000),
    network=OnBackbone(
        partial(DPT, stages=("block1", "block2", "block3", "block4"), rectified=False, **NECK),
        backbone=Zoo("vit_s_16", SIZES),
        backbone_class=ClassTokenViT,
    ),
    optimizer=AdamW(learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=0.01, clip_norm=1.0),
    length=Steps(1000, batch_size=16, eval_every=250),
    measures=[Measure("abs_rel", "min")],
    report=[depth_maps.affine_panels],
    use=DepthOfImages(),
    start=ModuleWeights(),
    smoke={**DEPTH_TRANSFORMER, "model.image_size": 16},
)

if __name__ == "__main__":
    main(experiment)
