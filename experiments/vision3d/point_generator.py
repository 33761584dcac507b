"""Predict the points of a solid's surface from one image, by a fully connected generator and the Chamfer distance.

python -m experiments.vision3d.point_generator        (Chamfer distance 0.0148, retrieval 0.0194)

Images are rendered from solids of seven kinds without a hole, with random proportions, from random directions; points
are in the camera's coordinates, and solids lie within a distance of 1 from a point 4 in front of the camera. `chamfer`
is of squared distances, the two means added; `f1` counts points within 0.1. The number to beat is the point set of the
most similar training image.
"""

from dlcore.data.solid_images import SolidImages
from dlcore.experiment import Experiment, Measure, Steps
from dlcore.main import main
from dlcore.models import Network
from dlcore.optim import AdamW
from dlcore.report.predicted_meshes import shape_panels
from dlcore.vision3d import point_generator
from dlcore.vision3d.point_generator import PointGenerator
from experiments.smoke import SOLIDS

experiment = Experiment(
    __file__,
    __doc__,
    technique=point_generator.learner,
    data=SolidImages(image_size=32, num_images=1400, surface_points=256),
    network=Network(PointGenerator, prefix="generator"),
    optimizer=AdamW(learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.01),
    length=Steps(1500, batch_size=32, eval_every=300),
    measures=[Measure("chamfer", "min")],
    report=[shape_panels],
    smoke={**SOLIDS, "generator.widths": (4, 8), "generator.num_points": 16, "generator.hidden": (8,)},
)

if __name__ == "__main__":
    main(experiment)
