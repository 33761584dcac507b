"""Deform a sphere into the solid that an image shows, with Pixel2Mesh.

python -m experiments.vision3d.pixel2mesh        (Chamfer distance 0.0180, retrieval 0.0194; F1 0.690)
python -m experiments.vision3d.pixel2mesh --run=RUN_DIR --mode=predict --output=FOLDER      (meshes as .obj and .ply)

Images, coordinates, measures and the number to beat are those of experiments.vision3d.point_generator; points are
sampled on the predicted mesh. Two stages have 42 and 162 vertices; the paper's three have 156, 628 and 2466.
"""

from functools import partial

from dlcore.data.solid_images import SolidImages
from dlcore.experiment import Experiment, Measure, Steps
from dlcore.main import main
from dlcore.models import Network
from dlcore.optim import AdamW
from dlcore.report.predicted_meshes import PredictMeshes, shape_panels
from dlcore.vision3d import pixel2mesh
from dlcore.vision3d.pixel2mesh import Pixel2Mesh
from experiments.smoke import SOLIDS

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(pixel2mesh.learner, edge_weight=0.02, laplacian_weight=0.01, consistency_weight=0.002),
    data=SolidImages(image_size=32, num_images=1400, surface_points=256),
    network=Network(Pixel2Mesh, prefix="pixel2mesh"),
    optimizer=AdamW(learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.01, clip_norm=1.0),
    length=Steps(1200, batch_size=16, eval_every=400),
    measures=[Measure("chamfer", "min")],
    report=[shape_panels],
    use=PredictMeshes(),
    smoke={
        **SOLIDS,
        "surface_points": 64,
        "num_samples": 64,
        "learning_rate": 1e-2,
        "pixel2mesh.widths": (4, 8),
        "pixel2mesh.features": 4,
        "pixel2mesh.blocks": 1,
        "pixel2mesh.subdivisions": 0,
    },
)

if __name__ == "__main__":
    main(experiment)
