"""Predict the points of a solid's surface from one image, by a fully connected generator and the Chamfer distance.

python -m experiments.vision3d.point_generator        (Chamfer distance 0.0148, retrieval 0.0194)

Images are rendered from solids of seven kinds without a hole, with random proportions, from random directions; points
are in the camera's coordinates, and solids lie within a distance of 1 from a point 4 in front of the camera. `chamfer`
is of squared distances, the two means added; `f1` counts points within 0.1. The number to beat is the point set of the
most similar training image.
"""

from dlcore.experiment import Experiment, Setup
from dlcore.kits.training import optimizer
from dlcore.kits.vision3d import single_view
from dlcore.main import main
from dlcore.vision3d import point_generator


def build(setup: Setup):
    model = point_generator.PointGenerator(dtype=setup.dtype, **setup.flags.group("generator"))
    return point_generator.learner(model=model, optimizer=optimizer.build(setup), **setup.flags.group("learner"))


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=point_generator.learner,
    data=single_view.data,
    build=build,
    modules={"generator": point_generator.PointGenerator},
    settings={k: v for k, v in single_view.SETTINGS.items() if k != "num_drawn"},
    defaults={"steps": 1500, "batch_size": 32, "eval_every": 300, "learning_rate": 2e-3, "weight_decay": 0.01},
    smoke={**single_view.SHAPE_SMOKE, "generator.widths": (4, 8), "generator.num_points": 16, "generator.hidden": (8,)},
    **single_view.FIELDS,
)

if __name__ == "__main__":
    main(experiment)
