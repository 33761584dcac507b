"""Predict depth and surface normals from one image, by a fully convolutional network.

python -m experiments.vision3d.depth
python -m experiments.vision3d.depth --variance_weight=1        (depth up to a factor: compare silog)

Scenes of one to three solids on a floor are rendered with exact depth. `abs_rel` is the mean of |p - g| / g, beside
that of the mean depth map of the training scenes; `silog` ignores the scale; `normal_error` is the mean of 1 - cos.
"""

from functools import partial

from dlcore.data.depth_scenes import DepthScenes
from dlcore.experiment import Experiment, Measure, Steps
from dlcore.main import main
from dlcore.models import Network
from dlcore.optim import AdamW
from dlcore.report import depth_maps
from dlcore.vision3d import depth
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    technique=depth.learner,
    data=DepthScenes(num_scenes=800, image_size=32),
    network=Network(partial(depth.DepthNet, widths=(16, 32, 64, 64)), prefix="network"),
    optimizer=AdamW(learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.01),
    length=Steps(1000, batch_size=16, eval_every=250),
    measures=[Measure("abs_rel", "min")],
    report=[depth_maps.panels],
    smoke={**few_steps(2, 4), "eval_batch_size": 4, "image_size": 8, "num_scenes": 8, "network.widths": (4, 8)},
)

if __name__ == "__main__":
    main(experiment)
