"""Deform a sphere into the solid that an image shows, with Pixel2Mesh.

python -m experiments.vision3d.pixel2mesh        (Chamfer distance 0.0180, retrieval 0.0194; F1 0.690)
python -m experiments.vision3d.pixel2mesh --run=RUN_DIR --mode=predict --output=FOLDER      (meshes as .obj and .ply)

Images, coordinates, measures and the number to beat are those of experiments.vision3d.point_generator; points are
sampled on the predicted mesh. Two stages have 42 and 162 vertices; the paper's three have 156, 628 and 2466.
"""

from dlcore.experiment import Experiment, Setup
from dlcore.kits.training import optimizer
from dlcore.kits.vision3d import single_view
from dlcore.main import main
from dlcore.vision3d import pixel2mesh


def build(setup: Setup):
    model = pixel2mesh.Pixel2Mesh(dtype=setup.dtype, **setup.flags.group("pixel2mesh"))
    return pixel2mesh.learner(model=model, optimizer=optimizer.build(setup), **setup.flags.group("learner"))


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=pixel2mesh.learner,
    data=single_view.data,
    build=build,
    modules={"pixel2mesh": pixel2mesh.Pixel2Mesh},
    defaults={
        "steps": 1200,
        "batch_size": 16,
        "eval_every": 400,
        "learning_rate": 2e-3,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
        "edge_weight": 0.02,
        "laplacian_weight": 0.01,
        "consistency_weight": 0.002,
    },
    smoke={
        **single_view.SHAPE_SMOKE,
        "surface_points": 64,
        "num_samples": 64,
        "learning_rate": 1e-2,
        "pixel2mesh.widths": (4, 8),
        "pixel2mesh.features": 4,
        "pixel2mesh.blocks": 1,
        "pixel2mesh.subdivisions": 0,
    },
    **single_view.MESH_FIELDS,
)

if __name__ == "__main__":
    main(experiment)
